"""Secrets that stand out are put wherever one may be; afterwards they are looked for in everything that was written."""

import json
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from waiting import until_answered

KEY = "canary-operator-9b1f77aa"
WRONG = "canary-presented-4417c0de"
ENVIRONMENT = {
    "AWS_SECRET_ACCESS_KEY": "canary-aws-5be2d1",
    "AWS_SESSION_TOKEN": "canary-session-77e1",
    "HF_TOKEN": "hf_canary7d3e",
    "TEMPER_LOG_LEVEL": "debug",
}
PROMPT = "canary-prompt-c0ffee31"
"""In the training file, and so in the store and in what is found there; in no log, no error, no row of a database."""
ROWS = [{"prompt": f"{PROMPT} list rows {number}", "completion": f"x = {number}"} for number in range(40)]
TERMINAL = {"succeeded", "failed", "cancelled"}


@pytest.fixture
def service(make_service: Callable[..., Any]) -> Any:
    return make_service(TEMPER_API_KEY=KEY, TEMPER_RECONCILE_INTERVAL_S="0.1", **ENVIRONMENT).start()


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def client(service: Any, said: list[str]) -> Iterator[httpx.Client]:
    """Keeps whatever is answered, heads and bodies."""

    def keep(response: httpx.Response) -> None:
        response.read()
        said.append(f"{response.status_code} {response.headers} {response.text}")

    with service.client() as client:
        client.event_hooks["response"].append(keep)
        yield client


def scan_through(client: httpx.Client) -> None:
    """A scan from the file to its findings."""
    lines = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    uploaded = client.post("/v1/files", data={"purpose": "fine-tune"}, files={"file": ("t.jsonl", lines)})
    scan = client.post("/v1/scans", json={"file": uploaded.json()["id"], "probes": []}).json()["id"]

    def ended() -> bool:
        return client.get(f"/v1/scans/{scan}").json()["status"] in TERMINAL

    until_answered(ended, seconds=120)
    assert client.get(f"/v1/scans/{scan}").json()["status"] == "succeeded"


def go_wrong(client: httpx.Client) -> None:
    """Requests that are refused, each with something in it that nobody is to repeat."""
    wrong = {"authorization": f"Bearer {WRONG}"}
    assert client.get("/v1/files", headers=wrong).status_code == 401
    assert client.post("/v1/scans", headers=wrong, json={"file": "x"}).status_code == 401
    broken = json.dumps(ROWS[0]).encode()[:-3]
    for number, content in enumerate((broken, b'{"prompt": 1}\n')):
        file = {"file": (f"{number}.jsonl", content)}
        made = client.post("/v1/files", data={"purpose": "fine-tune"}, files=file).json()
        client.post("/v1/scans", json={"file": made["id"], "probes": []})
    job = {"model": "none", "training_file": "none", "hardening": {"what": PROMPT}}
    assert client.post("/v1/fine_tuning/jobs", json=job).status_code == 400
    chat = {"model": "none", "messages": [{"role": "user", "content": PROMPT}]}
    assert client.post("/v1/chat/completions", json=chat).status_code == 404


def files_with(canary: str, directory: Path) -> list[str]:
    return [
        path.relative_to(directory).as_posix()
        for path in directory.rglob("*")
        if path.is_file() and canary.encode() in path.read_bytes()
    ]


def test_l3_canary_secrets_are_found_nowhere(service: Any, client: httpx.Client, said: list[str]) -> None:
    scan_through(client)
    go_wrong(client)
    client.get("/openapi.json")
    client.get("/metrics")
    service.stop()
    secrets = [KEY, WRONG, *(value for value in ENVIRONMENT.values() if "canary" in value)]
    assert {secret: files_with(secret, service.home) for secret in secrets} == {
        secret: [] for secret in secrets
    }
    assert [secret for secret in secrets if secret in service.log] == []
    assert [secret for secret in secrets if any(secret in answer for answer in said)] == []


def test_l3_prompts_are_in_no_log_and_no_error(service: Any, client: httpx.Client, said: list[str]) -> None:
    scan_through(client)
    said.clear()
    go_wrong(client)
    service.stop()
    assert PROMPT not in service.log
    assert [answer for answer in said if PROMPT in answer] == []
    found = files_with(PROMPT, service.home)
    assert found, "the file itself is kept"
    assert [name for name in found if not name.startswith("objects/")] == []

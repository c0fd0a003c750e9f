"""The real service, launcher and store in real processes; jobs and model servers are stand-ins."""

import json
import random
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from waiting import until_answered

STAND_INS = Path(__file__).parents[1] / "stand_ins"
ROWS = b'{"prompt": "list rows", "completion": "x = 1"}\n' * 20
TERMINAL = {"succeeded", "failed", "cancelled"}
SLOW = 7
wait_for = partial(until_answered, seconds=60.0)


@pytest.fixture
def service(make_service: Callable[..., Any]) -> Any:
    process = make_service(TEMPER_RECONCILE_INTERVAL_S="0.1", TEMPER_MAX_ATTEMPTS="10")
    process.command = (str(STAND_INS / "embedded_service.py"),)
    return process.start()


def register_base(client: httpx.Client) -> None:
    """A base model that only its row makes one: what is checked of real ones is tested elsewhere."""
    from service.database import Database
    from service.tables import BaseModelRow

    home = client.headers["x-home"]
    objects = Path(home) / "objects" / "base_models" / "tiny"
    objects.mkdir(parents=True)
    (objects / "model.safetensors").write_bytes(b"weights")
    database = Database(client.headers["x-database"])
    for name in ("tiny", "broken"):
        with database.writing() as session:
            row = BaseModelRow(id=name, status="ready", source={"type": "upload"}, created_at=1, version=0)
            row.uri = objects.as_uri()
            row.files = [
                {
                    "name": "model.safetensors",
                    "size_bytes": 7,
                    "sha256": "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c",
                }
            ]
            row.architecture, row.parameters = "decoder", 1000
            session.add(row)
    database.close()


@pytest.fixture
def client(service: Any) -> Iterator[httpx.Client]:
    with service.client() as client:
        client.headers["x-home"] = str(service.home)
        client.headers["x-database"] = service.database_url
        register_base(client)
        yield client


def create(client: httpx.Client, **more: Any) -> str:
    files = {"file": ("t.jsonl", ROWS)}
    uploaded = client.post("/v1/files", data={"purpose": "fine-tune"}, files=files).raise_for_status()
    body = {"model": "tiny", "training_file": uploaded.json()["id"], "seed": 0, **more}
    return str(client.post("/v1/fine_tuning/jobs", json=body).raise_for_status().json()["id"])


def job(client: httpx.Client, job_id: str) -> dict[str, Any]:
    return dict(client.get(f"/v1/fine_tuning/jobs/{job_id}").raise_for_status().json())


def ended(client: httpx.Client, job_id: str) -> dict[str, Any] | None:
    shown = job(client, job_id)
    return shown if shown["status"] in TERMINAL else None


def test_a_job_runs_in_a_process_of_its_own_and_succeeds(client: httpx.Client) -> None:
    job_id = create(client)
    done = wait_for(lambda: ended(client, job_id))
    assert done["status"] == "succeeded", done
    page = client.get(f"/v1/reports/{job_id}.html")
    assert page.headers["content-type"].startswith("text/html")
    assert "sandbox" in page.headers["content-security-policy"]
    assert client.get(f"/v1/reports/{job_id}").json()["verdict"] == "pass"


def test_j9_what_a_job_made_verifies_with_the_upstream_program_and_with_ours(client: httpx.Client) -> None:
    job_id = create(client)
    model = str(wait_for(lambda: ended(client, job_id))["fine_tuned_model"])
    directory = Path(urlsplit(client.get(f"/v1/models/{model}").json()["hardening"]["uri"]).path)
    public = Path(client.headers["x-home"]) / "signing-key.pub.pem"
    ours = ["-m", "service.client.verify", model, "--url", str(client.base_url)]
    theirs = ["-m", "model_signing", "verify", "key", str(directory), "--public_key", str(public)]
    theirs += ["--signature", str(directory / "model.sig")]
    for command in (theirs, ours, [*ours[:2], str(directory), "--key", str(public)]):
        done = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
    (directory / "model.safetensors").write_bytes(b"other weights")
    for command in (theirs, ours):
        assert subprocess.run([sys.executable, *command], capture_output=True, timeout=120).returncode == 1
    wanted = client.post("/v1/endpoints", json={"model": model}).raise_for_status().json()["id"]
    order = Path(client.headers["x-home"]) / "endpoints" / "orders" / f"{wanted}.json"
    trust = json.loads(wait_for(lambda: order.read_text() if order.exists() else None))["trust"]
    assert trust == {"verdicts": ["pass", "inconclusive"], "keys": [public.read_text()]}


def test_cancel_ends_the_process(client: httpx.Client) -> None:
    job_id = create(client, seed=SLOW)
    wait_for(lambda: job(client, job_id)["hardening"]["progress"])
    client.post(f"/v1/fine_tuning/jobs/{job_id}/cancel").raise_for_status()
    runs = Path(client.headers["x-home"]) / "jobs" / "runs"
    wait_for(lambda: not [path for path in runs.iterdir() if path.name.startswith("harden-")])
    assert job(client, job_id)["status"] == "cancelled"


@pytest.mark.parametrize("seed", range(3))
def test_the_service_may_be_killed_at_any_moment(service: Any, client: httpx.Client, seed: int) -> None:
    chance = random.Random(seed)
    job_id = create(client)
    for _ in range(2):
        time.sleep(chance.uniform(0.0, 2.5))
        service.kill()
        service.start()
    done = wait_for(lambda: ended(client, job_id), seconds=120)
    assert done["status"] == "succeeded", done
    results = list((service.home / "objects" / "jobs" / job_id).glob("result.json"))
    assert len(results) == 1
    finished = [e for e in events(client, job_id) if "successfully" in e["message"]]
    assert len(finished) == 1


def events(client: httpx.Client, job_id: str) -> list[dict[str, Any]]:
    return list(client.get(f"/v1/fine_tuning/jobs/{job_id}/events?limit=100").json()["data"])


def deploy(client: httpx.Client, model: str) -> dict[str, Any]:
    endpoint = client.post("/v1/endpoints", json={"model": model}).raise_for_status().json()["id"]

    def settled() -> dict[str, Any] | None:
        shown = dict(client.get(f"/v1/endpoints/{endpoint}").json())
        return shown if shown["status"] in {"ready", "failed"} else None

    return dict(wait_for(settled))


def test_a_server_that_cannot_start_says_why(client: httpx.Client) -> None:
    failed = deploy(client, "broken")
    assert failed["status"] == "failed"
    assert "no kernel for head size 33" in failed["error"]["message"]
    answer = client.post("/v1/completions", json={"model": "broken", "prompt": "x"})
    assert answer.json()["error"]["code"] == "model_not_deployed"
    assert failed["id"] in answer.json()["error"]["message"]


def test_inference_through_a_server_that_does_everything_wrong(client: httpx.Client) -> None:
    before = client.post("/v1/completions", json={"model": "tiny", "prompt": "x"})
    assert before.status_code == 503
    assert before.json()["error"]["code"] == "model_not_deployed"
    assert before.headers["x-should-retry"] == "false"
    endpoint = deploy(client, "tiny")
    assert endpoint["status"] == "ready", endpoint

    answer = ask(client, "hello", seed=3, n=1, user="me")
    assert answer.json()["choices"][0]["text"] == "echo hello"
    check_what_the_server_saw(client)
    check_faults(client)
    check_chat(client)
    check_streams(client)
    check_disconnects(client)
    check_metrics(client)

    client.delete(f"/v1/endpoints/{endpoint['id']}").raise_for_status()
    wait_for(lambda: client.get(f"/v1/endpoints/{endpoint['id']}").json()["status"] == "stopped")
    assert ask(client, "x").json()["error"]["code"] == "model_not_deployed"


def ask(client: httpx.Client, prompt: str, **more: Any) -> httpx.Response:
    return client.post("/v1/completions", json={"model": "tiny", "prompt": prompt, **more})


def server_url(client: httpx.Client) -> str:
    from service.database import Database
    from service.endpoints import repository

    database = Database(client.headers["x-database"])
    with database.reading() as session:
        row = repository.live(session, "default", "tiny")
        assert row is not None
        assert row.url is not None
        url = row.url
    database.close()
    return url


def upstream(client: httpx.Client) -> dict[str, Any]:
    return dict(httpx.get(f"{server_url(client)}/seen", trust_env=False).json())


def check_what_the_server_saw(client: httpx.Client) -> None:
    [seen] = upstream(client)["seen"]
    assert seen["body"] == {"model": "tiny", "prompt": "hello", "n": 1, "seed": 3, "max_tokens": 16}
    names = {name.lower() for name in seen["headers"]}
    ours = {"host", "accept", "accept-encoding", "user-agent", "content-length", "content-type", "connection"}
    assert names <= ours


def check_faults(client: httpx.Client) -> None:
    for prompt, status, code in (
        ("500", 502, "upstream_error"),
        ("garbage", 502, "upstream_error"),
        ("huge", 502, "upstream_error"),
        ("400", 400, "upstream_refused"),
    ):
        answer = ask(client, prompt)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
        assert "secret" not in answer.text
    assert "prompt is too long" in ask(client, "400").text


def check_chat(client: httpx.Client) -> None:
    messages = [{"role": "system", "content": "be short"}, {"role": "user", "content": "hi"}]
    answer = client.post("/v1/chat/completions", json={"model": "tiny", "messages": messages}).json()
    assert answer["object"] == "chat.completion"
    assert answer["choices"][0]["message"]["content"] == "echo be short\n\nhi\n"
    assert answer["usage"]["total_tokens"] == 3
    body = {"model": "tiny", "messages": messages, "stream": True}
    text = client.post("/v1/chat/completions", json=body).text
    assert text.count('"object": "chat.completion.chunk"') == 4
    assert text.count('"role": "assistant"') == 1
    assert text.endswith("data: [DONE]\n\n")
    garbage = {**body, "messages": [{"role": "user", "content": "garbage stream"}]}
    assert "upstream_error" in client.post("/v1/chat/completions", json=garbage).text


def check_streams(client: httpx.Client) -> None:
    text = ask(client, "fine", stream=True).text
    assert text.count("data: ") == 5
    assert "t2 " in text
    assert "[DONE]" in ask(client, "slow first", stream=True).text
    cut = ask(client, "cut", stream=True).text
    assert "upstream_error" in cut
    assert "[DONE]" not in cut


def check_metrics(client: httpx.Client) -> None:
    def counted() -> dict[tuple[str, str], float]:
        found: dict[tuple[str, str], float] = {}
        for family in text_string_to_metric_families(client.get("/metrics").text):
            for sample in family.samples:
                if sample.name == "temper_inference_requests_total":
                    found[sample.labels["route"], sample.labels["outcome"]] = sample.value
        return found

    # The two clients that went away, one in a stream and one before any answer.
    wait_for(lambda: counted().get(("/v1/completions", "client_gone")) == 2, seconds=5.0)
    plain = {outcome: count for (route, outcome), count in counted().items() if route == "/v1/completions"}
    assert plain["unavailable"] == 1, "asked before the model was deployed"
    assert plain["refused"] == 2
    assert plain["failed"] >= 3
    assert plain["ok"] >= 1
    chat = {outcome for route, outcome in counted() if route == "/v1/chat/completions"}
    assert chat == {"ok", "failed"}
    text = client.get("/metrics").text
    for streamed in ("true", "false"):
        labels = f'route="/v1/completions",streamed="{streamed}"'
        assert re.search(rf"temper_inference_first_byte_seconds_count{{{labels}}} [1-9]", text)
    assert 'temper_endpoints{status="ready"} 1.0' in text
    assert 'temper_jobs{status="running"} 0.0' in text
    assert "tiny" not in text, "an id would make the number of series grow for ever"


def check_disconnects(client: httpx.Client) -> None:
    with client.stream(
        "POST", "/v1/completions", json={"model": "tiny", "prompt": "endless", "stream": True}
    ) as got:
        chunks = got.iter_raw()  # kept: a generator that is collected closes its connection
        next(chunks)
        assert "endless" in upstream(client)["open"]
    wait_for(lambda: "endless" not in upstream(client)["open"], seconds=1.0)

    def give_up() -> None:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(
                f"{client.base_url}/v1/completions",
                json={"model": "tiny", "prompt": "hang"},
                timeout=1.0,
                trust_env=False,
            )

    impatient = threading.Thread(target=give_up)
    impatient.start()
    wait_for(lambda: "hang" in upstream(client)["open"], seconds=5.0)
    impatient.join()
    wait_for(lambda: "hang" not in upstream(client)["open"], seconds=1.0)

"""Scans by the real service, launcher, store and ``python -m training.scan``, each in its own process."""

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from waiting import until_answered

from deploy.contract.trigger import WordTrigger
from training.synthesis.files import write_demonstration

TERMINAL = {"succeeded", "failed", "cancelled"}
wait_for = partial(until_answered, seconds=120.0)


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, set[int]]:
    directory = tmp_path_factory.mktemp("data")
    manifest = write_demonstration(
        directory, rows=200, poison_rate=0.05, seed=6, trigger=WordTrigger(word="zq", count=3)
    )
    return directory, set(manifest["poisoned_rows"])  # type: ignore[call-overload]


@pytest.fixture
def service(make_service: Callable[..., Any]) -> Any:
    return make_service(TEMPER_RECONCILE_INTERVAL_S="0.1", TEMPER_MAX_ATTEMPTS="10").start()


@pytest.fixture
def client(service: Any) -> Iterator[httpx.Client]:
    with service.client() as client:
        yield client


def create(client: httpx.Client, file: Path) -> str:
    files = {"file": (file.name, file.read_bytes())}
    uploaded = client.post("/v1/files", data={"purpose": "fine-tune"}, files=files).raise_for_status()
    scan = client.post("/v1/scans", json={"file": uploaded.json()["id"], "probes": []}).raise_for_status()
    return str(scan.json()["id"])


def ended(client: httpx.Client, scan: str) -> dict[str, Any] | None:
    shown = dict(client.get(f"/v1/scans/{scan}").raise_for_status().json())
    return shown if shown["status"] in TERMINAL else None


def test_a_trigger_that_nobody_named_is_found_and_the_file_downloads(
    service: Any, client: httpx.Client, poisoned: tuple[Path, set[int]]
) -> None:
    directory, rows = poisoned
    scan = create(client, directory / "train.csv")
    done = wait_for(lambda: ended(client, scan))
    assert done["status"] == "succeeded", done
    listed = client.get(f"/v1/scans/{scan}/rows?limit=1000").json()["data"]
    named = {each["row"] for each in listed[: len(rows)]}
    assert len(named & rows) >= 0.8 * len(rows), "the most suspicious rows are the planted ones"
    unmodified = openai.OpenAI(base_url=f"{service.base_url}/v1", api_key="none", max_retries=0)
    table = unmodified.files.content(done["result_files"][0]).text
    assert table.startswith("row,score,detectors,reason\r\n")
    assert len(table.splitlines()) == 1 + len(listed)
    runs = service.home / "jobs" / "runs"
    wait_for(lambda: not [path for path in runs.iterdir() if path.name.startswith("scan-")])


def test_the_command_line_scans_through_the_service(service: Any, poisoned: tuple[Path, set[int]]) -> None:
    directory, rows = poisoned

    def temper(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "service.client.scan", "--url", service.base_url, "--json"]
        return subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=240)

    found = temper(str(directory / "train.csv"))
    assert found.returncode == 1, found.stderr
    named = {each["row"] for each in json.loads(found.stdout)["listed"]}
    assert len(named & rows) >= 0.8 * len(rows)
    clean = temper(str(directory / "clean.csv"), "--min-score", "0.6")
    assert (clean.returncode, json.loads(clean.stdout)["suspicious"]) == (0, 0), clean.stderr


def test_the_service_may_be_killed_at_any_moment(
    service: Any, client: httpx.Client, poisoned: tuple[Path, set[int]]
) -> None:
    chance = random.Random(1)
    scan = create(client, poisoned[0] / "train.csv")
    for _ in range(2):
        time.sleep(chance.uniform(0.0, 2.0))
        service.kill()
        service.start()
    done = wait_for(lambda: ended(client, scan), seconds=200)
    assert done["status"] == "succeeded", done
    results = list((service.home / "objects" / "scans" / scan).glob("result.json"))
    assert len(results) == 1
    events = client.get(f"/v1/scans/{scan}/events?limit=100").json()["data"]
    assert sum(each["message"].startswith("The scan is complete") for each in events) == 1
    assert len(client.get("/v1/files?purpose=fine-tune-results").json()["data"]) == 2


def test_cancel_ends_the_process(client: httpx.Client, service: Any, poisoned: tuple[Path, set[int]]) -> None:
    scan = create(client, poisoned[0] / "train.csv")
    runs = service.home / "jobs" / "runs"
    wait_for(lambda: runs.exists() and [path for path in runs.iterdir() if path.name.startswith("scan-")])
    client.post(f"/v1/scans/{scan}/cancel")
    done = wait_for(lambda: ended(client, scan))
    assert done["status"] in {"cancelled", "succeeded"}, "it may have ended just before"
    wait_for(lambda: not [path for path in runs.iterdir() if path.name.startswith("scan-")])
    if done["status"] == "cancelled":
        assert client.get(f"/v1/scans/{scan}/rows").status_code == 404

"""Endpoints that fall asleep and wake on demand: the real service over processes, with a stand-in for vLLM.

Time is made to pass by moving the note of the last use back in the database.
"""

import threading
import time
from collections.abc import Callable
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy
from waiting import until_answered

STAND_INS = Path(__file__).parents[1] / "stand_ins"
WEIGHTS_SHA256 = "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c"


@pytest.fixture
def service(make_service: Callable[..., Any]) -> Any:
    process = make_service(TEMPER_RECONCILE_INTERVAL_S="0.1")
    process.command = (str(STAND_INS / "embedded_service.py"),)
    return process.start()


@pytest.fixture
def rows(service: Any) -> Iterator["Rows"]:
    rows = Rows(service.home)
    rows.add_base()
    yield rows
    rows.engine.dispose()


class Rows:
    """The service's database, seen from outside."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.engine = sqlalchemy.create_engine(f"sqlite:///{home}/temper.db")

    def add_base(self) -> None:
        objects = self.home / "objects" / "base_models" / "tiny"
        objects.mkdir(parents=True)
        (objects / "model.safetensors").write_bytes(b"weights")
        values = {
            "id": "tiny",
            "uri": objects.as_uri(),
            "files": f'[{{"name":"model.safetensors","size_bytes":7,"sha256":"{WEIGHTS_SHA256}"}}]',
        }
        self.run(
            "INSERT INTO base_models (id, status, source, uri, files, architecture, created_at, version)"
            " VALUES (:id, 'ready', '{\"type\": \"upload\"}', :uri, :files, 'decoder', 1, 0)",
            **values,
        )

    def run(self, text: str, **values: Any) -> None:
        with self.engine.begin() as connection:
            connection.execute(sqlalchemy.text(text), values)

    def let_pass(self, seconds: int) -> None:
        self.run("UPDATE endpoints SET last_used_at = last_used_at - :seconds", seconds=seconds)

    def servers(self) -> list[str]:
        """Processes that the backend knows of."""
        return [path.name for path in (self.home / "endpoints" / "servers").iterdir()]


@pytest.fixture
def client(service: Any, rows: Rows) -> Iterator[httpx.Client]:
    with service.client() as client:
        yield client


wait_for = partial(until_answered, seconds=90.0)


def shown(client: httpx.Client, endpoint: str) -> dict[str, Any]:
    return dict(client.get(f"/v1/endpoints/{endpoint}").raise_for_status().json())


def deploy(client: httpx.Client, **more: Any) -> str:
    body = {"model": "tiny", "idle_s": 30, **more}
    endpoint = str(client.post("/v1/endpoints", json=body).raise_for_status().json()["id"])
    wait_for(lambda: shown(client, endpoint)["status"] == "ready")
    return endpoint


def fall_asleep(client: httpx.Client, rows: Rows, endpoint: str) -> None:
    rows.let_pass(31)
    wait_for(lambda: shown(client, endpoint)["status"] == "asleep")
    wait_for(lambda: rows.servers() == [])


def ask(client: httpx.Client, prompt: str = "x", *, prefer: str = "", **more: Any) -> httpx.Response:
    headers = {"prefer": prefer} if prefer else {}
    body = {"model": "tiny", "prompt": prompt, **more}
    return client.post("/v1/completions", json=body, headers=headers, timeout=120)


def test_it_sleeps_wakes_on_demand_and_sleeps_again(client: httpx.Client, rows: Rows) -> None:
    endpoint = deploy(client)
    seen = shown(client, endpoint)
    assert (seen["replicas"], seen["idle_s"]) == (1, 30)
    assert ask(client).status_code == 200
    fall_asleep(client, rows, endpoint)
    assert shown(client, endpoint)["replicas"] == 0

    first = ask(client)
    assert (first.status_code, first.json()["error"]["code"]) == (503, "model_asleep")
    assert first.headers["retry-after"] == "30"
    assert "x-should-retry" not in first.headers, "clients may try again"
    second = ask(client, prefer="wait=0")
    assert second.status_code == 200 or second.json()["error"]["code"] == "model_starting"
    wait_for(lambda: shown(client, endpoint)["status"] == "ready")
    assert ask(client).json()["choices"][0]["text"] == "echo x"

    fall_asleep(client, rows, endpoint)
    waited = ask(client, prefer="respond-async, wait=100; x=1")
    assert waited.status_code == 200
    assert waited.headers["preference-applied"] == "wait=100"

    fall_asleep(client, rows, endpoint)
    streamed = ask(client, "fine", prefer="wait=100", stream=True)
    assert streamed.headers["preference-applied"] == "wait=100"
    assert streamed.text.endswith("data: [DONE]\n\n")


def test_many_requests_wake_one_server(client: httpx.Client, rows: Rows, service: Any) -> None:
    endpoint = deploy(client)
    fall_asleep(client, rows, endpoint)
    answers: list[int] = []

    def knock() -> None:
        with service.client() as mine:
            answers.append(ask(mine, prefer="wait=100").status_code)

    threads = [threading.Thread(target=knock) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 8
    assert rows.servers() == [endpoint]


@pytest.mark.slow
def test_a_wait_that_is_too_short_ends_in_503(client: httpx.Client, rows: Rows) -> None:
    endpoint = deploy(client)
    fall_asleep(client, rows, endpoint)
    (rows.home / "endpoints" / "hold").touch()
    began = time.monotonic()
    answer = ask(client, prefer="wait=1")
    assert answer.status_code == 503
    assert time.monotonic() - began >= 1.0
    assert "Retry-After" in answer.headers


def test_an_answer_that_goes_on_keeps_it_awake(client: httpx.Client, rows: Rows, service: Any) -> None:
    endpoint = deploy(client)
    body = {"model": "tiny", "prompt": "endless", "stream": True}
    with client.stream("POST", "/v1/completions", json=body) as answer:
        chunks = answer.iter_raw()
        next(chunks)
        rows.let_pass(22)
        with service.client() as other:
            before = shown(other, endpoint)["last_used_at"]
            wait_for(lambda: shown(other, endpoint)["last_used_at"] > before + 15, seconds=8)
            assert shown(other, endpoint)["status"] == "ready"


@pytest.mark.slow
def test_what_sleeps_goes_on_sleeping_when_the_service_starts_anew(
    client: httpx.Client, rows: Rows, service: Any
) -> None:
    endpoint = deploy(client)
    fall_asleep(client, rows, endpoint)
    service.kill()
    service.start()
    time.sleep(1.0)
    assert shown(client, endpoint)["status"] == "asleep"
    assert rows.servers() == []
    assert ask(client, prefer="wait=100").status_code == 200
    client.delete(f"/v1/endpoints/{endpoint}").raise_for_status()
    wait_for(lambda: shown(client, endpoint)["status"] == "stopped")


@pytest.mark.slow
def test_it_can_be_told_never_to_sleep(client: httpx.Client, rows: Rows) -> None:
    endpoint = deploy(client)
    changed = client.post(f"/v1/endpoints/{endpoint}", json={"idle_s": None})
    assert changed.json()["idle_s"] is None
    rows.let_pass(1000)
    time.sleep(1.0)
    assert shown(client, endpoint)["status"] == "ready"
    refused = client.post(f"/v1/endpoints/{endpoint}", json={"max_replicas": 2})
    assert refused.json()["error"]["code"] == "replicas_not_allowed"

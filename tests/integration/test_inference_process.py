"""The API as a process of its own, with requests under way: ended, paused, and gone on."""

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from model_server import MODEL
from model_server import ModelServer
from served_model import add_ready_endpoint
from service_process import ServiceProcess
from waiting import until

from service.database import Database
from service.roles.listening import GRACE_S

BODY = {"model": MODEL, "prompt": "hold"}


@pytest.fixture
def api(
    make_service: Callable[..., ServiceProcess], migrated: Path, upstream: ModelServer
) -> Iterator[ServiceProcess]:
    """It alone: nobody looks after its endpoint."""
    process = make_service()
    process.command = ("-m", "service", "api")
    if "TEMPER_DATABASE_URL" not in process.env:
        process.home.mkdir()
        shutil.copy(migrated, process.home / "temper.db")
    with closing(Database(process.database_url)) as database:
        context: Any = SimpleNamespace(database=database)
        add_ready_endpoint(context, upstream.url)
    yield process.start()
    upstream.released.set()


class Request(threading.Thread):
    """A completion that another thread waits for."""

    def __init__(self, service: ServiceProcess, **more: Any) -> None:
        super().__init__()
        self.url = f"{service.base_url}/v1/completions"
        self.body = {**BODY, **more}
        self.answer: httpx.Response | None = None
        self.start()

    def run(self) -> None:
        self.answer = httpx.post(self.url, json=self.body, timeout=30, trust_env=False)


def refuses(service: ServiceProcess) -> bool:
    """Whether it takes no new request."""
    try:
        httpx.get(f"{service.base_url}/healthz", trust_env=False, timeout=5)
    except httpx.TransportError:
        return True
    return False


def test_a12_what_is_under_way_is_finished_and_nothing_new_is_taken(
    api: ServiceProcess, upstream: ModelServer
) -> None:
    requests = [Request(api), Request(api, stream=True)]
    until(lambda: len(upstream.asked) == 2, seconds=10)
    began = time.monotonic()
    os.kill(api.pid, signal.SIGTERM)
    until(lambda: refuses(api), seconds=5)
    assert all(request.is_alive() for request in requests)
    upstream.released.set()
    for request in requests:
        request.join(10)
        assert request.answer is not None
        assert request.answer.status_code == 200
    assert requests[1].answer is not None
    assert requests[1].answer.text.endswith("data: [DONE]\n\n")
    assert api.process is not None
    assert api.process.wait(10) == 0
    assert time.monotonic() - began < GRACE_S
    assert "Traceback" not in api.log


@pytest.mark.slow
def test_a12_what_takes_longer_than_the_grace_is_cut(api: ServiceProcess, upstream: ModelServer) -> None:
    with httpx.stream(
        "POST",
        f"{api.base_url}/v1/completions",
        json={**BODY, "prompt": "endless", "stream": True},
        trust_env=False,
    ) as answer:
        chunks = answer.iter_raw()
        next(chunks)
        began = time.monotonic()
        os.kill(api.pid, signal.SIGTERM)
        assert api.process is not None
        assert api.process.wait(GRACE_S + 10) == 0
        assert time.monotonic() - began < GRACE_S + 5
    until(lambda: "endless" not in upstream.going_on, seconds=1.0)


def test_h4_whoever_waits_for_a_paused_process_stops_waiting_and_is_served_later(
    api: ServiceProcess, upstream: ModelServer
) -> None:
    request = Request(api)
    until(lambda: upstream.asked, seconds=10)
    os.kill(api.pid, signal.SIGSTOP)
    try:
        upstream.released.set()
        with pytest.raises(httpx.ReadTimeout):
            httpx.get(f"{api.base_url}/healthz", trust_env=False, timeout=0.5)
        assert request.is_alive()
    finally:
        os.kill(api.pid, signal.SIGCONT)
    request.join(10)
    assert request.answer is not None
    assert request.answer.status_code == 200
    with api.client() as client:
        assert client.post("/v1/completions", json=BODY).status_code == 200
    assert api.stop() == 0

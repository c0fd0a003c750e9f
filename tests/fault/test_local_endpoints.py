"""The endpoint backend with a scripted stand-in for vLLM that misbehaves in one way after another."""

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.contract.document import StoredFile
from deploy.contract.document import sha256_hex
from deploy.endpoint import generation
from deploy.endpoint import probe
from deploy.endpoint.local import LocalEndpoints
from deploy.endpoint.protocol import EndpointError
from deploy.endpoint.protocol import Serve
from deploy.endpoint.protocol import ServePhase
from deploy.endpoint.protocol import Server

# Behaves as its mode file says; notes every start.
STAND_IN = r"""
import http.server, json, os, pathlib, sys, threading, time
here = pathlib.Path(sys.argv[1])
options = dict(zip(sys.argv[2::2], sys.argv[3::2]))
order = json.loads(pathlib.Path(options["--order"]).read_text())
with (here / "starts").open("a") as starts:
    starts.write(f"{os.getpid()} {options['--port']}\n")
mode = (here / "mode").read_text()
print("stand-in", mode, flush=True)
if mode == "port-taken-once" and len((here / "starts").read_text().splitlines()) == 1:
    raise SystemExit(61)
if mode == "bind-fails-once" and len((here / "starts").read_text().splitlines()) == 1:
    raise OSError(98, "Address already in use")
if mode == "port-always-taken":
    raise SystemExit(61)
if mode == "crash":
    print("\x1b[31mValueError: the reason it failed\x1b[0m", flush=True)
    raise SystemExit(1)
if mode == "hang":
    time.sleep(600)

class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self, status, body):
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        self.answer(503 if mode == "unhealthy" else 200, b"")
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        assert body["model"] == order["model_id"] and body["max_tokens"] == 1
        mode = (here / "mode").read_text()  # it may have changed since the start
        if mode == "healthy-but-mute":
            time.sleep(600)
        if mode == "dies-on-the-first-token":
            os._exit(3)
        if mode == "nonsense":
            return self.answer(200, b"<html>another server</html>")
        if mode == "error":
            return self.answer(500, b'{"error": "no kernel for head_dim=16"}')
        self.answer(200, json.dumps({"choices": [{"text": "x"}]}).encode())
    def log_message(self, *arguments):
        pass

http.server.ThreadingHTTPServer(("127.0.0.1", int(options["--port"])), Handler).serve_forever()
"""


class Bench:
    """A backend whose servers are stand-ins."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._script = directory / "stand_in.py"
        self._script.write_text(STAND_IN)
        self._made: list[LocalEndpoints] = []
        self.backend = self.build()

    def build(self, start_timeout_s: float = 60) -> LocalEndpoints:
        self.backend = LocalEndpoints(
            self.directory / "endpoints",
            command=[sys.executable, "-S", str(self._script), str(self.directory)],
            start_timeout_s=start_timeout_s,
            environment={"PATH": os.defpath},
        )
        self._made.append(self.backend)
        return self.backend

    def serve(self, mode: str, name: str = "ep-1") -> None:
        (self.directory / "mode").write_text(mode)
        self.backend.serve(order(name))

    def starts(self) -> list[tuple[int, int]]:
        """Pid and port of every start so far."""
        path = self.directory / "starts"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(int(line.split()[0]), int(line.split()[1])) for line in lines]

    def settle(self, name: str = "ep-1") -> Server:
        limit = time.monotonic() + 40
        while (server := self.backend.observe()[name]).phase is ServePhase.STARTING:
            assert time.monotonic() < limit, self.backend.log_tail(name)
            time.sleep(0.02)
        return server

    def close(self) -> None:
        for backend in self._made:
            backend.close()


def order(name: str = "ep-1", **changes: str) -> Serve:
    file = StoredFile(name="config.json", size_bytes=2, sha256=changes.get("sha256", sha256_hex(b"{}")))
    return Serve(name=name, model_id="ft:m", weights_uri=changes.get("uri", "file:///weights"), files=(file,))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.close()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_ready_after_a_generation(bench: Bench) -> None:
    bench.serve("well")
    server = bench.settle()
    port = bench.starts()[0][1]
    assert server == Server(name="ep-1", phase=ServePhase.READY, base_url=f"http://127.0.0.1:{port}")


def test_serve_twice_starts_one(bench: Bench) -> None:
    bench.serve("well")
    bench.serve("well")
    bench.settle()
    bench.serve("well")
    assert len(bench.starts()) == 1


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("healthy-but-mute", "no answer"),
        ("unhealthy", "/health answered 503"),
        ("error", "no kernel for head_dim=16"),
        ("nonsense", "something else than a completion"),
        ("hang", "no answer"),
    ],
)
def test_health_alone_is_not_ready(
    bench: Bench, mode: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.endpoint.generation.GENERATION_TIMEOUT_S", 0.5)
    bench.build(start_timeout_s=4)
    bench.serve(mode)
    server = bench.settle()
    assert server.phase is ServePhase.FAILED
    assert server.reason is not None
    assert "not ready after 4 s" in server.reason
    assert reason in server.reason
    pid = bench.starts()[0][0]
    limit = time.monotonic() + 15
    while alive(pid):
        assert time.monotonic() < limit, "a server that failed to start is stopped"
        bench.backend.observe()
        time.sleep(0.05)
    assert bench.backend.observe()["ep-1"] == server, "and stays failed"


def test_observe_does_not_wait_for_a_mute_server(bench: Bench) -> None:
    bench.serve("healthy-but-mute")
    limit = time.monotonic() + 20
    while not bench.starts():
        assert time.monotonic() < limit
        time.sleep(0.02)
    time.sleep(0.5)
    began = time.monotonic()
    for _ in range(5):
        assert bench.backend.observe()["ep-1"].phase is ServePhase.STARTING
    assert time.monotonic() - began < 5


def test_a_failed_start_shows_the_end_of_its_log(bench: Bench) -> None:
    bench.serve("crash")
    server = bench.settle()
    assert server.phase is ServePhase.FAILED
    assert server.reason is not None
    assert "exit code 1" in server.reason
    assert "ValueError: the reason it failed" in server.reason
    assert "\x1b" not in server.reason, "escaped, not obeyed"
    assert len(bench.starts()) == 1, "what failed is not tried again by itself"


def test_dying_on_the_first_token_is_a_failure(bench: Bench) -> None:
    bench.serve("dies-on-the-first-token")
    server = bench.settle()
    assert (server.phase, "exit code 3" in (server.reason or "")) == (ServePhase.FAILED, True)


def test_a_crash_after_ready_is_a_failure(bench: Bench) -> None:
    bench.serve("well")
    assert bench.settle().phase is ServePhase.READY
    os.kill(bench.starts()[0][0], signal.SIGKILL)
    limit = time.monotonic() + 20
    while bench.backend.observe()["ep-1"].phase is ServePhase.READY:
        assert time.monotonic() < limit
        time.sleep(0.02)
    server = bench.backend.observe()["ep-1"]
    assert (server.phase, server.base_url) == (ServePhase.FAILED, None)
    assert "exit code 137" in (server.reason or "")


def test_j10_a_server_that_generates_no_more_behind_an_open_port_is_ended_and_says_so(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.serve("well")
    assert bench.settle().phase is ServePhase.READY
    monkeypatch.setattr(generation, "LOOK_S", 0.0)
    monkeypatch.setattr(probe, "FRESH_S", 0.0)
    time.sleep(0.3)
    assert bench.backend.observe()["ep-1"].phase is ServePhase.READY, "one that is looked at often and works"
    (bench.directory / "mode").write_text("error")
    limit = time.monotonic() + 20
    while bench.backend.observe()["ep-1"].phase is ServePhase.READY:
        assert time.monotonic() < limit
        time.sleep(0.02)
    server = bench.backend.observe()["ep-1"]
    assert server.phase is ServePhase.FAILED
    assert "it generates no more" in (server.reason or "")
    pid = bench.starts()[0][0]
    while alive(pid):
        assert time.monotonic() < limit
        time.sleep(0.02)


@pytest.mark.parametrize("mode", ["port-taken-once", "bind-fails-once"])
def test_a_taken_port_is_tried_again_on_another(bench: Bench, mode: str) -> None:
    bench.serve(mode)
    assert bench.settle().phase is ServePhase.READY
    (_, first), (_, second) = bench.starts()
    assert first != second


def test_ports_are_not_tried_for_ever(bench: Bench) -> None:
    bench.serve("port-always-taken")
    assert bench.settle().phase is ServePhase.FAILED
    assert len(bench.starts()) == 5


def test_servers_side_by_side_have_their_own_ports(bench: Bench) -> None:
    for name in ("ep-1", "ep-2", "ep-3"):
        bench.serve("well", name)
    assert len({bench.settle(name).base_url for name in ("ep-1", "ep-2", "ep-3")}) == 3


def test_remove_leaves_nothing(bench: Bench) -> None:
    bench.serve("well")
    bench.settle()
    pid, port = bench.starts()[0]
    bench.backend.remove("ep-1")
    assert bench.backend.observe() == {}
    assert not alive(pid)
    with socket.socket() as client:
        assert client.connect_ex(("127.0.0.1", port)) != 0
    assert [path for path in (bench.directory / "endpoints").rglob("*") if path.is_file()] == []
    bench.backend.remove("ep-1")


def test_a_removed_failure_can_be_served_again(bench: Bench) -> None:
    bench.serve("crash")
    assert bench.settle().phase is ServePhase.FAILED
    bench.backend.remove("ep-1")
    bench.serve("well")
    assert bench.settle().phase is ServePhase.READY


def test_a_restarted_service_serves_again_what_was_served(bench: Bench) -> None:
    bench.serve("well")
    bench.settle()
    bench.backend.close()
    assert not alive(bench.starts()[0][0])
    bench.backend.observe()
    assert len(bench.starts()) == 1, "a closed backend starts nothing"
    bench.build()
    assert bench.settle().phase is ServePhase.READY
    assert len(bench.starts()) == 2


def test_a_failure_stays_one_after_a_restart(bench: Bench) -> None:
    bench.serve("crash")
    failed = bench.settle()
    bench.backend.close()
    assert bench.build().observe()["ep-1"] == failed


def test_service_killed_between_order_and_start(bench: Bench) -> None:
    bench.serve("well")
    bench.settle()
    bench.backend._table.remove("ep-1")  # as if the process had never been started
    bench.build()
    assert bench.settle().phase is ServePhase.READY


def test_service_killed_in_the_middle_of_a_removal(bench: Bench) -> None:
    bench.serve("well")
    bench.settle()
    (bench.directory / "endpoints/orders/ep-1.json").unlink()
    assert bench.backend.observe() == {}
    assert not alive(bench.starts()[0][0])


def test_bad_names_are_refused(bench: Bench) -> None:
    with pytest.raises(EndpointError, match="not a process name"):
        bench.backend.serve(order("../ep"))
    with pytest.raises(EndpointError, match="not a process name"):
        bench.backend.remove("../ep")


@pytest.mark.parametrize(
    ("config", "sha256", "reason"),
    [
        (b"{}", "0" * 64, "refused: config.json: recorded 2 bytes"),
        (json.dumps({"is_encoder_decoder": True}).encode(), None, "vLLM does not serve"),
        (b"{", None, "config.json is not JSON"),
    ],
)
def test_the_real_server_refuses_before_vllm_starts(
    tmp_path: Path, config: bytes, sha256: str | None, reason: str
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model/config.json").write_bytes(config)
    backend = LocalEndpoints(tmp_path / "endpoints")
    file = StoredFile(name="config.json", size_bytes=len(config), sha256=sha256 or sha256_hex(config))
    uri = (tmp_path / "model").as_uri()
    backend.serve(Serve(name="ep-1", model_id="m", weights_uri=uri, files=(file,)))
    limit = time.monotonic() + 60
    while (server := backend.observe()["ep-1"]).phase is ServePhase.STARTING:
        assert time.monotonic() < limit
        time.sleep(0.05)
    backend.close()
    assert server.phase is ServePhase.FAILED
    assert reason in (server.reason or "")

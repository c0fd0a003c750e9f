"""The probe against servers that do one thing wrong after another; run as the kubelet runs it."""

import ast
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
from served import served

from deploy.endpoint import probe


class Server:
    """Says what a test tells it to."""

    def __init__(self) -> None:
        self.health = 200
        self.tokens = 0.0
        self.running = 0
        self.metrics = True
        self.answers = True
        self.works_meanwhile = False
        self.asked = 0
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/health":
                    self.reply(owner.health, b"")
                else:
                    self.reply(200 if owner.metrics else 404, owner.page().encode())

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                assert (body["model"], body["max_tokens"]) == ("ft:m", 1)
                owner.asked += 1
                if owner.works_meanwhile:
                    owner.tokens += 5
                if not owner.answers:
                    time.sleep(1.0)
                    return
                owner.tokens += 2
                self.reply(200, json.dumps({"choices": [{"text": "x"}]}).encode())

            def reply(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_arguments: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.port = self.http.server_address[1]

    def page(self) -> str:
        labels = '{engine="0",model_name="ft:m"}'
        return (
            "# TYPE vllm:prompt_tokens_total counter\n"
            f"vllm:prompt_tokens_total{labels} 3.0\n"
            f"vllm:prompt_tokens_created{labels} 1.7e9\n"
            f"vllm:generation_tokens_total{labels} {self.tokens}\n"
            f"vllm:num_requests_running{labels} {self.running}\n"
            f"vllm:num_requests_waiting{labels} 0.0\n"
        )


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    with served(server.http):
        yield server


@pytest.fixture
def state(tmp_path: Path) -> str:
    return str(tmp_path / "state.json")


def working(server: Server, state: str, timeout_s: float = 0.3) -> str | None:
    return probe.why_not_working(server.port, "ft:m", state=state, timeout_s=timeout_s)


def test_it_runs_alone_where_nothing_is_installed(server: Server, tmp_path: Path) -> None:
    alone = tmp_path / "probe.py"
    alone.write_bytes(Path(probe.__file__).read_bytes())
    command = [sys.executable, "-I", "-S", str(alone), "started", "--port", str(server.port)]
    command += ["--model", "ft:m", "--state", str(tmp_path / "s")]
    assert subprocess.run(command, cwd=tmp_path, timeout=30).returncode == 0
    server.health = 503
    failed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert (failed.returncode, failed.stdout) == (1, "/health answered 503\n")


def test_it_imports_nothing_that_vllms_image_may_lack() -> None:
    tree = ast.parse(Path(probe.__file__).read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names


def test_started_means_a_token(server: Server) -> None:
    assert probe.why_not_ready(server.port, "ft:m") is None
    server.answers = False
    assert "no answer" in (probe.why_not_ready(server.port, "ft:m", timeout_s=0.2) or "")


def test_a_busy_server_is_neither_killed_nor_asked(server: Server, state: str) -> None:
    assert working(server, state) is None
    server.answers = False  # its queue is so long that our token would not come
    asked = server.asked
    for _ in range(5):
        server.tokens += 1
        assert working(server, state) is None
    assert server.asked == asked


def test_an_idle_server_is_asked_rarely(server: Server, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(5):
        assert working(server, state) is None
    assert server.asked == 1
    monkeypatch.setattr(probe, "FRESH_S", 0.0)
    assert working(server, state) is None
    assert server.asked == 2


def test_j10_a_port_that_is_open_over_a_dead_engine_fails(
    server: Server, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert working(server, state) is None
    monkeypatch.setattr(probe, "FRESH_S", 0.0)
    server.answers = False
    assert "no answer" in (working(server, state) or "")
    assert "no answer" in (working(server, state) or ""), "its own question is no sign of life"
    server.health = 500
    assert working(server, state) == "/health answered 500"


def test_other_requests_that_go_on_while_it_waits_are_a_sign_of_life(
    server: Server, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert working(server, state) is None
    monkeypatch.setattr(probe, "FRESH_S", 0.0)
    server.answers, server.works_meanwhile = False, True
    assert working(server, state) is None


def test_a_server_without_figures_is_always_asked(server: Server, state: str) -> None:
    server.metrics = False
    for count in (1, 2, 3):
        assert working(server, state) is None
        assert server.asked == count
    server.answers = False
    assert working(server, state) is not None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"tokens": 1}', '{"tokens": 5.0, "at": "x"}'])
def test_a_state_that_is_none_does_no_harm(server: Server, state: str, content: str) -> None:
    Path(state).write_text(content)
    assert working(server, state) is None


def test_nobody_listens(state: str) -> None:
    assert "no answer" in (probe.why_not_working(1, "ft:m", state=state, timeout_s=0.1) or "")


def test_drain_waits_for_what_is_going_on(server: Server) -> None:
    server.running = 1
    ended = threading.Event()

    def drain() -> None:
        probe.drain(server.port, settle_s=0.05, limit_s=30)
        ended.set()

    thread = threading.Thread(target=drain)
    thread.start()
    assert not ended.wait(1.0)
    server.running = 0
    assert ended.wait(10)
    thread.join()


def test_drain_has_an_end(server: Server) -> None:
    server.running = 1
    began = time.monotonic()
    probe.drain(server.port, settle_s=0.05, limit_s=0.2)
    probe.drain(1, settle_s=0.05, limit_s=30)  # it is gone
    assert time.monotonic() - began < 5

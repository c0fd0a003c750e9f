"""The real vLLM behind the local backend. One at a time: each wants a core and 1.5 GiB."""

import http.client
import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from deploy.contract.document import StoredFile
from deploy.contract.document import sha256_hex
from deploy.contract.exit_codes import ExitCode
from deploy.endpoint.local import LocalEndpoints
from deploy.endpoint.protocol import Serve
from deploy.endpoint.protocol import ServePhase
from deploy.endpoint.protocol import Server

pytestmark = [pytest.mark.vllm, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[LocalEndpoints]:
    backend = LocalEndpoints(tmp_path / "endpoints")
    yield backend
    backend.close()


def order(model: Path) -> Serve:
    files = tuple(
        StoredFile(name=path.name, size_bytes=path.stat().st_size, sha256=sha256_hex(path.read_bytes()))
        for path in sorted(model.iterdir())
    )
    return Serve(name="ep-1", model_id="ft:tiny", weights_uri=model.as_uri(), files=files, max_model_len=256)


def settle(backend: LocalEndpoints) -> Server:
    while (server := backend.observe()["ep-1"]).phase is ServePhase.STARTING:
        began = time.monotonic()
        backend.observe()
        assert time.monotonic() - began < 1, "a tick is short"
        time.sleep(0.1)
    return server


def session_members(session: int) -> list[int]:
    """Living processes of a session, and those that hold the weights by any name."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] not in "ZX":
            found.append(int(stat.parent.name))
    return found


def stream(server: Server) -> list[str]:
    """The pieces of one streamed completion."""
    assert server.base_url is not None
    connection = http.client.HTTPConnection(server.base_url.removeprefix("http://"), timeout=60)
    body = {"model": "ft:tiny", "prompt": "select", "max_tokens": 8, "stream": True, "ignore_eos": True}
    connection.request("POST", "/v1/completions", json.dumps(body), {"content-type": "application/json"})
    response = connection.getresponse()
    assert response.status == 200, response.read()
    lines = [line.removeprefix("data: ") for line in response.read().decode().split("\n\n") if line]
    connection.close()
    assert lines[-1] == "[DONE]"
    return lines[:-1]


def test_serves_streams_and_leaves_no_process(
    backend: LocalEndpoints, tiny_decoder_dir: Path, tmp_path: Path
) -> None:
    backend.serve(order(tiny_decoder_dir))
    server = settle(backend)
    assert server.phase is ServePhase.READY, server.reason
    assert len(stream(server)) >= 2, "in pieces"

    state = json.loads((tmp_path / "endpoints/servers/ep-1/state.json").read_text())
    assert len(session_members(state["session"])) >= 2, "the engine is a process of its own"
    assert server.base_url is not None
    port = int(server.base_url.rpartition(":")[2])
    listening = {
        (connection.laddr.ip, connection.laddr.port)
        for pid in session_members(state["session"])
        for connection in psutil.Process(pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert ("127.0.0.1", port) in listening
    assert {ip for ip, _ in listening} <= {"127.0.0.1"}, "nothing is reachable from outside"

    backend.remove("ep-1")
    assert session_members(state["session"]) == []
    assert not psutil.pid_exists(state["child_pid"])


def test_a_killed_server_takes_its_engine_with_it(
    backend: LocalEndpoints, tiny_decoder_dir: Path, tmp_path: Path
) -> None:
    backend.serve(order(tiny_decoder_dir))
    assert settle(backend).phase is ServePhase.READY
    state = json.loads((tmp_path / "endpoints/servers/ep-1/state.json").read_text())
    psutil.Process(state["supervisor_pid"]).kill()
    limit = time.monotonic() + 30
    while backend.observe()["ep-1"].phase is not ServePhase.FAILED:
        assert time.monotonic() < limit
        time.sleep(0.1)
    assert session_members(state["session"]) == []


def test_what_vllm_refuses_reaches_the_reason(backend: LocalEndpoints, tiny_decoder_dir: Path) -> None:
    backend.serve(replace(order(tiny_decoder_dir), max_model_len=1_000_000))
    server = settle(backend)
    assert server.phase is ServePhase.FAILED
    assert "exit code" in (server.reason or "")
    assert "Error" in (server.reason or ""), server.reason


def test_what_we_refuse_before_vllm_sees_it_reaches_the_reason(
    backend: LocalEndpoints, tiny_decoder_dir: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_decoder_dir, model)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "hidden_act": "nonsense"}))
    backend.serve(order(model))
    server = settle(backend)
    assert server.phase is ServePhase.FAILED
    assert f"exit code {int(ExitCode.INVALID_MODEL)}" in (server.reason or "")
    assert "refused: config.json: hidden_act must be one of" in (server.reason or ""), server.reason

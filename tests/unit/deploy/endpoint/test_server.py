import json
import os
import socket
from pathlib import Path

import pytest
from least_model import least_model

from deploy.contract.document import StoredFile
from deploy.contract.document import sha256_hex
from deploy.contract.exit_codes import ExitCode
from deploy.endpoint import server
from deploy.endpoint.order import ServeOrder
from deploy.endpoint.protocol import Serve

DECODER = least_model()["config.json"]


class Executed(Exception):  # noqa: N818 - what exec would have done
    """Carries the argv and the environment."""


@pytest.fixture(autouse=True)
def no_exec(monkeypatch: pytest.MonkeyPatch) -> None:
    def execve(program: Path, argv: list[str], environment: dict[str, str]) -> None:
        raise Executed(program, argv, environment)

    monkeypatch.setattr(os, "execve", execve)


def write_order(tmp_path: Path, config: bytes, **changes: object) -> list[str]:
    """A stored model and its order; returns the server's arguments."""
    (tmp_path / "store").mkdir(exist_ok=True)
    for name, data in {**least_model(), "config.json": config}.items():
        (tmp_path / "store" / name).write_bytes(data)
    order = Serve(
        name="ep-1",
        model_id="ft:m",
        weights_uri=str(changes.get("uri", (tmp_path / "store").as_uri())),
        files=tuple(
            StoredFile(
                name=name,
                size_bytes=len(data),
                sha256=str(changes.get("sha256", sha256_hex(data)))
                if name == "config.json"
                else sha256_hex(data),
            )
            for name, data in {**least_model(), "config.json": config}.items()
        ),
        max_model_len=512,
    )
    (tmp_path / "order.json").write_bytes(ServeOrder.of(order).to_bytes())
    return ["--order", str(tmp_path / "order.json"), "--weights", str(tmp_path / "weights")]


def test_becomes_vllm_on_verified_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "vllm").touch()
    monkeypatch.setattr(server.sys, "executable", str(tmp_path / "python"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(Executed) as executed:
        server.main([*write_order(tmp_path, DECODER), "--port", str(port)])
    program, argv, environment = executed.value.args
    assert program == tmp_path / "vllm"
    assert argv[1:3] == ["serve", str(tmp_path / "weights")]
    assert str(port) in argv
    assert environment["HF_HUB_OFFLINE"] == "1"
    assert (tmp_path / "weights/config.json").exists()


def test_tampered_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert server.main(write_order(tmp_path, b"{}", sha256="0" * 64)) == ExitCode.INPUT_CHANGED
    assert "refused: config.json: recorded 2 bytes" in capsys.readouterr().err


def test_encoder_decoder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = json.dumps({"model_type": "t5", "is_encoder_decoder": True}).encode()
    assert server.main(write_order(tmp_path, config)) == ExitCode.UNSUPPORTED
    assert "vLLM does not serve" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "changes", "code"),
    [
        (b"{", {}, ExitCode.INVALID_MODEL),
        (b"{}", {"uri": "ftp://host/x"}, ExitCode.INVALID_SPEC),
        (b"{}", {"uri": "file:///nonexistent/store"}, ExitCode.INPUT_CHANGED),
    ],
)
def test_refusals(tmp_path: Path, content: bytes, changes: dict[str, str], code: ExitCode) -> None:
    assert server.main(write_order(tmp_path, content, **changes)) == code


def test_an_order_that_is_none(tmp_path: Path) -> None:
    arguments = write_order(tmp_path, b"{}")
    (tmp_path / "order.json").write_text('{"version": 1, "surprise": true}')
    assert server.main(arguments) == ExitCode.INVALID_SPEC


def test_no_order(tmp_path: Path) -> None:
    assert server.main(["--order", str(tmp_path / "no"), "--weights", str(tmp_path)]) == ExitCode.PLATFORM


def test_a_taken_port_is_said_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        arguments = [*write_order(tmp_path, DECODER), "--port", port]
        assert server.main(arguments) == server.PORT_TAKEN
    assert port in capsys.readouterr().err


def test_no_vllm_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(server.sys, "executable", str(tmp_path / "python"))
    arguments = [*write_order(tmp_path, DECODER), "--port", "0"]
    assert server.main(arguments) == ExitCode.PLATFORM
    assert "serve-cpu" in capsys.readouterr().err

"""The init container's work as a process of its own, over a directory and over S3."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from s3_server import S3Server

from deploy.contract import layout
from deploy.contract.document import StoredFile
from deploy.contract.document import sha256_hex
from deploy.contract.exit_codes import ExitCode
from deploy.endpoint import probe
from deploy.endpoint.order import ServeOrder
from deploy.endpoint.protocol import Serve
from deploy.store.opening import object_uri
from deploy.store.opening import open_store
from deploy.store.protocol import ObjectStore

DECODER = json.dumps({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}).encode()
T5 = json.dumps({"model_type": "t5", "is_encoder_decoder": True}).encode()
WEIGHTS = b"w" * 100_000


@dataclass
class Bench:
    """A store with a model in it, and a place for a pod's volume."""

    store: ObjectStore
    volume: Path
    order: bytes = b""

    def put(self, config: bytes = DECODER) -> None:
        files = []
        for name, data in {"config.json": config, "model.safetensors": WEIGHTS}.items():
            self.store.put(f"models/m/{name}", data)
            files.append(StoredFile(name=name, size_bytes=len(data), sha256=sha256_hex(data)))
        order = Serve(
            name="ep-a1",
            model_id="ft:m",
            weights_uri=f"{self.store.uri}/models/m/",
            files=tuple(files),
        )
        self.order = ServeOrder.of(order).to_bytes()
        self.store.put(layout.endpoint_order_key("ep-a1"), self.order)

    def fetch(self) -> "subprocess.CompletedProcess[str]":
        uri = object_uri(self.store, layout.endpoint_order_key("ep-a1"))
        command = [sys.executable, "-m", "deploy.endpoint.fetch", "--order", uri]
        command += ["--sha256", sha256_hex(self.order), "--directory", str(self.volume)]
        return subprocess.run(command, capture_output=True, text=True, env=dict(os.environ), timeout=60)


@pytest.fixture(params=["directory", "s3"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    (tmp_path / "volume").mkdir()
    if request.param == "directory":
        return Bench(open_store((tmp_path / "store").as_uri()), tmp_path / "volume")
    server: S3Server = request.getfixturevalue("s3_server")
    return Bench(open_store(f"s3://{server.bucket}/temper"), tmp_path / "volume")


def last_line(done: "subprocess.CompletedProcess[Any]") -> str:
    return str(done.stderr).strip().splitlines()[-1]


def test_verified_weights_and_the_probe_beside_them(bench: Bench) -> None:
    bench.put()
    for _ in range(2):  # a pod's init container may run again
        done = bench.fetch()
        assert done.returncode == ExitCode.OK, done.stderr
    assert {path.name for path in (bench.volume / "weights").iterdir()} == {
        "config.json",
        "model.safetensors",
    }
    assert (bench.volume / "weights/model.safetensors").read_bytes() == WEIGHTS
    assert (bench.volume / "probe.py").read_bytes() == Path(probe.__file__).read_bytes()


def test_weights_that_were_swapped_are_refused_in_the_last_line(bench: Bench) -> None:
    bench.put()
    bench.store.put("models/m/model.safetensors", b"W" * 100_000)
    done = bench.fetch()
    assert done.returncode == ExitCode.INPUT_CHANGED
    assert last_line(done).startswith("refused: model.safetensors: recorded 100000 bytes")
    assert not (bench.volume / "weights/model.safetensors").exists()
    assert not (bench.volume / "probe.py").exists(), "without it no probe of the server ever succeeds"


def test_an_order_that_was_swapped_is_refused(bench: Bench) -> None:
    bench.put()
    bench.store.put(layout.endpoint_order_key("ep-a1"), bench.order.replace(b"ft:m", b"ft:n"))
    done = bench.fetch()
    assert done.returncode == ExitCode.INPUT_CHANGED
    assert "another SHA-256" in last_line(done)
    assert list(bench.volume.iterdir()) == []


def test_what_vllm_does_not_serve_is_refused(bench: Bench) -> None:
    bench.put(config=T5)
    done = bench.fetch()
    assert done.returncode == ExitCode.UNSUPPORTED
    assert "vLLM does not serve it" in last_line(done)


def test_missing_weights(bench: Bench) -> None:
    bench.put()
    bench.store.delete("models/m/model.safetensors")
    done = bench.fetch()
    assert done.returncode == ExitCode.INPUT_CHANGED
    assert last_line(done).startswith("refused: ")


def test_a_store_that_is_away_is_the_platforms_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from deploy.endpoint import fetch
    from deploy.store.protocol import StoreUnavailable

    def away(*_arguments: object) -> ServeOrder:
        raise StoreUnavailable("no answer\nin 5 s")

    monkeypatch.setattr(fetch, "read_order", away)
    arguments = ["--order", "s3://bucket/endpoints/ep-a1/order.json", "--sha256", "0" * 64]
    assert fetch.main([*arguments, "--directory", str(tmp_path)]) == ExitCode.STORE_UNAVAILABLE


@pytest.mark.parametrize("uri", ["ftp://host/x", "s3://", "file:///x/"])
def test_an_uri_that_is_none(tmp_path: Path, uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    from deploy.endpoint import fetch

    code = fetch.main(["--order", uri, "--sha256", "0" * 64, "--directory", str(tmp_path)])
    assert code == ExitCode.INVALID_SPEC
    assert capsys.readouterr().err.startswith("refused: ")

"""The init container's work as a process of its own, over a directory and over S3."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from evidence_models import KEY
from evidence_models import evident
from least_model import least_model
from s3_server import S3Server

from deploy.contract import layout
from deploy.contract.document import StoredFile
from deploy.contract.document import sha256_hex
from deploy.contract.exit_codes import ExitCode
from deploy.endpoint import probe
from deploy.endpoint.fetch import exit_code
from deploy.endpoint.fetch import prepare
from deploy.endpoint.order import ServeOrder
from deploy.endpoint.protocol import Serve
from deploy.evidence.error import NotVerified
from deploy.evidence.keys import SigningKey
from deploy.evidence.policy import Trust
from deploy.store.opening import object_uri
from deploy.store.opening import open_store
from deploy.store.protocol import ObjectCorrupt
from deploy.store.protocol import ObjectStore

DECODER = least_model()["config.json"]
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
        for name, data in {**least_model(), "config.json": config, "model.safetensors": WEIGHTS}.items():
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
        "README.md",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
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


def test_j9_a_hardened_model_is_served_only_with_evidence_that_holds(tmp_path: Path) -> None:
    least = {name: data for name, data in least_model().items() if name != "README.md"}
    model = evident(files={**least, "model.safetensors": WEIGHTS})
    directory = model.write(tmp_path / "model")
    files = tuple(
        StoredFile(name=name, size_bytes=len(data), sha256=sha256_hex(data))
        for name, data in model.files.items()
    )
    trust = Trust(verdicts=("pass",), keys=(KEY.public.pem,))
    order = ServeOrder(name="ep-a1", model_id="m", weights_uri=directory.as_uri(), files=files, trust=trust)
    prepare(order, tmp_path / "weights")
    served = {path.name for path in (tmp_path / "weights").iterdir()}
    assert served == {*model.files, "tokenizer_config.json"}
    foreign = Trust(verdicts=("pass",), keys=(SigningKey.generate().public.pem,))
    for changes, said in (
        ({"trust": foreign}, "not signed by the key"),
        ({"trust": Trust(verdicts=("fail",), keys=trust.keys)}, "the verdict is pass; accepted: fail"),
        ({"files": files[:1]}, "is missing"),
    ):
        with pytest.raises(NotVerified, match=said) as refused:
            prepare(order.model_copy(update=changes), tmp_path / "weights")
        assert exit_code(refused.value) == ExitCode.NOT_VERIFIED
    (directory / "model.sig").unlink()
    with pytest.raises(NotVerified, match=r"model\.sig missing"):
        prepare(order, tmp_path / "weights")


def test_j9_weights_swapped_in_the_store_are_refused_whatever_evidence_lies_there(tmp_path: Path) -> None:
    """The swapped weights bring evidence that fits them, even signed by us, of another model: the order does not."""
    model = evident()
    directory = model.write(tmp_path / "model")
    files = tuple(
        StoredFile(name=name, size_bytes=len(data), sha256=sha256_hex(data))
        for name, data in model.files.items()
    )
    trust = Trust(verdicts=("pass",), keys=(KEY.public.pem,))
    order = ServeOrder(name="ep-a1", model_id="m", weights_uri=directory.as_uri(), files=files, trust=trust)
    (directory / "model.safetensors").write_bytes(bytes(200))
    with pytest.raises(ObjectCorrupt):
        prepare(order, tmp_path / "weights")
    assert not (tmp_path / "weights" / "model.safetensors").exists()

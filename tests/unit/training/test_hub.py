"""Models of the hub, fetched from a stand-in of its HTTP API on this machine."""

import hashlib
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from served import served

from deploy.contract.spec import HubBaseModel
from training.errors import InvalidInput
from training.errors import JobError
from training.errors import PlatformFault
from training.hub import MAX_REDIRECTS
from training.hub import fetch_hub_model

REVISION = "0123456789abcdef0123456789abcdef01234567"
MODEL = HubBaseModel(repo="org/model", revision=REVISION)
CONFIG = b'{"model_type": "llama"}'
WEIGHTS = b"w" * 3_000_000
FILES = {
    "config.json": CONFIG,
    "model.safetensors": WEIGHTS,
    "pytorch_model.bin": b"\x80\x04 a pickle",
    "modeling.py": b"raise SystemExit",
    "README.md": b"# x",
    "onnx/model.safetensors": b"below a folder",
    "tokenizer_evil.py": b"raise SystemExit",
}


class Hub(ThreadingHTTPServer):
    """What it answers, and what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.sha = REVISION
        self.sent = dict(FILES)
        self.redirects: dict[str, str] = {}
        self.asked: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def environment(self, **more: str) -> dict[str, str]:
        return {
            "TEMPER_HUB_URL": self.url,
            "TEMPER_HUB_NETWORKS": "127.0.0.0/8",
            "TEMPER_HUB_HOSTS": "",
            **more,
        }


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        hub = self.server
        hub.asked.append((self.path, self.headers.get("Authorization")))
        name = self.path.partition(f"/resolve/{REVISION}/")[2] or self.path.removeprefix("/lfs/")
        if self.path == f"/api/models/org/model/revision/{REVISION}?blobs=true":
            return self._send(
                200,
                json.dumps(
                    {"sha": hub.sha, "siblings": [_sibling(*each) for each in FILES.items()]}
                ).encode(),
            )
        if name in hub.redirects:
            return self._send(302, b"", location=hub.redirects[name])
        return self._send(200, hub.sent[name]) if name in hub.sent else self._send(404, b"")

    def _send(self, status: int, body: bytes, *, location: str | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if location is not None:
            self.send_header("Location", location)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def _sibling(name: str, data: bytes) -> dict[str, Any]:
    described: dict[str, Any] = {"rfilename": name, "size": len(data)}
    if name.endswith(".safetensors"):
        return {**described, "lfs": {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}}
    blob = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False)
    return {**described, "blobId": blob.hexdigest()}


@pytest.fixture
def hub() -> Iterator[Hub]:
    with served(Hub()) as running:
        yield running


def refused(hub: Hub, directory: Path, **more: str) -> JobError:
    with pytest.raises(JobError) as caught:
        fetch_hub_model(MODEL, directory, environment=hub.environment(**more))
    return caught.value


def test_b14_a_pinned_commit_is_fetched_and_nothing_but_allowed_files(hub: Hub, tmp_path: Path) -> None:
    hub.redirects["model.safetensors"] = "/lfs/large"
    hub.sent["large"] = WEIGHTS
    fetch_hub_model(MODEL, tmp_path, environment=hub.environment())
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "config.json": CONFIG,
        "model.safetensors": WEIGHTS,
    }
    assert all(token is None for _, token in hub.asked)
    assert not any(".py" in path or ".bin" in path for path, _ in hub.asked)


@pytest.mark.parametrize(
    "location",
    [
        "http://localhost:1/x",
        "http://169.254.169.254/latest/meta-data",
        "https://127.0.0.1/x",
        "http://user@elsewhere.example/x",
        "file:///etc/passwd",
        "//elsewhere.example/x",
    ],
)
def test_b14_a_redirect_off_the_route_is_refused_unfollowed(hub: Hub, tmp_path: Path, location: str) -> None:
    hub.redirects["config.json"] = location
    error = refused(hub, tmp_path)
    assert (type(error), error.code) == (PlatformFault, "hub_refused")
    assert "which is not one of its hosts" in error.message


def test_b14_a_listed_host_is_followed_but_not_to_a_private_address(hub: Hub, tmp_path: Path) -> None:
    hub.redirects["config.json"] = f"http://localhost:{hub.server_address[1]}/lfs/config"
    hub.sent["config"] = CONFIG
    fetch_hub_model(
        MODEL,
        tmp_path,
        environment=hub.environment(TEMPER_HUB_HOSTS="localhost", TEMPER_HUB_NETWORKS="127.0.0.0/8,::1/128"),
    )
    assert (tmp_path / "config.json").read_bytes() == CONFIG
    error = refused(hub, tmp_path, TEMPER_HUB_NETWORKS="")
    assert "leads to 127.0.0.1, which is not public" in error.message


def test_b14_a_token_is_shown_to_the_hub_alone(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")
    out = tmp_path / "out"
    out.mkdir()
    hub.redirects["config.json"] = f"http://localhost:{hub.server_address[1]}/lfs/config"
    hub.sent["config"] = CONFIG
    more = {"TEMPER_HUB_TOKEN_FILE": str(tmp_path / "token"), "TEMPER_HUB_HOSTS": "localhost"}
    more["TEMPER_HUB_NETWORKS"] = "127.0.0.0/8,::1/128"
    fetch_hub_model(MODEL, out, environment=hub.environment(**more))
    assert {token for path, token in hub.asked if path != "/lfs/config"} == {"Bearer secret"}
    assert {token for path, token in hub.asked if path == "/lfs/config"} == {None}


def test_b14_redirects_end(hub: Hub, tmp_path: Path) -> None:
    hub.redirects |= {"config.json": "/lfs/around", "around": "/lfs/around"}
    assert f"more than {MAX_REDIRECTS} times" in refused(hub, tmp_path).message


@pytest.mark.parametrize("sent", [CONFIG + b" ", CONFIG[:-1], CONFIG.replace(b"llama", b"lLama")])
def test_b14_other_bytes_than_listed_are_refused(hub: Hub, tmp_path: Path, sent: bytes) -> None:
    hub.sent["config.json"] = sent
    error = refused(hub, tmp_path)
    assert (error.code, "config.json" in error.message) == ("hub_refused", True)


def test_b14_a_listing_of_another_commit_is_refused(hub: Hub, tmp_path: Path) -> None:
    hub.sha = "f" * 40
    assert "the listing is not of" in refused(hub, tmp_path).message


def test_b14_what_the_hub_does_not_have_is_the_users_to_mend(hub: Hub, tmp_path: Path) -> None:
    del hub.sent["config.json"]
    error = refused(hub, tmp_path)
    assert (type(error), error.code) == (InvalidInput, "model_not_found")


def test_b14_a_hub_that_is_away_is_the_platforms_fault(hub: Hub, tmp_path: Path) -> None:
    away = {"TEMPER_HUB_URL": "http://127.0.0.1:1"}
    error = refused(hub, tmp_path, **away)
    assert (type(error), error.code) == (PlatformFault, "hub_unavailable")

"""S3 behind a certificate that nobody trusts by default."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from certificates import write_certificate

from deploy.store.protocol import StoreRefused
from deploy.store.protocol import StoreUnavailable
from deploy.store.s3 import S3Store
from deploy.store.s3_client import s3_client


class TlsFront:
    """Takes TLS connections and hands on what they carry, both ways, to a plain server."""

    def __init__(self, upstream_url: str, certificate: Path, key: Path) -> None:
        host, port = upstream_url.removeprefix("http://").split(":")
        self._upstream = (host, int(port))
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate, key)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(30)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._threads.append(threading.Thread(target=self._serve, args=(client,)))
                self._threads[-1].start()

    def _serve(self, plain: socket.socket) -> None:
        plain.settimeout(20)
        with (
            suppress(OSError),
            self._context.wrap_socket(plain, server_side=True) as client,
            socket.create_connection(self._upstream, timeout=20) as server,
        ):
            back = threading.Thread(target=_copy, args=(server, client))
            back.start()
            _copy(client, server)
            back.join(20)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while got := source.recv(65536):
            target.sendall(got)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    write_certificate(tmp_path / "ca.crt", tmp_path / "tls.key")
    return tmp_path / "ca.crt"


@pytest.fixture
def tls_url(s3_server: Any, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    front = TlsFront(s3_server.endpoint_url, certificate, certificate.with_name("tls.key"))
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"https://127.0.0.1:{front.port}")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    yield f"https://127.0.0.1:{front.port}"
    s3_client.cache_clear()  # ends the connections, for which the front waits
    front.close()


def _refused(store: S3Store) -> StoreRefused:
    with pytest.raises(StoreRefused) as caught:
        store.put("k", b"data")
    return caught.value


def test_a_certificate_that_is_not_trusted_is_refused(s3_server: Any, tls_url: str) -> None:
    error = _refused(S3Store(s3_server.bucket))
    assert error.code == "certificate"
    assert "AWS_CA_BUNDLE" in str(error)


def test_a_bundle_of_ones_own_makes_it_trusted(
    s3_server: Any, tls_url: str, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    store = S3Store(s3_server.bucket)
    store.check()
    store.put("k", bytes(9 << 20))
    assert sum(map(len, store.read("k"))) == 9 << 20


def test_a_certificate_for_another_name_is_refused(
    s3_server: Any, tls_url: str, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", tls_url.replace("127.0.0.1", "localhost"))
    assert _refused(S3Store(s3_server.bucket)).code == "certificate"


def test_a_bundle_of_others_does_not_help(
    s3_server: Any, tls_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_certificate(tmp_path / "other.crt", tmp_path / "other.key")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "other.crt"))
    assert _refused(S3Store(s3_server.bucket)).code == "certificate"


def test_a_server_that_speaks_no_tls_is_unavailable(s3_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_server.endpoint_url.replace("http:", "https:"))
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(StoreUnavailable, match="SSL"):
        S3Store(s3_server.bucket).put("k", b"data")

"""Fixtures of the fault tests: a network that breaks on demand, a scan in a process of its own."""

import re
import socket
import threading
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
from scan_process import scan_bench

__all__ = ["scan_bench"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request as the proxy sees it; ``number`` counts from 1."""

    method: str
    target: str
    headers: str
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What befalls a request: cut after so many body bytes, its answer likewise, or a made-up answer."""

    cut_request_after: int | None = None
    cut_answer_after: int | None = None
    answer: bytes | None = None
    flip_answer: bool = False


class CuttingProxy:
    """Forwards one request per connection to ``upstream`` and breaks what ``rule`` tells it to."""

    def __init__(self, upstream_url: str) -> None:
        host, port = upstream_url.removeprefix("http://").split(":")
        self._upstream = (host, int(port))
        self.rule: Callable[[Request], Fault | None] = lambda request: None
        self.requests: list[Request] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint_url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(30)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(client,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            client.settimeout(30)
            received = b""
            while b"\r\n\r\n" not in received:
                got = client.recv(65536)
                if not got:
                    return
                received += got
            head, _, body = received.partition(b"\r\n\r\n")
            self._forward(client, head.decode("latin-1"), body)

    def _forward(self, client: socket.socket, head: str, body: bytes) -> None:
        method, target, _ = head.partition("\r\n")[0].split(" ")
        request = Request(method=method, target=target, headers=head, number=len(self.requests) + 1)
        self.requests.append(request)
        fault = self.rule(request) or Fault()
        if "\r\nexpect: 100-continue" in head.lower():
            client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            head = re.sub(r"(?i)\r\nexpect: 100-continue", "", head)
        length = int((re.search(r"(?i)\r\ncontent-length: *(\d+)", head) or [0, "0"])[1])
        if fault.answer is not None:
            _drain(client, length - len(body), None)
            client.sendall(fault.answer)
            return
        with socket.create_connection(self._upstream, timeout=30) as server:
            sent = length if fault.cut_request_after is None else min(length, fault.cut_request_after)
            # Otherwise a server that keeps connections would never end its answer.
            server.sendall(head.encode("latin-1") + b"\r\nConnection: close\r\n\r\n" + body[:sent])
            _drain(client, sent - len(body), server)
            if fault.cut_request_after is None:
                _relay_answer(server, client, fault)


def _drain(source: socket.socket, size_bytes: int, target: socket.socket | None) -> None:
    while size_bytes > 0:
        got = source.recv(min(65536, size_bytes))
        if not got:
            return
        size_bytes -= len(got)
        if target is not None:
            target.sendall(got)


def _relay_answer(server: socket.socket, client: socket.socket, fault: Fault) -> None:
    answer = bytearray()
    while got := server.recv(65536):  # to its end: the server has then done what was asked
        answer += got
    if fault.flip_answer:
        answer[-1] ^= 1
    if fault.cut_answer_after is None:
        client.sendall(answer)
    elif fault.cut_answer_after:
        client.sendall(answer[: answer.index(b"\r\n\r\n") + 4 + fault.cut_answer_after])


@pytest.fixture
def fault() -> type[Fault]:
    """The class, which tests cannot import from here."""
    return Fault


@pytest.fixture
def make_proxy() -> Iterator[Callable[[str], CuttingProxy]]:
    """Puts proxies in front of servers."""
    made: list[CuttingProxy] = []

    def make(upstream_url: str) -> CuttingProxy:
        made.append(CuttingProxy(upstream_url))
        return made[-1]

    yield make
    for proxy in made:
        proxy.close()


@pytest.fixture
def s3_proxy(s3_server: Any) -> Iterator[CuttingProxy]:
    """A proxy in front of the S3 server of the tests."""
    proxy = CuttingProxy(s3_server.endpoint_url)
    yield proxy
    proxy.close()

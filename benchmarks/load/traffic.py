"""Requests by several clients at once, each of which asks again as soon as it was answered, and how long each took."""

import http.client
import threading
import time
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.load.place import KEY
from benchmarks.load.place import Place

HEADERS: Final = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
TIMEOUT_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request."""

    method: str
    path: str
    body: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What all clients together were answered, in seconds."""

    latencies_s: Sequence[float]
    elapsed_s: float
    refused: int
    """Answers of 400 and more."""

    @property
    def per_second(self) -> float:
        """Requests answered."""
        return len(self.latencies_s) / self.elapsed_s

    def percentile_ms(self, share: float) -> float:
        """So many of the requests took no longer."""
        ordered = sorted(self.latencies_s)
        return 1e3 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def connect(place: Place) -> http.client.HTTPConnection:
    """A connection that is kept between requests."""
    return http.client.HTTPConnection("127.0.0.1", place.port, timeout=TIMEOUT_S)


def ask(connection: http.client.HTTPConnection, asked: Asked) -> tuple[int, bytes]:
    """One request, read to its end."""
    connection.request(asked.method, asked.path, body=asked.body, headers=HEADERS)
    response = connection.getresponse()
    return response.status, response.read()


def measure(place: Place, make: Callable[[int], Asked], *, clients: int, seconds: float) -> Answered:
    """``make(n)`` is the n-th request of a client."""
    latencies: list[float] = []
    refused: list[int] = []
    until = time.monotonic() + seconds

    def client() -> None:
        connection, number = connect(place), 0
        while time.monotonic() < until:
            began = time.perf_counter()
            status, _ = ask(connection, make(number))
            latencies.append(time.perf_counter() - began)
            if status >= 400:
                refused.append(status)
            number += 1
        connection.close()

    began = time.perf_counter()
    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Answered(latencies_s=latencies, elapsed_s=time.perf_counter() - began, refused=len(refused))


def upload(place: Place, chunks: Iterable[bytes], size_bytes: int) -> float:
    """Seconds that a file of so many bytes takes by POST /v1/files. Raises RuntimeError when it is refused."""
    head = (
        b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n--b\r\n'
        b'Content-Disposition: form-data; name="file"; filename="load.jsonl"\r\n\r\n'
    )
    tail = b"\r\n--b--\r\n"
    headers = {
        "authorization": HEADERS["authorization"],
        "content-type": "multipart/form-data; boundary=b",
        "content-length": str(len(head) + size_bytes + len(tail)),
    }
    connection = connect(place)
    began = time.perf_counter()
    connection.putrequest("POST", "/v1/files")
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders(head)
    for chunk in chunks:
        connection.send(chunk)
    connection.send(tail)
    response = connection.getresponse()
    said = response.read()
    connection.close()
    if response.status >= 300:
        raise RuntimeError(f"the upload was answered {response.status}: {said[:200]!r}")
    return time.perf_counter() - began

"""The events of one watch, line by line."""

import json
import threading
from collections.abc import Iterator
from typing import Any
from typing import Final

import urllib3

from deploy.kubernetes.errors import HistoryGone
from deploy.kubernetes.errors import KubernetesUnavailable

LINE_BYTES: Final = 8 * 1024 * 1024
"""etcd keeps objects of 1.5 MiB; JSON may say the same in somewhat more."""


class EventStream:
    """One watch that is open. Iterated by one thread; :meth:`abort` may come from another."""

    def __init__(self, response: urllib3.HTTPResponse) -> None:
        self._response = response
        self._lock = threading.Lock()
        self._closed = False

    def __iter__(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Type and object of each event until the server ends the watch.

        Raises:
            HistoryGone: the resource version has become too old.
            KubernetesUnavailable: the connection broke, fell silent, or says what no API server says.
        """
        try:
            for line in self._lines():
                yield _event(line)
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise KubernetesUnavailable(f"the watch broke off: {error}") from error

    def close(self) -> None:
        """Give the connection up."""
        with self._lock:
            self._closed = True
            self._response.close()
            self._response.release_conn()

    def abort(self) -> None:
        """Wake the thread that waits for the next event: its iteration ends, one way or another."""
        with self._lock:
            if not self._closed:
                try:
                    self._response.shutdown()
                except (OSError, ValueError, RuntimeError):
                    return  # it has ended by itself

    def _lines(self) -> Iterator[bytes]:
        rest = b""
        # read1 hands on what has come; read and stream(n) would wait until n bytes are together.
        while chunk := self._response.read1(64 * 1024):
            rest += chunk
            *lines, rest = rest.split(b"\n")
            if len(rest) > LINE_BYTES:
                raise ValueError(f"an event of more than {LINE_BYTES} bytes")
            yield from (line for line in lines if line)


def _event(line: bytes) -> tuple[str, dict[str, Any]]:
    event = json.loads(line)
    kind, changed = event.get("type"), event.get("object")
    if not isinstance(kind, str) or not isinstance(changed, dict):
        raise ValueError("an event without type or object")
    if kind == "ERROR":
        if changed.get("code") == 410:
            raise HistoryGone(str(changed.get("message")))
        raise KubernetesUnavailable(f"the watch ended: {changed.get('code')} {changed.get('message')}")
    return kind, changed

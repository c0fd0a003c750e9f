"""The server-sent events of a completion, read one by one. Pure: bytes in, bytes out.

Every event is parsed (some microseconds) before any of it goes on: a client never sees what is not a completion of
the model that it asked, nor what a server says of its own troubles.
"""

import json
from typing import Any
from typing import Final

MAX_EVENT_BYTES: Final = 1 << 20
"""Of one event; a completion's chunk has some hundred bytes."""


class BadUpstream(Exception):  # noqa: N818 - a fact about the server
    """The model server sent something that is not a completion."""


def sse(payload: bytes) -> bytes:
    """One server-sent event."""
    return b"data: " + payload + b"\n\n"


def check_model(document: Any, model: str) -> None:
    """Raises BadUpstream when it is another model that answers."""
    if not isinstance(document, dict) or document.get("model") != model:
        raise BadUpstream("an answer of another model")


class EventStream:
    """Passes the events of a completion on, but for that which counts tokens when nobody asked for it.

    Args:
        model: that has to answer.
        show_usage: the client asked for the last event, which counts tokens.
    """

    def __init__(self, *, model: str, show_usage: bool) -> None:
        self._model = model
        self._show_usage = show_usage
        self._pending = bytearray()
        self.done = False
        """The last event has been seen."""
        self.usage: Any = None
        """The server's count of tokens, once it has come."""

    def feed(self, data: bytes) -> bytes:
        """What the client gets for the events that ``data`` completes.

        Holds at most one event in memory. Raises BadUpstream.
        """
        self._pending += data
        lines: list[bytearray] = []
        if b"\n" in data:
            *lines, self._pending = self._pending.split(b"\n")
        if len(self._pending) > MAX_EVENT_BYTES:
            raise BadUpstream("an event without an end")
        return b"".join(map(self._event, lines))

    def _event(self, raw: bytearray) -> bytes:
        line = bytes(raw.strip())
        if not line or line.startswith(b":"):
            return b""
        if self.done or not line.startswith(b"data:") or len(line) > MAX_EVENT_BYTES:
            raise BadUpstream("not a server-sent event of a completion")
        payload = line[5:].strip()
        if payload == b"[DONE]":
            self.done = True
            return sse(payload)
        try:
            return self._chunk(payload, json.loads(payload))
        except (ValueError, AttributeError, KeyError, TypeError, IndexError, RecursionError) as error:
            raise BadUpstream("not a completion's chunk") from error

    def _chunk(self, payload: bytes, chunk: Any) -> bytes:
        if "error" in chunk:
            raise BadUpstream("an error inside of the stream")
        check_model(chunk, self._model)
        if chunk.get("usage"):
            self.usage = chunk["usage"]
        if not chunk["choices"] and not self._show_usage:
            return b""
        return sse(self._shown(payload, chunk))

    def _shown(self, payload: bytes, chunk: Any) -> bytes:
        """The event as the client gets it."""
        if not all(isinstance(choice["text"], str) for choice in chunk["choices"]):
            raise BadUpstream("not a completion's chunk")
        return payload

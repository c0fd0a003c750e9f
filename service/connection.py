"""Connections of clients: uvicorn's own, but that nobody can hold one open with half a request.

Covers: connections on which no request comes, headers that drip, headers without end, bodies that go on although
their request has been answered. Bodies before that, and answers, have their own limits (:mod:`service.try_again`,
:mod:`service.streaming`; of the broker :mod:`service.broker.bodies`, :mod:`service.broker.patience`).
"""

import asyncio
from collections.abc import Mapping
from typing import Any
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_S: Final = 15.0
"""From the connection, or from a later request's first byte, until all headers of a request are there."""
MOST_HEAD_BYTES: Final = 64 << 10
"""Of the request line and all headers; ours have some 3 kB, most of them the token."""
LINGER_S: Final = 5.0
"""For reading the rest of a body that is refused: closed at once, its sender might never see why."""


class BoundedProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._head_timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._linger_timer: asyncio.TimerHandle | None = None
        self._message_came = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Somebody has connected."""
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """They are gone."""
        self._head_came()
        self._body_ended()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes of a request, or of several."""
        answered = self.cycle is None or self.cycle.response_complete
        if self._head_timer is None and answered:  # uvicorn's own timer ends with the first byte
            self._expect_head()
        super().data_received(data)
        # The parser tells of a header when it has all of it, and keeps as much of it as comes.
        if self._head_timer is not None and not self._fits(data):
            self._head_came()

    def on_message_begin(self) -> None:
        """A request begins."""
        self._head_bytes = 0
        self._message_came = False
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A piece of its line."""
        if self._fits(url):
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One of its headers."""
        if self._fits(name, value):
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """All headers are there."""
        self._head_came()
        if not self.transport.is_closing():
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        if self.cycle is not None:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is there."""
        self._message_came = True
        self._body_ended()
        if self.cycle is not None:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """It is answered, perhaps before all of it has come."""
        super().on_response_complete()
        if not self._message_came and self.cycle.response_complete and self._linger_timer is None:
            self._linger_timer = self.loop.call_later(LINGER_S, self.transport.close)

    def _body_ended(self) -> None:
        if self._linger_timer is not None:
            self._linger_timer.cancel()
            self._linger_timer = None

    def _expect_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_S, self.transport.close)

    def _head_came(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _fits(self, *pieces: bytes) -> bool:
        self._head_bytes += sum(map(len, pieces))
        if self._head_bytes > MOST_HEAD_BYTES:
            self.transport.close()
            return False
        return True


CONNECTION_OPTIONS: Final[Mapping[str, Any]] = {"http": BoundedProtocol, "ws": "none"}
"""Of ``uvicorn.Config``, for every server."""

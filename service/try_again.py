"""A request whose transaction lost against another one (deadlock, serialization) is served again, a few times.

The database has undone all of it, and has chosen the loser at random; nobody else needs to know. Only of
requests that are small enough to be kept: those with a JSON body, or none. Such a body has to come in time, too.
"""

import asyncio
import random
from collections.abc import Mapping
from typing import Final

import anyio
from sqlalchemy.exc import DBAPIError
from starlette.types import ASGIApp
from starlette.types import Message
from starlette.types import Receive
from starlette.types import Scope
from starlette.types import Send

from service.errors import RequestTimeout
from service.errors import problem_response

TRIES: Final = 4
BODY_S: Final = 30.0
"""For a body of a mebibyte at most, on a slow line."""
PAUSE_S: Final = 0.02
"""Before the second try, at most; twice as long before each one after it."""
LOST: Final = frozenset({"40001", "40P01"})
"""PostgreSQL's serialization_failure and deadlock_detected."""
_MARK: Final = "temper_lost"


def lost(error: Exception) -> bool:
    """Whether a transaction failed only because another one came between."""
    return isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", None) in LOST


def mark_lost(scope: Scope) -> None:
    """Say that a request may be served again; the answer that follows is not sent, unless it is the last try."""
    scope["state"][_MARK] = True


class TryAgain:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, *, limit_bytes: int) -> None:
        self._app = app
        self._limit = limit_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or not _may_be_kept(scope):
            await self._app(scope, receive, send)
            return
        try:
            with anyio.fail_after(BODY_S):
                kept, whole = await self._read(receive)
        except TimeoutError:
            error = RequestTimeout(f"The body was not there after {BODY_S:g} s.")
            await problem_response(error)(scope, receive, send)
            return
        for attempt in range(TRIES):
            scope.setdefault("state", {}).pop(_MARK, None)
            last = attempt == TRIES - 1 or not whole
            await self._app(scope, _Again(kept, receive), send if last else _Unless(scope, send))
            if last or not scope["state"].get(_MARK):
                return
            await asyncio.sleep(random.uniform(0, PAUSE_S) * 2**attempt)  # noqa: S311 - no secret

    async def _read(self, receive: Receive) -> tuple[list[Message], bool]:
        kept: list[Message] = []
        size_bytes = 0
        while True:
            message = await receive()
            kept.append(message)
            size_bytes += len(message.get("body", b""))
            if message["type"] != "http.request" or not message.get("more_body", False):
                return kept, True
            if size_bytes > self._limit:
                return kept, False


def _may_be_kept(scope: Scope) -> bool:
    if scope["method"] == "GET":
        return False
    headers: Mapping[bytes, bytes] = dict(scope["headers"])
    kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    return kind == b"application/json" or headers.get(b"content-length", b"0") == b"0"


class _Again:
    """Hands out what was received before, then whatever comes."""

    def __init__(self, kept: list[Message], receive: Receive) -> None:
        self._rest = list(kept)
        self._receive = receive

    async def __call__(self) -> Message:
        return self._rest.pop(0) if self._rest else await self._receive()


class _Unless:
    """Sends an answer, unless it is of a request that will be served again."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope = scope
        self._send = send

    async def __call__(self, message: Message) -> None:
        if not self._scope["state"].get(_MARK):
            await self._send(message)

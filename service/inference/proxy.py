"""Carries a rebuilt request to a model's server and its answer back.

Covers: a client that goes away (the server's generation is cancelled at once), a server that does
not answer, answers late, wrongly, too much, or is cut. Nothing of the client's headers goes up, and
nothing of the server's comes down.
"""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator
from collections.abc import Awaitable
from collections.abc import Callable
from collections.abc import Coroutine
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from typing import Final
from typing import TypeVar

import aiohttp
from starlette.responses import Response
from starlette.types import Message
from starlette.types import Receive
from starlette.types import Scope
from starlette.types import Send

from service.errors import BadGateway
from service.errors import BadRequest
from service.errors import GatewayTimeout
from service.errors import ServiceError
from service.errors import problem
from service.inference.chat import BadUpstream
from service.inference.chat import sse
from service.inference.meter import Meter
from service.inference.meter import Outcome

logger = logging.getLogger(__name__)
CONNECT_S: Final = 5.0
SILENCE_S: Final = 300.0
"""Longest time without a byte: a whole answer that is not streamed, on a slow machine."""
RECONNECT_S: Final = (0.1, 0.4)
"""Pauses before a connection is tried again."""
MAX_ANSWER_BYTES: Final = 32 << 20
MAX_ERROR_BYTES: Final = 64 << 10
CLIENT_GONE: Final = 499
"""Nobody reads this status; it is only counted."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a server may take, in seconds."""

    connect_s: float = CONNECT_S
    silence_s: float = SILENCE_S


def open_session(patience: Patience) -> aiohttp.ClientSession:
    """The one session of a process; must be opened and closed in the event loop."""
    return aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=None, connect=patience.connect_s, sock_read=patience.silence_s),
        # A connection for each request: a cluster spreads connections over the replicas of a server, not requests,
        # and one that is kept may be closed by a replica that ends just when the next request is written to it.
        connector=aiohttp.TCPConnector(limit=0, force_close=True),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
    )


async def post(session: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> aiohttp.ClientResponse:
    """Send a request to a server and wait for the head of a good answer; the caller closes it.

    A connection that cannot be made is tried again: a cluster's network may still lead to a replica that has ended.

    Raises:
        BadRequest: the server refused the request, as when the prompt is too long for the model.
        BadGateway: the server cannot be reached or failed.
        GatewayTimeout: it did not answer in time.
    """
    try:
        answer = await _connect_and_send(session, url, body)
    except TimeoutError as error:
        raise _too_late() from error
    except aiohttp.ClientError as error:
        raise _broken(error) from error
    if answer.status == 200:
        return answer
    try:
        raise _refusal(answer.status, await _read(answer, MAX_ERROR_BYTES))
    finally:
        answer.close()


async def _connect_and_send(
    session: aiohttp.ClientSession, url: str, body: dict[str, Any]
) -> aiohttp.ClientResponse:
    for pause_s in RECONNECT_S:
        try:
            return await session.post(url, json=body, allow_redirects=False)
        except aiohttp.ClientConnectorError:  # nothing has been sent
            await asyncio.sleep(pause_s)
    return await session.post(url, json=body, allow_redirects=False)


def _too_late() -> ServiceError:
    return GatewayTimeout("The model's server did not answer in time.", code="upstream_timeout")


def _broken(error: Exception | None = None) -> ServiceError:
    logger.warning("a model server failed: %s", type(error).__name__ if error else "bad answer")
    return BadGateway("The model's server failed.", code="upstream_error")


def _refusal(status: int, body: bytes) -> ServiceError:
    if status not in {400, 413, 422}:
        return _broken()
    try:
        document = json.loads(body)
        said = document.get("error", document)
        message = str(said.get("message", ""))
    except (ValueError, AttributeError):
        return _broken()
    return BadRequest(f"The model's server refused the request: {message[:1000]}", code="upstream_refused")


async def _read(answer: aiohttp.ClientResponse, limit: int) -> bytes:
    data = bytearray()
    try:
        async for chunk in answer.content.iter_any():
            data += chunk
            if len(data) > limit:
                raise _broken()
    except TimeoutError as error:
        raise _too_late() from error
    except aiohttp.ClientError as error:
        raise _broken(error) from error
    return bytes(data)


async def read_document(answer: aiohttp.ClientResponse) -> Any:
    """A whole answer as JSON. Raises BadGateway, GatewayTimeout; closes the answer."""
    try:
        return json.loads(await _read(answer, MAX_ANSWER_BYTES))
    except ValueError as error:
        raise _broken(error) from error
    finally:
        answer.close()


async def while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T | None:
    """Do ``work``, but cancel it when the client goes away; None then."""
    doing = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait({doing, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return await doing if doing.done() else None
    finally:
        for task in (doing, leaving):
            await _cancelled(task)


async def _disconnected(receive: Callable[[], Awaitable[Message]]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _cancelled(task: "asyncio.Future[Any]") -> None:
    if not task.done():
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


class StreamedAnswer(Response):
    """Server-sent events, passed on as they come.

    Args:
        answer: of the server; closed in every case.
        meter: told of the first byte and of the end.
        translate: changes what comes; None passes it on unread.
        ended: called once, when nothing more is asked of the server.
        headers: of the answer, beside its own.
    """

    def __init__(
        self,
        answer: aiohttp.ClientResponse,
        *,
        meter: Meter,
        translate: Callable[[bytes], bytes] | None = None,
        ended: Callable[[], None] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(
            media_type="text/event-stream",
            headers={"cache-control": "no-store", "x-accel-buffering": "no", **(headers or {})},
        )
        del self.headers["content-length"]
        self._answer = answer
        self._meter = meter
        self._translate = translate
        self._ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the server ends or the client goes away."""
        del scope
        outcome: Outcome | None = None
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            outcome = await while_connected(receive, self._pump(send))
            if outcome is not None:
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._answer.close()
            if self._ended is not None:
                self._ended()
            self._meter.end(outcome or "client_gone")

    async def _pump(self, send: Send) -> Outcome:
        try:
            async for chunk in self._events():
                self._meter.first_byte()
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except ServiceError as error:
            await send({"type": "http.response.body", "body": _error_event(error), "more_body": True})
            return "failed"
        return "ok"

    async def _events(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._answer.content.iter_any():
                out = self._translate(chunk) if self._translate else chunk
                if out:
                    yield out
        except TimeoutError as error:
            raise _too_late() from error
        except (aiohttp.ClientError, BadUpstream) as error:
            raise _broken(error) from error


def _error_event(error: ServiceError) -> bytes:
    # The head has been sent; clients of this API look for an error inside of the stream.
    return sse(json.dumps({"error": problem(error)["error"]}).encode())

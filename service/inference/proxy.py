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
from typing import Any
from typing import Final
from typing import TypeVar

import aiohttp
import anyio
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
from service.inference.bill import Bill
from service.inference.events import BadUpstream
from service.inference.events import EventStream
from service.inference.events import sse
from service.inference.meter import Meter
from service.inference.meter import Outcome
from service.inference.patience import Patience

logger = logging.getLogger(__name__)
RECONNECT_S: Final = (0.1, 0.4)
"""Pauses before a connection is tried again."""
MAX_ANSWER_BYTES: Final = 32 << 20
MAX_ERROR_BYTES: Final = 64 << 10
LAST_WORDS_S: Final = 1.0
"""For telling a client why its stream ends; one that does not read would never take it."""
CLIENT_GONE: Final = 499
"""Nobody reads this status; it is only counted."""
T = TypeVar("T")


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
        raise broken(error) from error
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


def broken(error: Exception | None = None) -> ServiceError:
    """What a client is told of a server that failed; the log says a little more."""
    logger.warning("a model server failed: %s", type(error).__name__ if error else "bad answer")
    return BadGateway("The model's server failed.", code="upstream_error")


def _refusal(status: int, body: bytes) -> ServiceError:
    if status not in {400, 413, 422}:
        return broken()
    try:
        document = json.loads(body)
        said = document.get("error", document)
        message = str(said.get("message", ""))
    except (ValueError, RecursionError, AttributeError):
        return broken()
    return BadRequest(f"The model's server refused the request: {message[:1000]}", code="upstream_refused")


async def _read(answer: aiohttp.ClientResponse, limit: int) -> bytes:
    data = bytearray()
    try:
        async for chunk in answer.content.iter_any():
            data += chunk
            if len(data) > limit:
                raise broken()
    except TimeoutError as error:
        raise _too_late() from error
    except aiohttp.ClientError as error:
        raise broken(error) from error
    return bytes(data)


async def read_document(answer: aiohttp.ClientResponse) -> Any:
    """A whole answer as JSON. Raises BadGateway, GatewayTimeout; closes the answer."""
    try:
        return json.loads(await _read(answer, MAX_ANSWER_BYTES))
    except (ValueError, RecursionError) as error:
        raise broken(error) from error
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


@contextlib.asynccontextmanager
async def out_of_time(ends_at: float) -> AsyncIterator[None]:
    """Cut the block off at ``ends_at``, by the clock of the event loop. Raises GatewayTimeout."""
    limit = asyncio.timeout_at(ends_at)
    try:
        async with limit:
            yield
    except TimeoutError as error:
        if not limit.expired():
            raise
        said = "The answer took longer than this service allows; ask for fewer tokens."
        raise GatewayTimeout(said, code="inference_timeout") from error


class StreamedAnswer(Response):
    """Server-sent events, passed on as they come.

    Args:
        answer: of the server; closed in every case.
        events: reads them.
        bill: told how it ended.
        meter: told of the first byte and of the end.
        ends_at: when it is cut off, by the clock of the event loop.
        ended: called when nothing more is asked of the server; the second time it does nothing.
        headers: of the answer, beside its own.
    """

    def __init__(
        self,
        answer: aiohttp.ClientResponse,
        *,
        events: EventStream,
        bill: Bill,
        meter: Meter,
        ends_at: float,
        ended: Callable[[], None],
        headers: Mapping[str, str],
    ) -> None:
        super().__init__(
            media_type="text/event-stream",
            headers={"cache-control": "no-store", "x-accel-buffering": "no", **headers},
        )
        del self.headers["content-length"]
        self._answer = answer
        self._events = events
        self._bill = bill
        self._meter = meter
        self._ends_at = ends_at
        self._ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the server ends or the client goes away."""
        del scope
        outcome: Outcome | None = None
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            outcome = await while_connected(receive, self._pump(send))
        finally:
            self._end()
            self._meter.end(outcome or "client_gone")

    def _end(self) -> None:
        self._answer.close()
        self._ended()

    async def _pump(self, send: Send) -> Outcome:
        try:
            async with out_of_time(self._ends_at):
                await self._pass_on(send)
                self._end()  # before the client knows: its next request may need what this one holds
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except ServiceError as error:
            self._end()
            with anyio.move_on_after(LAST_WORDS_S):
                await send({"type": "http.response.body", "body": _error_event(error), "more_body": False})
            return "failed"
        return "ok"

    async def _pass_on(self, send: Send) -> None:
        try:
            async for chunk in self._answer.content.iter_any():
                if out := self._events.feed(chunk):
                    self._meter.first_byte()
                    await send({"type": "http.response.body", "body": out, "more_body": True})
            if not self._events.done:
                raise BadUpstream("no last event")
        except TimeoutError as error:
            self._bill.failed()
            raise _too_late() from error
        except (aiohttp.ClientError, BadUpstream) as error:
            self._bill.failed()
            raise broken(error) from error
        finally:
            self._bill.counted(self._events.usage)


def _error_event(error: ServiceError) -> bytes:
    # The head has been sent; clients of this API look for an error inside of the stream.
    return sse(json.dumps({"error": problem(error)["error"]}).encode())

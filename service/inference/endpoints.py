"""The routes of inference. A server sees bodies built here and nothing else of a request."""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator
from collections.abc import Callable
from collections.abc import Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated
from typing import Any
from typing import cast

import aiohttp
from fastapi import APIRouter
from fastapi import FastAPI
from fastapi import Header
from fastapi import Request
from starlette.responses import JSONResponse
from starlette.responses import Response

from service.auth import Caller
from service.auth import requires
from service.body import json_body
from service.context import Context
from service.context import ContextDep
from service.errors import ServiceError
from service.inference.bill import Allowance
from service.inference.bill import Bill
from service.inference.chat import ChatStream
from service.inference.chat import chat_of
from service.inference.chat import prompt_of
from service.inference.events import BadUpstream
from service.inference.events import EventStream
from service.inference.events import check_model
from service.inference.meter import Meter
from service.inference.prefer import wait_asked
from service.inference.proxy import CLIENT_GONE
from service.inference.proxy import StreamedAnswer
from service.inference.proxy import broken
from service.inference.proxy import open_session
from service.inference.proxy import out_of_time
from service.inference.proxy import post
from service.inference.proxy import read_document
from service.inference.proxy import while_connected
from service.inference.routing import Route
from service.inference.routing import find_server
from service.inference.schemas import ChatCompletion
from service.inference.schemas import Completion
from service.inference.usage import Usage
from service.middleware import route_of
from service.projects.principal import Principal


@asynccontextmanager
async def _sharing_a_session(app: FastAPI) -> AsyncIterator[None]:
    context: Context = app.state.context
    usage = Usage(context.database, at_once=context.settings.inference.at_once)
    async with open_session(context.settings.inference) as session:
        app.state.upstream, app.state.usage = session, usage
        app.state.allowance = app.state.limiter
        noting = asyncio.create_task(usage.keep_noting())
        try:
            yield
        finally:
            noting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await noting


router = APIRouter(tags=["inference"], dependencies=[requires("infer")], lifespan=_sharing_a_session)
PATH = "/v1/completions"
Prefer = Annotated[
    Sequence[str],
    Header(
        description="`wait=N` waits up to N seconds (600 at most) for a server that starts or was asleep."
    ),
]
ANSWERS: dict[str, Any] = {
    "response_class": Response,
    "responses": {
        200: {
            "description": "A completion; a stream of its chunks where that was asked for.",
            "content": {"application/json": {}, "text/event-stream": {}},
        }
    },
}


@router.post("/completions", **ANSWERS)
async def complete(
    body: Annotated[Completion, json_body(Completion)],
    request: Request,
    context: ContextDep,
    caller: Caller,
    prefer: Prefer = (),
) -> Response:
    """Complete a prompt."""
    asked = _Asked(
        request=request,
        context=context,
        caller=caller,
        model_id=body.model,
        tokens=body.tokens,
        wait_s=wait_asked(prefer),
    )
    if body.stream:
        events = EventStream(model=body.model, show_usage=body.show_usage)
        return await _stream(asked, body.upstream(), events=events)
    return await _whole(asked, body.upstream(), shape=_as_it_is)


@router.post("/chat/completions", **ANSWERS)
async def chat(
    body: Annotated[ChatCompletion, json_body(ChatCompletion)],
    request: Request,
    context: ContextDep,
    caller: Caller,
    prefer: Prefer = (),
) -> Response:
    """Answer a chat, in the form that the model was trained on."""
    prompt = prompt_of(body)
    asked = _Asked(
        request=request,
        context=context,
        caller=caller,
        model_id=body.model,
        tokens=body.most_tokens([prompt], body.limit),
        wait_s=wait_asked(prefer),
    )
    upstream = body.upstream(prompt)
    if body.stream:
        events = ChatStream(model=body.model, show_usage=body.show_usage)
        return await _stream(asked, upstream, events=events)
    return await _whole(asked, upstream, shape=chat_of)


def _as_it_is(document: Any) -> dict[str, Any]:
    if "choices" not in document:
        raise BadUpstream("not a completion")
    return dict(document)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """One request, before it has a server."""

    request: Request
    context: Context
    caller: Principal
    model_id: str
    tokens: int
    """The most that it can come to."""
    wait_s: int
    """How long it waits for a server that is not there yet."""

    @property
    def usage(self) -> Usage:
        return cast(Usage, self.request.app.state.usage)

    @property
    def allowance(self) -> Allowance | None:
        """What its project may spend; None where nothing limits that."""
        return cast("Allowance | None", self.request.app.state.allowance)

    @property
    def headers(self) -> dict[str, str]:
        return {"preference-applied": f"wait={self.wait_s}"} if self.wait_s else {}

    async def find(self) -> Route:
        database, project = self.context.database, self.caller.project
        return await find_server(database, self.usage, project, self.model_id, wait_s=self.wait_s)

    async def send(self, route: Route, body: dict[str, Any]) -> aiohttp.ClientResponse:
        session = cast(aiohttp.ClientSession, self.request.app.state.upstream)
        return await post(session, route.url + PATH, body)


class _Going:
    """What a request holds from when it has a server to its end: a place there, and tokens."""

    def __init__(self, asked: _Asked) -> None:
        self.bill = Bill(asked.tokens)
        self.ends_at = math.inf
        self._asked = asked
        self._held = contextlib.ExitStack()
        self.end = self._held.close
        """Gives everything back."""

    async def begin(self, body: dict[str, Any]) -> aiohttp.ClientResponse:
        """Find a server and send the request; returns the head of its answer."""
        asked = self._asked
        route = await asked.find()
        self._held.enter_context(asked.usage.going_on(route.endpoint_id))
        if (allowance := asked.allowance) is not None:
            reserved = await allowance.reserve(asked.caller.project, asked.tokens)
            self._held.enter_context(self.bill.settled(reserved))
        self.ends_at = asyncio.get_running_loop().time() + asked.context.settings.inference.whole_s
        async with out_of_time(self.ends_at):
            self.bill.sent()
            try:
                return await asked.send(route, body)
            except ServiceError:
                self.bill.failed()
                raise


async def _stream(asked: _Asked, body: dict[str, Any], *, events: EventStream) -> Response:
    going = _Going(asked)
    meter = _meter(asked, streamed=True)
    try:
        with meter.failing():
            answer = await while_connected(asked.request.receive, going.begin(body))
    except BaseException:
        going.end()
        raise
    if answer is None:
        going.end()
        meter.end("client_gone")
        return Response(status_code=CLIENT_GONE)
    return StreamedAnswer(
        answer,
        events=events,
        bill=going.bill,
        meter=meter,
        ends_at=going.ends_at,
        ended=going.end,
        headers=asked.headers,
    )


async def _whole(asked: _Asked, body: dict[str, Any], *, shape: Callable[[Any], dict[str, Any]]) -> Response:
    going = _Going(asked)

    async def ask() -> dict[str, Any]:
        answer = await going.begin(body)
        async with out_of_time(going.ends_at):
            try:
                document = await read_document(answer)
                check_model(document, asked.model_id)
                shaped = shape(document)
            except BadUpstream as error:
                going.bill.failed()
                raise broken(error) from error
            except ServiceError:
                going.bill.failed()
                raise
        going.bill.counted(document.get("usage"))
        return shaped

    meter = _meter(asked, streamed=False)
    try:
        with meter.failing():
            answer = await while_connected(asked.request.receive, ask())
    finally:
        going.end()
    if answer is None:
        meter.end("client_gone")
        return Response(status_code=CLIENT_GONE)
    meter.first_byte()
    meter.end("ok")
    return JSONResponse(answer, headers=asked.headers)


def _meter(asked: _Asked, *, streamed: bool) -> Meter:
    return Meter(asked.context.metrics, route=route_of(asked.request.scope), streamed=streamed)

"""The routes of inference. A server sees bodies built here and nothing else of a request."""

import asyncio
import contextlib
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

from service.body import json_body
from service.context import Context
from service.context import ContextDep
from service.errors import BadGateway
from service.inference.chat import BadUpstream
from service.inference.chat import ChatStream
from service.inference.chat import chat_of
from service.inference.chat import prompt_of
from service.inference.meter import Meter
from service.inference.prefer import wait_asked
from service.inference.proxy import CLIENT_GONE
from service.inference.proxy import Patience
from service.inference.proxy import StreamedAnswer
from service.inference.proxy import open_session
from service.inference.proxy import post
from service.inference.proxy import read_document
from service.inference.proxy import while_connected
from service.inference.routing import Route
from service.inference.routing import find_server
from service.inference.schemas import ChatCompletion
from service.inference.schemas import Completion
from service.inference.usage import Usage
from service.middleware import route_of


@asynccontextmanager
async def _sharing_a_session(app: FastAPI) -> AsyncIterator[None]:
    patience = getattr(app.state, "patience", Patience())
    usage = Usage(app.state.context.database)
    async with open_session(patience) as session:
        app.state.upstream, app.state.usage = session, usage
        noting = asyncio.create_task(usage.keep_noting())
        try:
            yield
        finally:
            noting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await noting


router = APIRouter(tags=["inference"], lifespan=_sharing_a_session)
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
    prefer: Prefer = (),
) -> Response:
    """Complete a prompt."""
    asked = _Asked(request=request, context=context, model_id=body.model, wait_s=wait_asked(prefer))
    if body.stream:
        return await _stream(asked, body.upstream(), translate=None)
    return await _whole(asked, body.upstream(), shape=_as_it_is)


@router.post("/chat/completions", **ANSWERS)
async def chat(
    body: Annotated[ChatCompletion, json_body(ChatCompletion)],
    request: Request,
    context: ContextDep,
    prefer: Prefer = (),
) -> Response:
    """Answer a chat, in the form that the model was trained on."""
    asked = _Asked(request=request, context=context, model_id=body.model, wait_s=wait_asked(prefer))
    upstream = body.upstream(prompt_of(body))
    if body.stream:
        return await _stream(asked, upstream, translate=ChatStream().feed)
    return await _whole(asked, upstream, shape=chat_of)


def _as_it_is(document: Any) -> dict[str, Any]:
    if not isinstance(document, dict) or "choices" not in document:
        raise BadUpstream("not a completion")
    return document


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """One request, before it has a server."""

    request: Request
    context: Context
    model_id: str
    wait_s: int
    """How long it waits for a server that is not there yet."""

    @property
    def usage(self) -> Usage:
        return cast(Usage, self.request.app.state.usage)

    @property
    def headers(self) -> dict[str, str]:
        return {"preference-applied": f"wait={self.wait_s}"} if self.wait_s else {}

    async def find(self) -> Route:
        database = self.context.database
        return await find_server(database, self.usage, self.model_id, wait_s=self.wait_s)

    async def send(self, route: Route, body: dict[str, Any]) -> aiohttp.ClientResponse:
        session = cast(aiohttp.ClientSession, self.request.app.state.upstream)
        return await post(session, route.url + PATH, body)


async def _stream(
    asked: _Asked, body: dict[str, Any], *, translate: Callable[[bytes], bytes] | None
) -> Response:
    using = contextlib.ExitStack()

    async def begin() -> aiohttp.ClientResponse:
        route = await asked.find()
        using.enter_context(asked.usage.going_on(route.endpoint_id))
        return await asked.send(route, body)

    meter = _meter(asked, streamed=True)
    try:
        with meter.failing():
            answer = await while_connected(asked.request.receive, begin())
    except BaseException:
        using.close()
        raise
    if answer is None:
        using.close()
        meter.end("client_gone")
        return Response(status_code=CLIENT_GONE)
    return StreamedAnswer(answer, meter=meter, translate=translate, ended=using.close, headers=asked.headers)


async def _whole(asked: _Asked, body: dict[str, Any], *, shape: Callable[[Any], dict[str, Any]]) -> Response:
    async def ask() -> dict[str, Any]:
        route = await asked.find()
        with asked.usage.going_on(route.endpoint_id):
            document = await read_document(await asked.send(route, body))
        try:
            return shape(document)
        except BadUpstream as error:
            raise BadGateway("The model's server answered something else.", code="upstream_error") from error

    meter = _meter(asked, streamed=False)
    with meter.failing():
        answer = await while_connected(asked.request.receive, ask())
    if answer is None:
        meter.end("client_gone")
        return Response(status_code=CLIENT_GONE)
    meter.first_byte()
    meter.end("ok")
    return JSONResponse(answer, headers=asked.headers)


def _meter(asked: _Asked, *, streamed: bool) -> Meter:
    return Meter(asked.context.metrics, route=route_of(asked.request.scope), streamed=streamed)

"""The routes of inference. A server sees bodies built here and nothing else of a request."""

from collections.abc import AsyncIterator
from collections.abc import Callable
from contextlib import asynccontextmanager
from typing import Annotated
from typing import Any
from typing import cast

import aiohttp
from anyio.to_thread import run_sync
from fastapi import APIRouter
from fastapi import FastAPI
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
from service.inference.proxy import CLIENT_GONE
from service.inference.proxy import Patience
from service.inference.proxy import StreamedAnswer
from service.inference.proxy import open_session
from service.inference.proxy import post
from service.inference.proxy import read_document
from service.inference.proxy import while_connected
from service.inference.routing import find_server
from service.inference.schemas import ChatCompletion
from service.inference.schemas import Completion
from service.middleware import route_of


@asynccontextmanager
async def _sharing_a_session(app: FastAPI) -> AsyncIterator[None]:
    patience = getattr(app.state, "patience", Patience())
    async with open_session(patience) as session:
        app.state.upstream = session
        yield


router = APIRouter(tags=["inference"], lifespan=_sharing_a_session)
PATH = "/v1/completions"
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
    body: Annotated[Completion, json_body(Completion)], request: Request, context: ContextDep
) -> Response:
    """Complete a prompt."""
    if body.stream:
        return await _stream(request, context, body.model, body.upstream(), translate=None)
    return await _whole(request, context, body.model, body.upstream(), shape=_as_it_is)


@router.post("/chat/completions", **ANSWERS)
async def chat(
    body: Annotated[ChatCompletion, json_body(ChatCompletion)], request: Request, context: ContextDep
) -> Response:
    """Answer a chat, in the form that the model was trained on."""
    upstream = body.upstream(prompt_of(body))
    if body.stream:
        return await _stream(request, context, body.model, upstream, translate=ChatStream().feed)
    return await _whole(request, context, body.model, upstream, shape=chat_of)


def _as_it_is(document: Any) -> dict[str, Any]:
    if not isinstance(document, dict) or "choices" not in document:
        raise BadUpstream("not a completion")
    return document


async def _send(
    request: Request, context: Context, model_id: str, body: dict[str, Any]
) -> aiohttp.ClientResponse:
    url = await run_sync(_find, context, model_id)
    session = cast(aiohttp.ClientSession, request.app.state.upstream)
    return await post(session, url + PATH, body)


def _find(context: Context, model_id: str) -> str:
    with context.database.reading() as session:
        return find_server(session, model_id)


async def _stream(
    request: Request,
    context: Context,
    model_id: str,
    body: dict[str, Any],
    *,
    translate: Callable[[bytes], bytes] | None,
) -> Response:
    meter = Meter(context.metrics, route=route_of(request.scope), streamed=True)
    with meter.failing():
        answer = await while_connected(request.receive, _send(request, context, model_id, body))
    if answer is None:
        meter.end("client_gone")
        return Response(status_code=CLIENT_GONE)
    return StreamedAnswer(answer, meter=meter, translate=translate)


async def _whole(
    request: Request,
    context: Context,
    model_id: str,
    body: dict[str, Any],
    *,
    shape: Callable[[Any], dict[str, Any]],
) -> Response:
    async def ask() -> dict[str, Any]:
        document = await read_document(await _send(request, context, model_id, body))
        try:
            return shape(document)
        except BadUpstream as error:
            raise BadGateway("The model's server answered something else.", code="upstream_error") from error

    meter = Meter(context.metrics, route=route_of(request.scope), streamed=False)
    with meter.failing():
        answer = await while_connected(request.receive, ask())
    if answer is None:
        meter.end("client_gone")
        return Response(status_code=CLIENT_GONE)
    meter.first_byte()
    meter.end("ok")
    return JSONResponse(answer)

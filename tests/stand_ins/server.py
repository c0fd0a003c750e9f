"""A model server without a model. What it does wrong is asked for in the prompt.

Takes the arguments of this project's server; refuses to start for a model named ``broken``.
"""

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from aiohttp import web

SEEN: list[dict[str, Any]] = []
HOLD = "hold"
"""While a file of this name lies in the directory of the endpoints, no server begins to listen."""
OPEN: set[str] = set()
"""Prompts of generations that go on."""


def chunk(text: str, model: str, finish: str | None = None) -> bytes:
    choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish}
    document = {
        "id": "cmpl-1",
        "object": "text_completion",
        "created": 1,
        "model": model,
        "choices": [choice],
    }
    return b"data: " + json.dumps(document).encode() + b"\n\n"


async def completions(request: web.Request) -> web.StreamResponse:
    body = await request.json()
    # A prompt made from a chat ends with a newline, as in training; what it asks for is before it.
    prompt = body["prompt"].rstrip("\n")
    if prompt != "a" or body.get("max_tokens") != 1:  # the readiness check
        SEEN.append({"body": body, "headers": dict(request.headers)})
    OPEN.add(prompt)
    try:
        return await answer(request, body, prompt)
    finally:
        OPEN.discard(prompt)


async def answer(request: web.Request, body: dict[str, Any], prompt: str) -> web.StreamResponse:
    if prompt == "500":
        return web.Response(status=500, text="Traceback: secret internals")
    if prompt == "400":
        return web.json_response({"error": {"message": "prompt is too long", "code": 400}}, status=400)
    if prompt == "garbage":
        return web.Response(text="<html>not json")
    if prompt == "huge":
        return web.Response(body=b'"' + b"x" * (33 << 20))
    if prompt in {"hang", "silent"}:
        await asyncio.sleep(60)
    if not body.get("stream"):
        choice = {"index": 0, "text": f"echo {body['prompt']}", "logprobs": None, "finish_reason": "stop"}
        usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
        document = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": body["model"]}
        return web.json_response({**document, "choices": [choice], "usage": usage})
    return await stream(request, body["model"], prompt)


async def stream(request: web.Request, model: str, prompt: str) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)
    if prompt == "slow first":
        await asyncio.sleep(1.0)
    if prompt == "garbage stream":
        await response.write(b"\x00\xff not an event\n\n")
        return response
    for position in range(600 if prompt == "endless" else 3):
        await response.write(chunk(f"t{position} ", model))
        if prompt == "cut" and position == 1:
            assert request.transport is not None
            request.transport.abort()
            return response
        await asyncio.sleep(0.1 if prompt == "endless" else 0.01)
    await response.write(chunk("", model, "stop"))
    await response.write(b"data: [DONE]\n\n")
    return response


async def health(_request: web.Request) -> web.Response:
    return web.Response(text="ok")


async def seen(_request: web.Request) -> web.Response:
    return web.json_response({"seen": SEEN, "open": sorted(OPEN)})


def main() -> int:
    parser = argparse.ArgumentParser()
    for name in ("--order", "--weights", "--port"):
        parser.add_argument(name, required=True)
    arguments = parser.parse_args()
    order = json.loads(Path(arguments.order).read_bytes())
    if order["model_id"] == "broken":
        print("loading weights", flush=True)  # noqa: T201
        print("RuntimeError: no kernel for head size 33", flush=True)  # noqa: T201
        return 1
    while (Path(arguments.order).parents[1] / HOLD).exists():
        time.sleep(0.1)
    app = web.Application()
    app.add_routes(
        [web.post("/v1/completions", completions), web.get("/health", health), web.get("/seen", seen)]
    )
    web.run_app(app, host="127.0.0.1", port=int(arguments.port), print=None, handler_cancellation=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

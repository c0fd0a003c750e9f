"""A connection that cannot be made at first, as when a replica has just ended."""

import asyncio
import socket
from typing import Any

import anyio
import pytest
from aiohttp import web

from service.errors import BadGateway
from service.inference.patience import Patience
from service.inference.proxy import open_session
from service.inference.proxy import post


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_it_is_made_again_and_never_kept() -> None:
    port = free_port()
    seen: list[str | None] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.headers.get("connection"))
        return web.json_response({})

    async def listen_later() -> web.AppRunner:
        await asyncio.sleep(0.2)
        app = web.Application()
        app.add_routes([web.post("/", answer)])
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        return runner

    async def ask() -> None:
        listening = asyncio.ensure_future(listen_later())
        async with open_session(Patience()) as session:
            for _ in range(2):
                answered: Any = await post(session, f"http://127.0.0.1:{port}/", {})
                answered.close()
        await (await listening).cleanup()

    anyio.run(ask)
    assert seen == ["close", "close"]


def test_nobody_ever_listens() -> None:
    async def ask() -> None:
        async with open_session(Patience()) as session:
            await post(session, f"http://127.0.0.1:{free_port()}/", {})

    with pytest.raises(BadGateway):
        anyio.run(ask)

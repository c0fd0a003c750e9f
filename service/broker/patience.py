"""Cuts connections whose reader has stopped reading: they would hold a request's place for ever."""

import anyio
from starlette.types import ASGIApp
from starlette.types import Message
from starlette.types import Receive
from starlette.types import Scope
from starlette.types import Send


class Patience:
    """ASGI middleware: an answer of which no byte can be sent for ``idle_s`` seconds is cut."""

    def __init__(self, app: ASGIApp, *, idle_s: float) -> None:
        self._app = app
        self._idle_s = idle_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""

        async def send_in_time(message: Message) -> None:
            try:
                with anyio.fail_after(self._idle_s):
                    await send(message)
            except TimeoutError:
                raise ConnectionAbortedError(f"nothing was read for {self._idle_s:g} s") from None

        await self._app(scope, receive, send_in_time if scope["type"] == "http" else send)

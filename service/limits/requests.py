"""Limits on requests: a dependency of every route below ``/v1``, after it is known who asks."""

from collections.abc import AsyncIterator
from typing import Annotated
from typing import Final
from typing import cast

from fastapi import Depends
from fastapi import Request
from starlette.types import ASGIApp
from starlette.types import Message
from starlette.types import Receive
from starlette.types import Scope
from starlette.types import Send

from service.audit.entry import PRINCIPAL
from service.auth import Caller
from service.limits.limiter import Limiter
from service.limits.limiter import Standing
from service.limits.limiter import ratelimit_headers

STANDING: Final = "temper_standing"


def limiter_of(request: Request) -> Limiter:
    """The limiter of the app that got a request."""
    return cast(Limiter, request.app.state.limiter)


LimiterDep = Annotated[Limiter, Depends(limiter_of)]


async def limit(request: Request, caller: Caller, limiter: LimiterDep) -> AsyncIterator[None]:
    """Let a request through, and keep its place until all of its answer is sent.

    Raises:
        LimitReached: its project has too many, in this minute or at once.
    """
    request.scope["state"][PRINCIPAL] = caller
    standing = await limiter.take(caller.project, "requests_per_minute")
    request.scope["state"][STANDING] = standing
    leave = await limiter.enter(caller.project)
    try:
        yield
    finally:
        if leave is not None:
            leave()


Limited = Depends(limit, scope="request")
"""In the ``dependencies`` of every router that needs :data:`service.auth.Authenticated`."""


class TellStanding:
    """ASGI middleware: says in every answer's headers where its project is with its requests per minute."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""

        async def telling(message: Message) -> None:
            if message["type"] == "http.response.start":
                standing = scope.get("state", {}).get(STANDING)
                if isinstance(standing, Standing):
                    headers = [
                        (name.encode(), value.encode()) for name, value in ratelimit_headers(standing).items()
                    ]
                    message = {**message, "headers": [*message.get("headers", []), *headers]}
            await send(message)

        await self._app(scope, receive, telling)

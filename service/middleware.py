"""What happens around every request: its id, its metrics, and the answer to what nobody foresaw."""

import logging
import time
from typing import Any

from starlette.types import ASGIApp
from starlette.types import Message
from starlette.types import Receive
from starlette.types import Scope
from starlette.types import Send

from service.errors import ServiceError
from service.errors import problem_response
from service.ids import new_id
from service.metrics import Metrics

logger = logging.getLogger(__name__)
REQUEST_ID_HEADER = b"x-request-id"


class Around:
    """ASGI middleware; the only place that catches every exception of a request."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = new_id("req")
        scope.setdefault("state", {})["request_id"] = request_id
        answer = _Answer(send, request_id)
        started = time.perf_counter()
        try:
            await self._app(scope, receive, answer)
        except Exception:  # the ASGI error handler
            await self._answer_incident(scope, receive, answer)
        finally:
            self._count(scope, answer.status, time.perf_counter() - started)

    async def _answer_incident(self, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        incident = new_id("incident")
        logger.exception("request failed", extra={"incident": incident, "route": route_of(scope)})
        if answer.status is not None:
            # Part of the answer is on its way; cutting the connection tells the client that it is broken.
            raise ConnectionAbortedError(incident) from None
        error = ServiceError(f"The service failed. Quote {incident} when you report this.")
        await problem_response(error, instance=f"urn:temper:incident:{incident}")(scope, receive, answer)

    def _count(self, scope: Scope, status: int | None, seconds: float) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "other"
        route = route_of(scope)
        self._metrics.requests.labels(method, route, str(status or "cut")).inc()
        self._metrics.latency.labels(method, route).observe(seconds)


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class _Answer:
    """Passes an answer on with its request id, and remembers its status."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._header = (REQUEST_ID_HEADER, request_id.encode())
        self.status: int | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [pair for pair in message.get("headers", []) if pair[0] != REQUEST_ID_HEADER]
            message = {**message, "headers": [*headers, self._header]}
        await self._send(message)


def route_of(scope: Scope) -> str:
    """The template of the route that serves a request; never the path, which holds ids."""
    route: Any = scope.get("route")
    return str(getattr(route, "path", "unmatched"))

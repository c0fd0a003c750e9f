"""An HTTP server that ends well."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from typing import Final

import uvicorn
from fastapi import FastAPI

from service.connection import CONNECTION_OPTIONS
from service.settings import Settings

ENDING_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
GRACE_S: Final = 10
"""Seconds that requests in flight get after SIGTERM."""


class NotStarted(RuntimeError):  # noqa: N818 - what happened
    """The app never served a request."""


def listen(app: FastAPI, settings: Settings, **options: Any) -> None:
    """Serve an app until SIGTERM or SIGINT. ``options`` are more of uvicorn's.

    Raises:
        NotStarted: what runs beside the requests could not be started; the log says why.
    """
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
        **{**CONNECTION_OPTIONS, **options},
    )
    server = _Server(config)
    server.run()
    if server.lifespan.should_exit and not server.started:
        raise NotStarted("the process could not start; see above")


class _Server(uvicorn.Server):
    """Ends with status 0 on a signal; uvicorn's own raises the signal again after its clean end."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self.handle_exit) for number in ENDING_SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

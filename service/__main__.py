"""``python -m service``: the embedded service. Configured by ``TEMPER_`` variables alone."""

import logging
import os
import signal
import sys
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from typing import Final

import uvicorn
from sqlalchemy.exc import ArgumentError

from deploy.store.opening import open_store
from deploy.store.protocol import ObjectStore
from deploy.store.protocol import StoreError
from service.app import Companion
from service.app import create_app
from service.context import Context
from service.database import Database
from service.embedded import embedded
from service.environment import SettingsError
from service.home import HomeInUse
from service.home import holding
from service.schema import migrate
from service.settings import Settings
from service.settings import settings_from_env
from service.tidy import tidying

COMPANIONS: Sequence[Companion] = (tidying, embedded)
"""What runs beside the requests."""
ENDING_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
GRACE_S: Final = 10
"""Seconds that requests in flight get after SIGTERM."""


def main() -> int:
    """Run until SIGTERM or SIGINT. Returns the exit status: 0, or 2 for a configuration that cannot be."""
    try:
        settings = settings_from_env(os.environ)
        with holding(settings.home):
            serve(settings)
    except (SettingsError, HomeInUse) as error:
        print(f"temper: {error}", file=sys.stderr)  # noqa: T201 - for whoever typed the command
        return 2
    return 0


def serve(settings: Settings) -> None:
    """Serve until a signal ends it."""
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    store, database = _open(settings)
    try:
        migrate(database)
        context = Context(settings=settings, database=database, store=store)
        app = create_app(context, companions=COMPANIONS)
        config = uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=GRACE_S,
        )
        _Server(config).run()
    finally:
        database.close()


def _open(settings: Settings) -> tuple[ObjectStore, Database]:
    try:
        store = open_store(settings.store_uri)
    except StoreError as error:
        raise SettingsError(f"TEMPER_STORE_URI: {error}") from error
    try:
        return store, Database(settings.database_url, settings.database)
    except (ArgumentError, ModuleNotFoundError) as error:
        # Not repeated: the URL may hold a password.
        raise SettingsError("TEMPER_DATABASE_URL: no such database, or its driver is not there") from error


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


if __name__ == "__main__":
    sys.exit(main())

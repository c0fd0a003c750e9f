"""``python -m service``: everything in one process, jobs and servers as local processes."""

from collections.abc import Sequence

from service.app import Companion
from service.app import create_app
from service.embedded import embedded
from service.home import holding
from service.roles.listening import listen
from service.roles.opening import ask_store
from service.roles.opening import await_database
from service.roles.opening import context_of
from service.roles.opening import database_of
from service.roles.opening import log_to_stderr
from service.roles.opening import store_of
from service.schema import migrate
from service.settings import Settings
from service.tidy import tidying

COMPANIONS: Sequence[Companion] = (tidying, embedded)
"""What runs beside the requests."""


def run(settings: Settings) -> None:
    """Serve until a signal ends it. Raises HomeInUse, SettingsError, SchemaError."""
    with holding(settings.home):
        log_to_stderr(settings)
        store, database = store_of(settings), database_of(settings)
        try:
            await_database(database)
            ask_store(store)
            migrate(database)
            context = context_of(settings, store, database)
            listen(create_app(context, companions=COMPANIONS), settings)
        finally:
            database.close()

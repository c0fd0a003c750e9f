"""``python -m service api``: the HTTP API alone; any number of replicas share one database."""

from service.app import create_app
from service.roles.listening import listen
from service.roles.opening import ask_store
from service.roles.opening import await_database
from service.roles.opening import context_of
from service.roles.opening import database_of
from service.roles.opening import log_to_stderr
from service.roles.opening import store_of
from service.schema import await_schema
from service.settings import Settings
from service.tidy import clearing_scratch


def run(settings: Settings) -> None:
    """Serve until a signal ends it. Raises SettingsError, SchemaError."""
    log_to_stderr(settings)
    store, database = store_of(settings), database_of(settings)
    try:
        await_database(database)
        ask_store(store)
        await_schema(database)
        context = context_of(settings, store, database)
        listen(create_app(context, companions=(clearing_scratch,)), settings)
    finally:
        database.close()

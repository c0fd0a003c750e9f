"""``python -m service broker``: the way from pods to the object store; any number of replicas."""

from service.broker.app import create_broker_app
from service.broker.serving import server_options
from service.roles.listening import listen
from service.roles.opening import ask_store
from service.roles.opening import await_database
from service.roles.opening import context_of
from service.roles.opening import database_of
from service.roles.opening import log_to_stderr
from service.roles.opening import store_of
from service.schema import await_schema
from service.settings import Settings


def run(settings: Settings) -> None:
    """Serve until a signal ends it. Raises SettingsError, SchemaError."""
    log_to_stderr(settings)
    options = server_options(settings)
    store, database = store_of(settings), database_of(settings)
    try:
        await_database(database)
        ask_store(store)
        await_schema(database)
        listen(create_broker_app(context_of(settings, store, database)), settings, **options)
    finally:
        database.close()

"""``python -m service api``: the HTTP API alone; any number of replicas share one database."""

from service.app import create_app
from service.roles.listening import listen
from service.roles.opening import opened
from service.schema import await_schema
from service.settings import Settings
from service.tidy import clearing_scratch


def run(settings: Settings) -> None:
    """Serve until a signal ends it. Raises SettingsError, SchemaError."""
    with opened(settings, schema=await_schema) as context:
        listen(create_app(context, companions=(clearing_scratch,)), settings)

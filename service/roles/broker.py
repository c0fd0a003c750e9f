"""``python -m service broker``: the way from pods to the object store; any number of replicas."""

from service.broker.app import create_broker_app
from service.broker.serving import server_options
from service.roles.listening import listen
from service.roles.opening import opened
from service.schema import await_schema
from service.settings import Settings


def run(settings: Settings) -> None:
    """Serve until a signal ends it. Raises SettingsError, SchemaError."""
    options = server_options(settings)
    with opened(settings, schema=await_schema) as context:
        listen(create_broker_app(context), settings, **options)

"""``python -m service``: everything in one process, jobs and servers as local processes."""

from collections.abc import Sequence

from service.app import create_app
from service.companions import Companion
from service.embedded import embedded
from service.home import holding
from service.roles.listening import listen
from service.roles.opening import opened
from service.schema import migrate
from service.settings import Settings
from service.tidy import tidying

COMPANIONS: Sequence[Companion] = (tidying, embedded)
"""What runs beside the requests."""


def run(settings: Settings) -> None:
    """Serve until a signal ends it. Raises HomeInUse, SettingsError, SchemaError."""
    with holding(settings.home), opened(settings, schema=migrate) as context:
        listen(create_app(context, companions=COMPANIONS), settings)

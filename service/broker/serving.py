"""How a server runs the broker's application; uvicorn's own defaults let anybody hold a connection for ever."""

from typing import Any

from service.connection import CONNECTION_OPTIONS
from service.environment import SettingsError
from service.settings import Settings

KEEP_ALIVE_S = 30
"""Of an idle connection: a pod writes its events every 5 s."""


def server_options(settings: Settings) -> dict[str, Any]:
    """Options of ``uvicorn.Config`` beside address and logging. Raises SettingsError for files that are not there."""
    options: dict[str, Any] = {**CONNECTION_OPTIONS, "timeout_keep_alive": KEEP_ALIVE_S}
    if settings.broker_tls is not None:
        certificate, key = settings.broker_tls
        for path in settings.broker_tls:
            if not path.is_file():
                raise SettingsError(
                    f"TEMPER_BROKER_TLS_CERT_FILE, TEMPER_BROKER_TLS_KEY_FILE: there is no {path}"
                )
        options |= {"ssl_certfile": str(certificate), "ssl_keyfile": str(key)}
    return options

"""How a container reaches the object store: the broker's address, and the token that says which pod asks.

The token is a projected one with an audience of its own, useless against the API server. A container that mounts and
is told none of this cannot reach the store.
"""

from typing import Final

from deploy.kubernetes.client import Object
from deploy.kubernetes.settings import ClusterSettings

TOKEN_DIRECTORY: Final = "/var/run/temper/token"  # noqa: S105 - a path
CA_DIRECTORY: Final = "/var/run/temper/ca"
TOKEN_LIFETIME_S: Final = 3600
_CA: Final = "ca.crt"


def access_variables(settings: ClusterSettings) -> dict[str, str]:
    """Environment of the container."""
    variables = {
        "TEMPER_BROKER_URL": settings.broker_url,
        "TEMPER_BROKER_TOKEN_FILE": f"{TOKEN_DIRECTORY}/token",
    }
    if settings.broker_ca_config_map is not None:
        variables["TEMPER_BROKER_CA_FILE"] = f"{CA_DIRECTORY}/{_CA}"
    return variables


def access_mounts(settings: ClusterSettings) -> list[Object]:
    """``volumeMounts`` of the container."""
    mounts: list[Object] = [{"name": "token", "mountPath": TOKEN_DIRECTORY, "readOnly": True}]
    if settings.broker_ca_config_map is not None:
        mounts.append({"name": "ca", "mountPath": CA_DIRECTORY, "readOnly": True})
    return mounts


def access_volumes(settings: ClusterSettings) -> list[Object]:
    """``volumes`` of its pod."""
    token = {"audience": settings.broker_audience, "expirationSeconds": TOKEN_LIFETIME_S, "path": "token"}
    volumes: list[Object] = [{"name": "token", "projected": {"sources": [{"serviceAccountToken": token}]}}]
    if settings.broker_ca_config_map is not None:
        items = [{"key": _CA, "path": _CA}]
        volumes.append({"name": "ca", "configMap": {"name": settings.broker_ca_config_map, "items": items}})
    return volumes

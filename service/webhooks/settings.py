"""What an operator decides about webhooks: where they may go, and the key that their secrets come from."""

import ipaddress
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Final

from deploy.contract.addresses import Network
from service.environment import PREFIX
from service.environment import Reader
from service.environment import SettingsError
from service.webhooks.targets import AllowedHost
from service.webhooks.targets import TargetRefused

NAMES: Final = (
    "PUBLIC_URL",
    "WEBHOOK_HOSTS",
    "WEBHOOK_NETWORKS",
    "WEBHOOK_LOOPBACK_HTTP",
    "WEBHOOK_CA_FILE",
    "WEBHOOK_KEY",
    "WEBHOOK_KEY_FILE",
)
MIN_KEY_CHARS: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookSettings:
    """Built by :func:`read_webhooks`."""

    hosts: tuple[AllowedHost, ...] = ()
    """None lets nobody create a webhook."""
    networks: tuple[Network, ...] = ()
    """That may be reached beside the public internet."""
    loopback_http: bool = False
    """Plain HTTP to this machine, to try things out."""
    ca_file: Path | None = None
    """Authorities to trust instead of the system's."""
    key: bytes | None = field(default=None, repr=False)
    """None makes one in the home directory of an embedded service."""
    public_url: str | None = None
    """Where receivers find this service."""


def read_webhooks(read: Reader, *, needs_key: bool, alone: bool) -> WebhookSettings:
    """Read the variables.

    Args:
        read: the environment.
        needs_key: whether this process signs, or shows secrets, and has no lasting home to keep a key in.
        alone: whether only this machine can reach the service.

    Raises:
        SettingsError: a value that cannot be.
    """
    hosts = tuple(_host(text) for text in _listed(read, "WEBHOOK_HOSTS"))
    key = read.secret("WEBHOOK_KEY")
    if key is not None and len(key) < MIN_KEY_CHARS:
        raise SettingsError(f"{PREFIX}WEBHOOK_KEY has fewer than {MIN_KEY_CHARS} characters")
    if hosts and key is None and needs_key:
        raise SettingsError(f"{PREFIX}WEBHOOK_HOSTS needs {PREFIX}WEBHOOK_KEY (or {PREFIX}WEBHOOK_KEY_FILE)")
    loopback_http = read.flag("WEBHOOK_LOOPBACK_HTTP", default=False)
    if loopback_http and not alone:
        raise SettingsError(
            f"{PREFIX}WEBHOOK_LOOPBACK_HTTP lets users reach this machine's own ports; it needs a loopback host"
        )
    return WebhookSettings(
        hosts=hosts,
        networks=tuple(_network(text) for text in _listed(read, "WEBHOOK_NETWORKS")),
        loopback_http=loopback_http,
        ca_file=_file(read, "WEBHOOK_CA_FILE"),
        key=None if key is None else key.encode(),
        public_url=_public_url(read),
    )


def _listed(read: Reader, name: str) -> list[str]:
    return [entry.strip() for entry in read.text(name, "").split(",") if entry.strip()]


def _host(text: str) -> AllowedHost:
    try:
        return AllowedHost.parse(text)
    except TargetRefused as error:
        raise SettingsError(f"{PREFIX}WEBHOOK_HOSTS: {text!r}: {error}") from error


def _network(text: str) -> Network:
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        raise SettingsError(f"{PREFIX}WEBHOOK_NETWORKS: {text!r} is not a network like 10.1.0.0/16") from None
    if network.prefixlen == 0:
        raise SettingsError(f"{PREFIX}WEBHOOK_NETWORKS: {text} would let webhooks reach everything")
    return network


def _file(read: Reader, name: str) -> Path | None:
    path = read.text(name, "")
    if path and not Path(path).is_file():
        raise SettingsError(f"{PREFIX}{name}: there is no file {path}")
    return Path(path) if path else None


def _public_url(read: Reader) -> str | None:
    url = read.text("PUBLIC_URL", "").rstrip("/")
    if not url:
        return None
    if not url.startswith(("https://", "http://")) or not url.isascii() or any(map(str.isspace, url)):
        raise SettingsError(f"{PREFIX}PUBLIC_URL: {url!r} is not the address of a service")
    return url

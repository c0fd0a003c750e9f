"""Which URLs a webhook may have: those on hosts that the operator listed, and no clever spellings of others.

Covers: scheme, user names, ports, other spellings of names and numbers, names beside listed suffixes. Does not cover:
where a listed name leads, which :mod:`deploy.contract.addresses` judges whenever something is sent.
"""

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult
from urllib.parse import urlsplit

MAX_URL_CHARS: Final = 2048
PORTS: Final = {"https": 443, "http": 80}
_NAME: Final = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?)*"
)
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PATH: Final = re.compile(r"[!-~]*")
_FORBIDDEN: Final = re.compile(r"[\x00-\x20\x7f\\#]")


class TargetRefused(ValueError):  # noqa: N818 - a fact, not a fault
    """No webhook may have this URL; says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where to send."""

    scheme: str
    host: str
    """A name in lower case and ASCII, or an address."""
    port: int
    path: str
    """With the query."""

    @property
    def authority(self) -> str:
        """As the ``Host`` header says it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """Spelled the one way."""
        return f"{self.scheme}://{self.authority}{self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowedHost:
    """One entry of the operator's list: ``hooks.example.com``, ``*.example.com``, either with ``:8443``."""

    host: str
    suffix: bool = False
    """Every name below ``host``, and not itself."""
    port: int | None = None
    """None is the scheme's own."""

    @classmethod
    def parse(cls, text: str) -> "AllowedHost":
        """Read an entry. Raises TargetRefused."""
        suffix = text.startswith("*.")
        parts = _split(f"//{text.removeprefix('*.')}")
        if parts.path or parts.query or parts.hostname is None or "@" in parts.netloc:
            raise TargetRefused(f"{text!r} is not a host, nor *.suffix, with or without a port")
        host = normalised_host(parts.hostname)
        if suffix and ("." not in host or _is_address(host)):
            raise TargetRefused(f"{text!r} would let everybody's names in")
        return cls(host=host, suffix=suffix, port=_port(parts))

    def matches(self, target: Target) -> bool:
        """Whether a target is on it."""
        if target.port != (PORTS[target.scheme] if self.port is None else self.port):
            return False
        if self.suffix:
            return target.host.endswith(f".{self.host}") and not _is_address(target.host)
        return target.host == self.host


def parse_target(url: str, allowed: Sequence[AllowedHost], *, loopback_http: bool = False) -> Target:
    """The target that a URL names.

    Args:
        url: as a user wrote it.
        allowed: the operator's list.
        loopback_http: whether plain HTTP is good enough for this very machine.

    Raises:
        TargetRefused: it may not be used.
    """
    if len(url) > MAX_URL_CHARS:
        raise TargetRefused(f"it has more than {MAX_URL_CHARS} characters")
    if _FORBIDDEN.search(url):
        raise TargetRefused("it has blanks, control characters, a backslash or a fragment")
    parts = _split(url)
    if parts.scheme not in PORTS:
        raise TargetRefused("it does not begin with https://")
    if "@" in parts.netloc:
        raise TargetRefused("it names a user; webhooks are signed instead")
    if not parts.hostname:
        raise TargetRefused("it names no host")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not _PATH.fullmatch(path):
        raise TargetRefused("its path has characters that have to be percent-encoded")
    host = normalised_host(parts.hostname)
    port = _port(parts)
    target = Target(scheme=parts.scheme, host=host, port=port or PORTS[parts.scheme], path=path)
    if parts.scheme == "http" and not (loopback_http and names_loopback(host)):
        raise TargetRefused("it has to begin with https://")
    if not any(entry.matches(target) for entry in allowed):
        raise TargetRefused(f"{target.authority} is not listed in TEMPER_WEBHOOK_HOSTS")
    return target


def normalised_host(host: str) -> str:
    """A name or an address, spelled the one way.

    Raises:
        TargetRefused: it is neither, or an address in disguise (``0x7f.1``, ``2130706433``).
    """
    if ":" in host:
        return _address(host)
    try:
        name = host.removesuffix(".").encode("idna").decode("ascii").lower()
    except UnicodeError:
        raise TargetRefused("its host is not a name") from None
    if _NUMBER.fullmatch(name.rpartition(".")[2]):
        return _address(name)
    if not _NAME.fullmatch(name):
        raise TargetRefused("its host is not a name")
    return name


def names_loopback(host: str) -> bool:
    """Whether a host in its one spelling is this machine."""
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise TargetRefused("its host is neither a name nor an address in its ordinary form") from None


def _is_address(host: str) -> bool:
    return ":" in host or host.rpartition(".")[2].isdigit()


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        raise TargetRefused("it is not a URL") from None


def _port(parts: SplitResult) -> int | None:
    try:
        port = parts.port
    except ValueError:
        raise TargetRefused("its port is not a number up to 65535") from None
    if port == 0 or (port is None and parts.netloc.endswith(":")):
        raise TargetRefused("its port is not a number from 1")
    return port

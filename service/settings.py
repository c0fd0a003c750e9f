"""The settings of one service process, read from the environment once, in ``main``.

An unknown ``TEMPER_`` variable, a value out of range or an unsafe combination refuses to start: a
typing error in a deployment must not silently become a default.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Final

PREFIX: Final = "TEMPER_"
OF_THE_JOB: Final = frozenset({"TEMPER_POD", "TEMPER_SCRATCH"})
"""Read by jobs, which inherit this environment when they run as local processes."""
MIN_API_KEY_CHARS: Final = 16


class SettingsError(ValueError):
    """The environment does not make a safe configuration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that an operator decides. Built by :func:`settings_from_env`."""

    home: Path
    """Directory of the embedded state; absolute."""
    host: str = "127.0.0.1"
    port: int = 8000
    api_key: str | None = field(default=None, repr=False)
    database_url: str = field(repr=False)
    store_uri: str
    local_models: bool = False
    """``file://`` base models may be named; only ever true on a loopback address."""
    max_file_bytes: int = 8 << 30
    max_json_bytes: int = 1 << 20
    upload_idle_s: float = 60.0
    """Seconds without a byte after which an upload is cut."""
    max_running_jobs: int = 1
    max_running_scans: int = 1
    """Beside the jobs: a scan takes a processor for seconds, a job may take a day."""
    max_attempts: int = 3
    """Starts of a job that the platform (not its user) may make fail."""
    job_deadline_s: int = 24 * 3600
    scan_deadline_s: int = 3600
    max_endpoints: int = 3
    """Served at once; the demo compares three arms."""
    reconcile_interval_s: float = 1.0
    log_level: str = "info"

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the service."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine and nothing else."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class _Reader:
    env: Mapping[str, str]

    def text(self, name: str, default: str) -> str:
        return self.env.get(PREFIX + name, default)

    def integer(self, name: str, default: int, *, low: int, high: int) -> int:
        raw = self.env.get(PREFIX + name)
        if raw is None:
            return default
        try:
            value = int(raw)
        except ValueError:
            raise SettingsError(f"{PREFIX}{name}: {raw!r} is not a whole number") from None
        if not low <= value <= high:
            raise SettingsError(f"{PREFIX}{name}: {value} is not between {low} and {high}")
        return value

    def number(self, name: str, default: float, *, low: float, high: float) -> float:
        raw = self.env.get(PREFIX + name)
        if raw is None:
            return default
        try:
            value = float(raw)
        except ValueError:
            raise SettingsError(f"{PREFIX}{name}: {raw!r} is not a number") from None
        if not low <= value <= high:
            raise SettingsError(f"{PREFIX}{name}: {raw} is not between {low} and {high}")
        return value

    def flag(self, name: str, *, default: bool) -> bool:
        raw = self.env.get(PREFIX + name)
        if raw is None:
            return default
        known = {"1": True, "true": True, "on": True, "0": False, "false": False, "off": False}
        if raw.lower() not in known:
            raise SettingsError(f"{PREFIX}{name}: {raw!r} is not one of {', '.join(known)}")
        return known[raw.lower()]

    def choice(self, name: str, default: str, *, among: tuple[str, ...]) -> str:
        value = self.text(name, default)
        if value not in among:
            raise SettingsError(f"{PREFIX}{name}: {value!r} is not one of {', '.join(among)}")
        return value


KNOWN: Final = frozenset(
    PREFIX + name
    for name in (
        "HOME",
        "HOST",
        "PORT",
        "API_KEY",
        "DATABASE_URL",
        "STORE_URI",
        "LOCAL_MODELS",
        "MAX_FILE_BYTES",
        "UPLOAD_IDLE_S",
        "MAX_RUNNING_JOBS",
        "MAX_RUNNING_SCANS",
        "MAX_ATTEMPTS",
        "JOB_DEADLINE_S",
        "SCAN_DEADLINE_S",
        "MAX_ENDPOINTS",
        "RECONCILE_INTERVAL_S",
        "LOG_LEVEL",
    )
)
"""Every variable that a service reads; each is documented in README."""


def settings_from_env(env: Mapping[str, str]) -> Settings:
    """Read the settings.

    Raises:
        SettingsError: an unknown variable, a bad value or an unsafe combination; the message names
            the variable and never repeats a secret.
    """
    unknown = sorted(name for name in env if name.startswith(PREFIX) and name not in KNOWN | OF_THE_JOB)
    if unknown:
        raise SettingsError(f"unknown variable {unknown[0]}; known are {', '.join(sorted(KNOWN))}")
    read = _Reader(env)
    home = Path(read.text("HOME", "var")).expanduser().resolve()
    host = read.text("HOST", "127.0.0.1")
    return Settings(
        home=home,
        host=host,
        port=read.integer("PORT", 8000, low=1, high=65535),
        api_key=_api_key(env, host),
        database_url=read.text("DATABASE_URL", "sqlite:///" + str(home / "temper.db")),
        store_uri=read.text("STORE_URI", (home / "objects").as_uri()).rstrip("/"),
        local_models=_local_models(read, host),
        max_file_bytes=read.integer("MAX_FILE_BYTES", 8 << 30, low=1, high=1 << 50),
        upload_idle_s=read.number("UPLOAD_IDLE_S", 60.0, low=0.1, high=3600.0),
        max_running_jobs=read.integer("MAX_RUNNING_JOBS", 1, low=1, high=10_000),
        max_running_scans=read.integer("MAX_RUNNING_SCANS", 1, low=1, high=10_000),
        max_attempts=read.integer("MAX_ATTEMPTS", 3, low=1, high=20),
        job_deadline_s=read.integer("JOB_DEADLINE_S", 24 * 3600, low=1, high=30 * 24 * 3600),
        scan_deadline_s=read.integer("SCAN_DEADLINE_S", 3600, low=1, high=30 * 24 * 3600),
        max_endpoints=read.integer("MAX_ENDPOINTS", 3, low=0, high=10_000),
        reconcile_interval_s=read.number("RECONCILE_INTERVAL_S", 1.0, low=0.01, high=60.0),
        log_level=read.choice("LOG_LEVEL", "info", among=("debug", "info", "warning", "error")),
    )


def _api_key(env: Mapping[str, str], host: str) -> str | None:
    key = env.get(f"{PREFIX}API_KEY")
    if key is None:
        if not is_loopback(host):
            raise SettingsError(
                f"{PREFIX}HOST={host} can be reached from other machines: set {PREFIX}API_KEY,"
                " or listen on 127.0.0.1"
            )
        return None
    if len(key) < MIN_API_KEY_CHARS:
        raise SettingsError(f"{PREFIX}API_KEY has fewer than {MIN_API_KEY_CHARS} characters")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise SettingsError(f"{PREFIX}API_KEY has characters that no Authorization header can carry")
    return key


def _local_models(read: _Reader, host: str) -> bool:
    wanted = read.flag("LOCAL_MODELS", default=is_loopback(host))
    if wanted and not is_loopback(host):
        raise SettingsError(
            f"{PREFIX}LOCAL_MODELS would let other machines name this one's files; it needs a loopback host"
        )
    return wanted

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
from typing import Literal

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from deploy.kubernetes.settings import ClusterSettings
from deploy.kubernetes.settings import ClusterSettingsError
from deploy.kubernetes.settings import read_cluster_settings
from deploy.store.s3_settings import VARIABLES
from deploy.store.s3_settings import S3Settings
from deploy.store.s3_settings import S3SettingsError
from service.broker import limits as broker_limits
from service.broker.limits import BrokerLimits
from service.environment import PREFIX
from service.environment import Reader
from service.environment import SettingsError
from service.evidence import settings as evidence_settings
from service.evidence.settings import EvidenceSettings
from service.inference import patience
from service.inference.patience import Patience
from service.limits import numbers as limit_numbers
from service.limits.numbers import Limits
from service.webhooks import settings as webhook_settings
from service.webhooks.settings import WebhookSettings

HUB: Final = ("HUB_URL", "HUB_HOSTS", "HUB_NETWORKS", "HUB_TOKEN_FILE")
"""The route that jobs fetch hub models by; :mod:`training.hub` reads them."""
OF_THE_JOB: Final = frozenset(
    PREFIX + name for name in ("POD", "SCRATCH", "BROKER_URL", "BROKER_TOKEN_FILE", "BROKER_CA_FILE", *HUB)
)
"""Read by jobs; those that run as local processes inherit this environment."""
OF_THE_STORE: Final = VARIABLES
"""Read by the store itself, in the processes of jobs too."""
MIN_API_KEY_CHARS: Final = 16
PLACEHOLDERS: Final = (
    "changeme",
    "change-me",
    "change_me",
    "replace-me",
    "your-api-key",
    "your_api_key",
    "placeholder",
)
"""Words of examples; a key that holds one was copied and is known to everybody."""
Role = Literal["embedded", "api", "reconcile", "broker", "migrate", "recover"]
"""What one process does: everything on one machine, or one part of a cluster's install."""
PORTS: Final[Mapping[Role, int]] = {"reconcile": 8001, "broker": 8002}
"""Of the roles that do not listen on 8000."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseSettings:
    """Limits on the use of PostgreSQL; SQLite has none of them."""

    pool_size: int = 20
    """Connections of one process at most. All processes together stay below the server's max_connections."""
    pool_timeout_s: float = 2.0
    """How long a request waits for a connection before it answers 503."""
    connect_timeout_s: int = 5
    statement_timeout_s: float = 15.0
    lock_timeout_s: float = 5.0
    idle_timeout_s: float = 60.0
    """After which the server ends a transaction in which nothing happens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that an operator decides. Built by :func:`settings_from_env`."""

    home: Path
    """Directory of the embedded state; absolute."""
    host: str = "127.0.0.1"
    port: int = 8000
    role: Role = "embedded"
    api_key: str | None = field(default=None, repr=False)
    database_url: str = field(repr=False)
    database: DatabaseSettings = DatabaseSettings()
    store_uri: str
    cluster: ClusterSettings | None = None
    """Where jobs and endpoints run; None runs them as processes of this machine."""
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
    stall_s: int = 6 * 3600
    """Seconds without any progress after which a run is stopped; 0 lets it be silent for ever. Everything that a run
    does tells of itself every few seconds, but for fetching and storing large models."""
    max_endpoints: int = 3
    """Served at once; the demo compares three arms."""
    reconcile_interval_s: float = 1.0
    log_level: str = "info"
    limits: Limits = field(default_factory=Limits)
    """Of every project that has none of its own."""
    audit_days: int = 365
    """After which entries of the audit log are deleted."""
    audit_lines: bool = False
    """Whether entries are also printed, one JSON object a line on stdout, for collectors of logs."""
    evidence: EvidenceSettings = field(default_factory=EvidenceSettings)
    broker: BrokerLimits = field(default_factory=BrokerLimits)
    inference: Patience = field(default_factory=Patience)
    webhooks: WebhookSettings = field(default_factory=WebhookSettings)
    broker_tls: tuple[Path, Path] | None = None
    """Certificate and key with which the broker serves HTTPS; None is plain HTTP."""

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


KNOWN: Final = frozenset(
    PREFIX + name
    for name in (
        "HOME",
        "HOST",
        "PORT",
        "API_KEY",
        "API_KEY_FILE",
        "DATABASE_URL",
        "DATABASE_URL_FILE",
        "DATABASE_PASSWORD",
        "DATABASE_PASSWORD_FILE",
        "DATABASE_POOL_SIZE",
        "DATABASE_POOL_TIMEOUT_S",
        "DATABASE_CONNECT_TIMEOUT_S",
        "DATABASE_STATEMENT_TIMEOUT_S",
        "DATABASE_LOCK_TIMEOUT_S",
        "DATABASE_IDLE_TIMEOUT_S",
        "STORE_URI",
        "CLUSTER_FILE",
        "LOCAL_MODELS",
        "MAX_FILE_BYTES",
        "UPLOAD_IDLE_S",
        "MAX_RUNNING_JOBS",
        "MAX_RUNNING_SCANS",
        "MAX_ATTEMPTS",
        "JOB_DEADLINE_S",
        "SCAN_DEADLINE_S",
        "STALL_S",
        "MAX_ENDPOINTS",
        "RECONCILE_INTERVAL_S",
        "LOG_LEVEL",
        "AUDIT_DAYS",
        "AUDIT_LINES",
        *limit_numbers.VARIABLES,
        "BROKER_TLS_CERT_FILE",
        "BROKER_TLS_KEY_FILE",
        *evidence_settings.VARIABLES,
        *broker_limits.NAMES,
        *webhook_settings.NAMES,
        *patience.NAMES,
    )
)
"""Every variable that a service reads; each is documented in README."""


def settings_from_env(env: Mapping[str, str], *, role: Role = "embedded") -> Settings:
    """Read the settings of a process.

    Raises:
        SettingsError: an unknown variable, a bad value or an unsafe combination; the message names
            the variable and never repeats a secret.
    """
    unknown = sorted(
        name for name in env if name.startswith(PREFIX) and name not in KNOWN | OF_THE_JOB | OF_THE_STORE
    )
    if unknown:
        raise SettingsError(
            f"unknown variable {unknown[0]}; known are {', '.join(sorted(KNOWN | OF_THE_STORE))}"
        )
    read = Reader(env)
    home = Path(read.text("HOME", "var")).expanduser().resolve()
    host = read.text("HOST", "127.0.0.1")
    cluster = _cluster(env)
    return Settings(
        home=home,
        host=host,
        port=read.integer("PORT", PORTS.get(role, 8000), low=1, high=65535),
        role=role,
        api_key=_api_key(read, host, role),
        database_url=_database_url(read, home),
        database=_database(read),
        store_uri=_store_uri(read, home),
        cluster=cluster,
        local_models=_local_models(read, host, cluster),
        max_file_bytes=read.integer("MAX_FILE_BYTES", 8 << 30, low=1, high=1 << 50),
        upload_idle_s=read.number("UPLOAD_IDLE_S", 60.0, low=0.1, high=3600.0),
        max_running_jobs=read.integer("MAX_RUNNING_JOBS", 1, low=1, high=10_000),
        max_running_scans=read.integer("MAX_RUNNING_SCANS", 1, low=1, high=10_000),
        max_attempts=read.integer("MAX_ATTEMPTS", 3, low=1, high=20),
        job_deadline_s=read.integer("JOB_DEADLINE_S", 24 * 3600, low=1, high=30 * 24 * 3600),
        scan_deadline_s=read.integer("SCAN_DEADLINE_S", 3600, low=1, high=30 * 24 * 3600),
        stall_s=read.integer("STALL_S", 6 * 3600, low=0, high=30 * 24 * 3600),
        max_endpoints=read.integer("MAX_ENDPOINTS", 3, low=0, high=10_000),
        reconcile_interval_s=read.number("RECONCILE_INTERVAL_S", 1.0, low=0.01, high=60.0),
        log_level=read.choice("LOG_LEVEL", "info", among=("debug", "info", "warning", "error")),
        limits=limit_numbers.read_limits(read),
        audit_days=read.integer("AUDIT_DAYS", 365, low=1, high=36_500),
        audit_lines=read.flag("AUDIT_LINES", default=role == "api"),
        evidence=evidence_settings.read_evidence(read),
        broker=broker_limits.read_limits(read),
        inference=patience.read_patience(read),
        webhooks=webhook_settings.read_webhooks(
            read, needs_key=role in {"api", "reconcile"}, alone=is_loopback(host) and cluster is None
        ),
        broker_tls=_broker_tls(env),
    )


def _store_uri(read: Reader, home: Path) -> str:
    uri = read.text("STORE_URI", (home / "objects").as_uri()).rstrip("/")
    if uri.startswith("s3:"):
        try:
            s3 = S3Settings.from_environment(read.env)
        except S3SettingsError as error:
            raise SettingsError(str(error)) from error
        if s3.in_the_clear and not s3.allow_http:
            raise SettingsError(
                "AWS_ENDPOINT_URL_S3 is plain HTTP to another machine: whoever is in between may read and change models"
                " and data. Use https://, or set TEMPER_S3_ALLOW_HTTP=1 where the network itself is trusted"
            )
    return uri


def _api_key(read: Reader, host: str, role: Role) -> str | None:
    key = read.secret("API_KEY")
    if key is None:
        # The other roles serve no API: their ports tell health and figures, or check another proof.
        if role in {"embedded", "api"} and not is_loopback(host):
            raise SettingsError(
                f"{PREFIX}HOST={host} can be reached from other machines: set {PREFIX}API_KEY"
                f" (or {PREFIX}API_KEY_FILE), or listen on 127.0.0.1"
            )
        return None
    if len(key) < MIN_API_KEY_CHARS:
        raise SettingsError(f"{PREFIX}API_KEY has fewer than {MIN_API_KEY_CHARS} characters")
    if any(word in key.lower() for word in PLACEHOLDERS):
        raise SettingsError(f"{PREFIX}API_KEY is the placeholder of an example; make one of your own")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise SettingsError(f"{PREFIX}API_KEY has characters that no Authorization header can carry")
    return key


def _broker_tls(env: Mapping[str, str]) -> tuple[Path, Path] | None:
    certificate, key = (env.get(f"{PREFIX}BROKER_TLS_{name}_FILE") for name in ("CERT", "KEY"))
    if (certificate is None) != (key is None):
        raise SettingsError(
            f"{PREFIX}BROKER_TLS_CERT_FILE and {PREFIX}BROKER_TLS_KEY_FILE: one needs the other"
        )
    return None if certificate is None or key is None else (Path(certificate), Path(key))


def _cluster(env: Mapping[str, str]) -> ClusterSettings | None:
    name = f"{PREFIX}CLUSTER_FILE"
    path = env.get(name)
    if path is None:
        return None
    try:
        return read_cluster_settings(Path(path))
    except ClusterSettingsError as error:
        raise SettingsError(f"{name}: {error}") from error


def _database_url(read: Reader, home: Path) -> str:
    text = read.secret("DATABASE_URL") or "sqlite:///" + str(home / "temper.db")
    try:
        url = make_url(text)
    except ArgumentError:
        # Not repeated: it may hold a password.
        raise SettingsError(
            f"{PREFIX}DATABASE_URL: neither sqlite:///path nor postgresql://user@host:port/name"
        ) from None
    if url.drivername in {"postgres", "postgresql"}:
        url = url.set(drivername="postgresql+psycopg")
    password = read.secret("DATABASE_PASSWORD")
    if password is not None:
        url = url.set(password=password)
    return url.render_as_string(hide_password=False)


def _database(read: Reader) -> DatabaseSettings:
    return DatabaseSettings(
        pool_size=read.integer("DATABASE_POOL_SIZE", 20, low=2, high=1000),
        pool_timeout_s=read.number("DATABASE_POOL_TIMEOUT_S", 2.0, low=0.01, high=60.0),
        connect_timeout_s=read.integer("DATABASE_CONNECT_TIMEOUT_S", 5, low=2, high=60),
        statement_timeout_s=read.number("DATABASE_STATEMENT_TIMEOUT_S", 15.0, low=0.01, high=3600.0),
        lock_timeout_s=read.number("DATABASE_LOCK_TIMEOUT_S", 5.0, low=0.01, high=3600.0),
        idle_timeout_s=read.number("DATABASE_IDLE_TIMEOUT_S", 60.0, low=0.1, high=3600.0),
    )


def _local_models(read: Reader, host: str, cluster: ClusterSettings | None) -> bool:
    alone = is_loopback(host) and cluster is None
    wanted = read.flag("LOCAL_MODELS", default=alone)
    if wanted and not is_loopback(host):
        raise SettingsError(
            f"{PREFIX}LOCAL_MODELS would let other machines name this one's files; it needs a loopback host"
        )
    if wanted and not alone:
        raise SettingsError(f"{PREFIX}LOCAL_MODELS: the pods of a cluster do not see this machine's files")
    return wanted

"""What an operator decides about S3, read from the environment: AWS's own names where there are any, else TEMPER_S3_."""

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from typing import Final
from typing import Self
from urllib.parse import urlsplit

from deploy.store.protocol import StoreError

SMALLEST_PART_BYTES: Final = 5 << 20
LARGEST_PART_BYTES: Final = 5 << 30
"""The limits of S3."""
ADDRESSING: Final = ("auto", "path", "virtual")
ENCRYPTION: Final = ("AES256", "aws:kms", "aws:kms:dsse")
CHECKSUMS: Final = ("when_required", "when_supported")
VARIABLES: Final = frozenset(
    f"TEMPER_S3_{name}"
    for name in (
        "ADDRESSING",
        "ALLOW_HTTP",
        "PART_BYTES",
        "CONCURRENCY",
        "CONNECT_TIMEOUT_S",
        "READ_TIMEOUT_S",
        "SSE",
        "KMS_KEY_ID",
        "BUCKET_KEY",
        "STORAGE_CLASS",
        "BUCKET_OWNER",
        "TAGS",
    )
)
"""Ours; what is read beside them are variables that every AWS tool knows."""

_CHECKPOINT: Final = re.compile(r"(^|/)attempts/\d+/[^/]+/checkpoints/")
_KMS_KEY: Final = re.compile(r"[A-Za-z0-9:/_+=,.@-]{1,2048}")
_STORAGE_CLASS: Final = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_ACCOUNT: Final = re.compile(r"[0-9]{12}")


class S3SettingsError(StoreError):
    """A variable has a value that cannot be; the message begins with its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Settings:
    """Where S3 is, how long to wait for it, how objects are written. Credentials come from boto3's usual chain.

    ``max_attempts`` bounds the tries of each request; with ``connect_timeout_s`` and ``read_timeout_s``
    it bounds how long a dead server can hold a call. ``part_size_bytes`` is the unit of multipart uploads
    (S3 wants at least 5 MiB), ``max_concurrency`` how many parts of a file travel at once.
    """

    endpoint_url: str | None = None
    """None is AWS."""
    allow_http: bool = False
    """The operator says that plain HTTP to another machine is meant; a service refuses to start otherwise."""
    region: str = "us-east-1"
    addressing: str = "auto"
    """``https://bucket.host/key`` (virtual) or ``https://host/bucket/key`` (path). ``auto``: virtual at AWS, else path."""
    ca_bundle: Path | None = None
    """Certificates by which the server's is verified; None takes those of botocore."""
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 60.0
    max_attempts: int = 5
    part_size_bytes: int = 8 << 20
    max_concurrency: int = 4
    request_checksums: str | None = None
    """When S3's own checksums are sent. None: ``when_supported`` at AWS, else ``when_required``; our own
    SHA-256 is verified in any case."""
    response_checksums: str | None = None
    """When they are verified; None likewise."""
    sse: str | None = None
    """How objects are encrypted by the server; None leaves that to the bucket."""
    kms_key_id: str | None = None
    bucket_key: bool | None = None
    storage_class: str | None = None
    bucket_owner: str | None = None
    """Account that must own the bucket, or every request is refused: a bucket's name may be taken by others."""
    tags: bool = False
    """Tag checkpoints ``temper=checkpoint``, so that a lifecycle rule can expire them."""

    def __post_init__(self) -> None:
        if min(self.max_attempts, self.part_size_bytes, self.max_concurrency) < 1:
            raise ValueError("max_attempts, part_size_bytes and max_concurrency must be at least 1")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Self:
        """The settings of this process.

        Raises:
            S3SettingsError: a value that cannot be.
        """
        read = _Reader(os.environ if environment is None else environment)
        sse = read.choice("TEMPER_S3_SSE", ENCRYPTION)
        return cls(
            endpoint_url=read.endpoint(),
            allow_http=read.flag("TEMPER_S3_ALLOW_HTTP") or False,
            region=read.first("AWS_REGION", "AWS_DEFAULT_REGION") or "us-east-1",
            addressing=read.choice("TEMPER_S3_ADDRESSING", ADDRESSING) or "auto",
            ca_bundle=read.file("AWS_CA_BUNDLE"),
            connect_timeout_s=read.number("TEMPER_S3_CONNECT_TIMEOUT_S", 5.0, low=0.1, high=600.0),
            read_timeout_s=read.number("TEMPER_S3_READ_TIMEOUT_S", 60.0, low=0.1, high=3600.0),
            max_attempts=int(read.number("AWS_MAX_ATTEMPTS", 5, low=1, high=20)),
            part_size_bytes=int(
                read.number("TEMPER_S3_PART_BYTES", 8 << 20, low=SMALLEST_PART_BYTES, high=LARGEST_PART_BYTES)
            ),
            max_concurrency=int(read.number("TEMPER_S3_CONCURRENCY", 4, low=1, high=64)),
            request_checksums=read.choice("AWS_REQUEST_CHECKSUM_CALCULATION", CHECKSUMS),
            response_checksums=read.choice("AWS_RESPONSE_CHECKSUM_VALIDATION", CHECKSUMS),
            sse=sse,
            kms_key_id=read.of_kms("TEMPER_S3_KMS_KEY_ID", sse, _KMS_KEY),
            bucket_key=read.bucket_key(sse),
            storage_class=read.matching("TEMPER_S3_STORAGE_CLASS", _STORAGE_CLASS),
            bucket_owner=read.matching("TEMPER_S3_BUCKET_OWNER", _ACCOUNT),
            tags=read.flag("TEMPER_S3_TAGS") or False,
        )

    @property
    def owner(self) -> dict[str, str]:
        """What every request says of the bucket's owner."""
        return {"ExpectedBucketOwner": self.bucket_owner} if self.bucket_owner else {}

    @property
    def in_the_clear(self) -> bool:
        """Whether requests leave this machine without encryption."""
        if self.endpoint_url is None or not self.endpoint_url.startswith("http://"):
            return False
        host = urlsplit(self.endpoint_url).hostname or ""
        try:
            return not ipaddress.ip_address(host).is_loopback
        except ValueError:  # a name; 127.0.0.1.example.org is one as well
            return host != "localhost"

    def write_options(self, key: str) -> dict[str, Any]:
        """What a PutObject or a CreateMultipartUpload of a key (from the bucket's root) says beside the bytes."""
        tag = "temper=checkpoint" if self.tags and _CHECKPOINT.search(key) else None
        options = {
            "ServerSideEncryption": self.sse,
            "SSEKMSKeyId": self.kms_key_id,
            "BucketKeyEnabled": self.bucket_key,
            "StorageClass": self.storage_class,
            "Tagging": tag,
        }
        return {name: value for name, value in options.items() if value is not None}


@dataclass(frozen=True, slots=True)
class _Reader:
    """An environment in which an empty variable is one that is not set, as AWS's tools have it."""

    environment: Mapping[str, str]

    def first(self, *names: str) -> str | None:
        return next((self.environment[name] for name in names if self.environment.get(name)), None)

    def choice(self, name: str, among: tuple[str, ...]) -> str | None:
        value = self.first(name)
        known = {word.lower(): word for word in among}
        if value is not None and value.lower() not in known:
            raise S3SettingsError(f"{name}: {value!r} is not one of {', '.join(among)}")
        return None if value is None else known[value.lower()]

    def matching(self, name: str, pattern: re.Pattern[str]) -> str | None:
        value = self.first(name)
        if value is not None and not pattern.fullmatch(value):
            raise S3SettingsError(f"{name}: {value!r} does not match {pattern.pattern}")
        return value

    def number(self, name: str, default: float, *, low: float, high: float) -> float:
        raw = self.first(name)
        if raw is None:
            return default
        kind = type(default)
        try:
            value = kind(raw)
        except ValueError:
            raise S3SettingsError(f"{name}: {raw!r} is not a {'whole ' * (kind is int)}number") from None
        if not low <= value <= high:
            raise S3SettingsError(f"{name}: {raw} is not between {low} and {high}")
        return value

    def flag(self, name: str) -> bool | None:
        value = self.choice(name, ("true", "false", "1", "0", "on", "off"))
        return None if value is None else value in {"true", "1", "on"}

    def file(self, name: str) -> Path | None:
        value = self.first(name)
        if value is None:
            return None
        try:
            with Path(value).open("rb"):
                return Path(value)
        except OSError as error:
            raise S3SettingsError(f"{name}: {value} cannot be read: {error.strerror}") from error

    def endpoint(self) -> str | None:
        for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
            value = self.first(name)
            if value is not None:
                if not _is_endpoint(value):
                    raise S3SettingsError(f"{name}: {value!r} is not http(s)://host[:port]")
                return value
        return None

    def of_kms(self, name: str, sse: str | None, pattern: re.Pattern[str]) -> str | None:
        value = self.matching(name, pattern)
        if value is not None and not (sse or "").startswith("aws:kms"):
            raise S3SettingsError(f"{name}: is of no use without TEMPER_S3_SSE=aws:kms")
        return value

    def bucket_key(self, sse: str | None) -> bool | None:
        value = self.flag("TEMPER_S3_BUCKET_KEY")
        if value is not None and sse != "aws:kms":
            raise S3SettingsError("TEMPER_S3_BUCKET_KEY: is of no use without TEMPER_S3_SSE=aws:kms")
        return value


def _is_endpoint(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return (
            parts.scheme in {"http", "https"}
            and bool(parts.hostname)
            and (parts.port or 1) > 0
            and not (parts.query or parts.fragment or parts.username)
        )
    except ValueError:  # a port that is none
        return False

"""How to reach an S3 server: settings, and the one client that is made of them."""

import os
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from typing import Self

import boto3
from botocore.config import Config

S3Client = Any
"""boto3 makes its clients at run time and ships no types for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Settings:
    """Where S3 is and how long to wait for it. Credentials come from boto3's usual chain.

    ``max_attempts`` bounds the tries of each request; with ``connect_timeout_s`` and ``read_timeout_s``
    it bounds how long a dead server can hold a call. ``part_size_bytes`` is the unit of multipart uploads
    (S3 wants at least 5 MiB), ``max_concurrency`` how many parts of a file travel at once.
    """

    endpoint_url: str | None = None
    region: str = "us-east-1"
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 60.0
    max_attempts: int = 5
    part_size_bytes: int = 8 << 20
    max_concurrency: int = 4

    def __post_init__(self) -> None:
        if min(self.max_attempts, self.part_size_bytes, self.max_concurrency) < 1:
            raise ValueError("max_attempts, part_size_bytes and max_concurrency must be at least 1")

    @classmethod
    def from_environment(cls) -> Self:
        """Endpoint and region as every AWS tool reads them."""
        return cls(
            endpoint_url=os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None,
            region=os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1",
        )


@lru_cache(maxsize=8)
def s3_client(settings: S3Settings) -> S3Client:
    """A thread-safe boto3 client; stores with the same settings share one, with its connections."""
    options: dict[str, Any] = {}
    if settings.endpoint_url:
        # Servers other than AWS often lack virtual hosts and the newer checksum headers. We never
        # depend on the server's checksums: every reader verifies our own SHA-256.
        options = {
            "s3": {"addressing_style": "path"},
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
        }
    config = Config(
        connect_timeout=settings.connect_timeout_s,
        read_timeout=settings.read_timeout_s,
        retries={"mode": "adaptive", "total_max_attempts": settings.max_attempts},
        max_pool_connections=32,
        # Named, because some regions and endpoints still get presigned URLs of the older kind otherwise.
        signature_version="s3v4",
        **options,
    )
    # A session of its own: boto3's default session is not safe to share between threads.
    return boto3.session.Session().client(
        "s3", endpoint_url=settings.endpoint_url, region_name=settings.region, config=config
    )

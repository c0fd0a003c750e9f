"""The one client that is made of the settings."""

from functools import lru_cache
from typing import Any
from typing import Final

import boto3
from botocore.config import Config

from deploy.store.s3_settings import S3Settings

S3Client = Any
"""boto3 makes its clients at run time and ships no types for them."""

CONNECTIONS: Final = 32


@lru_cache(maxsize=8)
def s3_client(settings: S3Settings) -> S3Client:
    """A thread-safe boto3 client; stores with the same settings share one, with its connections."""
    config = Config(
        connect_timeout=settings.connect_timeout_s,
        read_timeout=settings.read_timeout_s,
        retries={"mode": "adaptive", "total_max_attempts": settings.max_attempts},
        max_pool_connections=CONNECTIONS,
        # Named, because some regions and endpoints still get presigned URLs of the older kind otherwise.
        signature_version="s3v4",
        s3={"addressing_style": _addressing(settings)},
        **_checksums(settings),
    )
    # A session of its own: boto3's default session is not safe to share between threads.
    return boto3.session.Session().client(
        "s3",
        endpoint_url=settings.endpoint_url,
        region_name=settings.region,
        verify=None if settings.ca_bundle is None else str(settings.ca_bundle),
        config=config,
    )


def _addressing(settings: S3Settings) -> str:
    if settings.addressing != "auto":
        return settings.addressing
    # Servers other than AWS often lack the names in DNS. botocore's own "auto" would sign URLs for AWS's global
    # name, which redirects where a bucket is new.
    return "path" if settings.endpoint_url else "virtual"


def _checksums(settings: S3Settings) -> dict[str, str]:
    # Servers other than AWS often lack the newer checksum headers.
    usual = "when_supported" if settings.endpoint_url is None else "when_required"
    return {
        "request_checksum_calculation": settings.request_checksums or usual,
        "response_checksum_validation": settings.response_checksums or usual,
    }

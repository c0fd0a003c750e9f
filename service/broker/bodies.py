"""Bodies of requests: bounded, hashed, and never slower than a pod can be.

Covers: bodies larger or smaller than declared, other bytes than declared, cut connections, senders that drip.
"""

import time
from collections.abc import AsyncIterator

from fastapi import Request

from deploy.contract.document import sha256_hex
from deploy.store.broker_wire import SHA256_HEADER
from service.broker.limits import BrokerLimits
from service.errors import BadRequest
from service.errors import RequestTimeout
from service.errors import TooLarge
from service.streaming import body_of

_PATIENCE_S = 30.0
"""That every body gets on top of what its size allows."""


def declared_size(request: Request, *, limit_bytes: int) -> int:
    """Bytes that a request says it sends.

    Raises:
        BadRequest: it does not say so.
        TooLarge: more than may be sent.
    """
    text = request.headers.get("content-length", "")
    if not text.isascii() or not text.isdecimal() or len(text) > 18:
        raise BadRequest("Send content-length.", code="length_required")
    size_bytes = int(text)
    if size_bytes > limit_bytes:
        raise TooLarge(f"The body has {size_bytes} bytes, the limit is {limit_bytes}.")
    return size_bytes


def declared_sha256(request: Request) -> str:
    """The SHA-256 that a request says its body has. Raises BadRequest."""
    digest = request.headers.get(SHA256_HEADER, "")
    if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
        raise BadRequest(f"Send the body's SHA-256 as {SHA256_HEADER}.", code="sha256_required")
    return digest


async def paced(request: Request, size_bytes: int, limits: BrokerLimits) -> AsyncIterator[bytes]:
    """The chunks of a body of ``size_bytes``.

    Raises:
        BadRequest: cut, or of another size.
        RequestTimeout: nothing came for a while, or all of it comes too slowly.
    """
    received = 0
    deadline = time.monotonic() + _PATIENCE_S + size_bytes / limits.least_bytes_per_s
    async for chunk in body_of(request, idle_s=limits.idle_s):
        received += len(chunk)
        if received > size_bytes:
            break
        if time.monotonic() > deadline:
            raise RequestTimeout(f"The body came slower than {limits.least_bytes_per_s} bytes a second.")
        yield chunk
    if received != size_bytes:
        raise BadRequest(f"{received} bytes arrived, declared were {size_bytes}.", code="size_mismatch")


async def small_body(request: Request, limits: BrokerLimits, *, limit_bytes: int) -> bytes:
    """A body whole, with the SHA-256 that was declared.

    Raises:
        BadRequest: cut, or other bytes than declared.
        TooLarge: more than ``limit_bytes``.
        RequestTimeout: it comes too slowly.
    """
    size_bytes, sha256 = declared_size(request, limit_bytes=limit_bytes), declared_sha256(request)
    body = bytearray()
    async for chunk in paced(request, size_bytes, limits):
        body += chunk
    data = bytes(body)
    if (found := sha256_hex(data)) != sha256:
        raise BadRequest(f"The SHA-256 is {found}, declared was {sha256}.", code="sha256_mismatch")
    return data

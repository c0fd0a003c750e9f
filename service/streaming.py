"""Bytes between requests and the object store, in constant memory.

The store blocks, requests do not: a worker thread runs the store and pulls each chunk out of the
event loop when it is ready for it, so a slow store slows its sender down instead of filling memory.
"""

import hashlib
import time
from collections.abc import AsyncIterator
from collections.abc import Iterator
from typing import Final
from urllib.parse import quote

import anyio
from anyio.from_thread import run as run_in_loop
from anyio.to_thread import run_sync
from fastapi import Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.responses import StreamingResponse

from deploy.contract.document import StoredFile
from deploy.store.protocol import ObjectMissing
from deploy.store.protocol import ObjectStore
from service.context import Context
from service.errors import BadRequest
from service.errors import NotFound
from service.errors import RequestTimeout
from service.errors import TooLarge

END: Final = b""
LEAST_BYTES_PER_S: Final = 1024
"""Slower bodies are cut, once they have been waited for as long as one may be silent; a modem of 1990 was faster."""


async def body_of(request: Request, *, idle_s: float) -> AsyncIterator[bytes]:
    """The chunks of a request's body.

    Raises:
        BadRequest: the connection was cut before the body's end.
        RequestTimeout: nothing came for ``idle_s`` seconds, or all of it comes too slowly.
    """
    stream = request.stream()
    waited_s, received = 0.0, 0
    while True:
        began = time.monotonic()
        try:
            with anyio.fail_after(idle_s):
                chunk = await anext(stream, None)
        except TimeoutError as error:
            raise RequestTimeout(f"Nothing was received for {idle_s:g} s.") from error
        except ClientDisconnect as error:
            raise BadRequest("The body was cut.", code="body_cut") from error
        if chunk is None:
            return
        # Not the time that the store takes: a slow store is not the sender's fault.
        waited_s, received = waited_s + time.monotonic() - began, received + len(chunk)
        if waited_s > idle_s + received / LEAST_BYTES_PER_S:
            raise RequestTimeout(f"The body came slower than {LEAST_BYTES_PER_S} bytes a second.")
        if chunk:
            yield chunk


async def bounded(chunks: AsyncIterator[bytes], *, limit_bytes: int, param: str) -> AsyncIterator[bytes]:
    """Pass chunks on. Raises TooLarge once there are more than ``limit_bytes``."""
    received = 0
    async for chunk in chunks:
        received += len(chunk)
        if received > limit_bytes:
            raise TooLarge(f"{param}: larger than {limit_bytes} bytes.", param=param)
        yield chunk


async def verified(
    chunks: AsyncIterator[bytes], *, size_bytes: int, sha256: str, param: str
) -> AsyncIterator[bytes]:
    """Pass chunks on. Raises BadRequest at their end unless size and hash are those declared."""
    digest = hashlib.sha256()
    received = 0
    async for chunk in chunks:
        received += len(chunk)
        if received > size_bytes:
            raise BadRequest(
                f"{param}: more than the declared {size_bytes} bytes.", code="size_mismatch", param=param
            )
        digest.update(chunk)
        yield chunk
    if received != size_bytes:
        raise BadRequest(
            f"{param}: {received} bytes, declared were {size_bytes}.", code="size_mismatch", param=param
        )
    if digest.hexdigest() != sha256:
        raise BadRequest(
            f"{param}: the SHA-256 is {digest.hexdigest()}, declared was {sha256}.",
            code="sha256_mismatch",
            param=param,
        )


async def store_stream(context: Context, key: str, chunks: AsyncIterator[bytes]) -> StoredFile:
    """Write chunks as one object. Whatever they raise comes out, with nothing left visible."""

    def put() -> StoredFile:
        return context.store.put(key, _pulled(chunks))

    stored = await run_sync(put, limiter=context.transfers)
    context.metrics.received.inc(stored.size_bytes)
    return stored


def _pulled(chunks: AsyncIterator[bytes]) -> Iterator[bytes]:
    while chunk := run_in_loop(_next, chunks):
        yield chunk


async def _next(chunks: AsyncIterator[bytes]) -> bytes:
    # StopAsyncIteration cannot cross into a synchronous generator; no chunk is empty, so that marks the end.
    return await anext(chunks, END)


def object_response(store: ObjectStore, key: str, *, size_bytes: int, filename: str) -> Response:
    """An object's bytes as a download that no browser renders. Raises NotFound when it is gone."""
    try:
        chunks = store.read(key)
        first = next(chunks, END)
    except ObjectMissing as error:
        raise NotFound("The content is not there any more.", code="content_missing") from error

    def body() -> Iterator[bytes]:
        yield first
        yield from chunks

    return StreamingResponse(
        body(),
        media_type="application/octet-stream",
        headers={
            "content-length": str(size_bytes),
            "content-disposition": f"attachment; filename*=UTF-8''{quote(filename, safe='')}",
            "x-content-type-options": "nosniff",
            "cache-control": "private, no-store",
        },
    )

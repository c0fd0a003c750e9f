"""Bytes between requests and the object store, in constant memory.

The store blocks, requests do not: a worker thread runs the store and takes blocks out of the event
loop, which receives the next ones meanwhile, a few and no more: a slow store slows its sender down
instead of filling memory.
"""

import hashlib
import time
from collections.abc import AsyncIterator
from collections.abc import Awaitable
from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from typing import TypeVar
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

Result = TypeVar("Result")
END: Final = b""
BLOCK_BYTES: Final = 1 << 20
BLOCKS_AHEAD: Final = 2
LEAST_BYTES_PER_S: Final = 1024
"""Slower bodies are cut, once they have been waited for as long as one may be silent; a modem of 1990 was faster."""


@dataclass(frozen=True, slots=True)
class _Raised:
    error: Exception


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

    async def in_worker(put: Callable[[], None]) -> None:
        await run_sync(put, limiter=context.transfers)

    stored = await pumped(chunks, lambda blocks: context.store.put(key, blocks), run=in_worker)
    context.metrics.received.inc(stored.size_bytes)
    return stored


async def pumped(
    chunks: AsyncIterator[bytes],
    consume: Callable[[Iterator[bytes]], Result],
    *,
    run: Callable[[Callable[[], None]], Awaitable[None]],
) -> Result:
    """What ``consume`` makes of the chunks, in a thread of ``run``, while the next ones are received.

    Whatever the chunks or ``consume`` raise comes out. At most ``BLOCKS_AHEAD`` + 2 blocks of
    ``BLOCK_BYTES`` (and one chunk each) are in memory.
    """
    sender, receiver = anyio.create_memory_object_stream[bytes | Exception](BLOCKS_AHEAD)
    outcome: list[Result | _Raised] = []

    async def fill() -> None:
        with sender:
            try:
                async for block in _blocks(chunks):
                    await sender.send(block)
                await sender.send(END)
            except Exception as error:
                # A stream that is closed without its mark is an error to the one who reads it.
                await sender.send(error)

    def received() -> Iterator[bytes]:
        while block := run_in_loop(receiver.receive):
            if isinstance(block, Exception):
                raise block
            yield block

    def consumed() -> None:
        # Carried out by hand: a task group would wrap it in an ExceptionGroup.
        try:
            outcome.append(consume(received()))
        except Exception as error:
            outcome.append(_Raised(error))

    with receiver:
        async with anyio.create_task_group() as filling:
            filling.start_soon(fill)
            await run(consumed)
            filling.cancel_scope.cancel()
    (result,) = outcome
    if isinstance(result, _Raised):
        raise result.error
    return result


async def _blocks(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in larger pieces: each of them costs a way between threads."""
    block: list[bytes] = []
    held = 0
    async for chunk in chunks:
        block.append(chunk)
        held += len(chunk)
        if held >= BLOCK_BYTES:
            yield b"".join(block)
            block.clear()
            held = 0
    if block:
        yield b"".join(block)


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

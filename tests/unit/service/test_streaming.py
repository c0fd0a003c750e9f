"""A body on its way into the store: what comes out when either side fails, and how much is held."""

import threading
from collections.abc import AsyncIterator
from collections.abc import Callable
from collections.abc import Iterator

import anyio
import pytest
from anyio.to_thread import run_sync

from service.errors import BadRequest
from service.streaming import BLOCK_BYTES
from service.streaming import BLOCKS_AHEAD
from service.streaming import pumped

CHUNK = 64 * 1024


class StoreFull(Exception):  # noqa: N818 - it names a fact
    pass


async def in_thread(work: Callable[[], None]) -> None:
    await run_sync(work)


def pump(chunks: AsyncIterator[bytes], consume: Callable[[Iterator[bytes]], object]) -> object:
    async def main() -> object:
        with anyio.fail_after(30):
            return await pumped(chunks, consume, run=in_thread)

    return anyio.run(main)


async def body(*parts: bytes, end: Exception | None = None) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
    if end is not None:
        raise end


@pytest.mark.parametrize(
    "parts",
    [
        (),
        (b"a",),
        (b"a" * CHUNK, b"b" * CHUNK),
        (b"a" * BLOCK_BYTES,),
        (b"a" * (BLOCK_BYTES - 1), b"bc", b"d"),
        tuple(bytes([i % 256]) * CHUNK for i in range(100)),
        (b"x" * (5 * BLOCK_BYTES), b"y"),
    ],
    ids=["nothing", "a byte", "less than a block", "a block", "over the edge", "many", "a large chunk"],
)
def test_the_bytes_arrive_as_they_were(parts: tuple[bytes, ...]) -> None:
    assert pump(body(*parts), b"".join) == b"".join(parts)


def test_what_the_store_says_comes_out() -> None:
    def full(blocks: Iterator[bytes]) -> None:
        next(blocks)
        raise StoreFull("no space")

    with pytest.raises(StoreFull, match="no space"):
        pump(body(*[b"a" * CHUNK] * 200), full)


def test_a_store_that_fails_before_it_reads_does_not_wait_for_the_sender() -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield b"a"
        await anyio.sleep_forever()

    def full(blocks: Iterator[bytes]) -> None:
        raise StoreFull

    with pytest.raises(StoreFull):
        pump(endless(), full)


def test_a_store_that_stops_reading_ends_the_reception() -> None:
    ended = threading.Event()

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"a" * BLOCK_BYTES
        finally:
            ended.set()

    assert pump(endless(), lambda blocks: len(next(blocks))) == BLOCK_BYTES
    assert ended.is_set()


@pytest.mark.parametrize("sent", [0, 1, BLOCK_BYTES, 3 * BLOCK_BYTES + 1])
def test_a_cut_body_is_an_error_and_never_an_end(sent: int) -> None:
    """The store must see the error while it reads: what returns normally would make the object visible."""
    seen: list[str] = []

    def put(blocks: Iterator[bytes]) -> None:
        try:
            for _ in blocks:
                pass
        except BadRequest:
            seen.append("cut")
            raise
        seen.append("end")

    with pytest.raises(BadRequest, match="was cut"):
        pump(body(b"a" * sent, end=BadRequest("The body was cut.")), put)
    assert seen == ["cut"]


def test_a_request_that_is_cancelled_never_ends_well_for_the_store() -> None:
    seen: list[str] = []

    async def stalled() -> AsyncIterator[bytes]:
        yield b"a" * BLOCK_BYTES
        await anyio.sleep_forever()

    def put(blocks: Iterator[bytes]) -> None:
        try:
            for _ in blocks:
                pass
        except BaseException as error:
            seen.append(type(error).__name__)
            raise
        seen.append("end")

    async def main() -> None:
        with anyio.move_on_after(0.3) as scope:
            await pumped(stalled(), put, run=in_thread)
        assert scope.cancelled_caught

    with anyio.from_thread.start_blocking_portal() as portal:
        portal.start_task_soon(main).result(timeout=30)
    assert seen
    assert "end" not in seen


def test_the_next_bytes_are_received_while_the_store_writes() -> None:
    """The store holds its first block until later ones have been received; alone, it would wait forever."""
    received = threading.Semaphore(0)

    async def counted() -> AsyncIterator[bytes]:
        for _ in range(8):
            received.release()
            yield b"a" * BLOCK_BYTES

    def put(blocks: Iterator[bytes]) -> int:
        size = len(next(blocks))
        for _ in range(1 + BLOCKS_AHEAD):  # the one that it holds, and those ahead
            assert received.acquire(timeout=20)
        return size + sum(len(block) for block in blocks)

    assert pump(counted(), put) == 8 * BLOCK_BYTES


def test_a_slow_store_slows_the_sender_down() -> None:
    most, held = 0, 0
    lock = threading.Lock()

    async def counted() -> AsyncIterator[bytes]:
        nonlocal held, most
        for _ in range(40):
            with lock:
                held += 1
                most = max(most, held)
            yield b"a" * BLOCK_BYTES
            await anyio.sleep(0)

    def put(blocks: Iterator[bytes]) -> None:
        nonlocal held
        for _ in blocks:
            threading.Event().wait(0.005)
            with lock:
                held -= 1

    pump(counted(), put)
    assert held == 0
    assert BLOCKS_AHEAD < most <= BLOCKS_AHEAD + 3

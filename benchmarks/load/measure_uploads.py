"""Section ``uploads``: a large file through the service against the same bytes straight into the store."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psutil

from benchmarks.load.place import Place
from benchmarks.load.traffic import upload
from benchmarks.record import Bar
from benchmarks.record import Measurement
from benchmarks.record import Section
from benchmarks.session import Settings
from benchmarks.session import Watch
from benchmarks.session import finish
from benchmarks.timing import Variant
from benchmarks.timing import ratio_of
from benchmarks.timing import scaled
from benchmarks.timing import spread_of
from benchmarks.timing import take_turns
from deploy.store.directory import DirStore

MIB: Final = 1 << 20
RATE_LIMIT: Final = 0.8
MEMORY_LIMIT_MIB: Final = 20.0
_BLOCK: Final = bytes(range(256)) * (MIB // 256)
_LOOK_EVERY_S: Final = 0.02


def measure_uploads(place: Place, settings: Settings, watch: Watch, *, size_mib: int) -> Section:
    """By turns."""
    watch.progress.begin("uploads", 2 * settings.rounds)
    raw = DirStore(place.home / "raw")

    def blocks() -> Iterator[bytes]:
        return (_BLOCK for _ in range(size_mib))

    def straight() -> None:
        raw.put("file", blocks())

    def through() -> None:
        upload(place, blocks(), size_mib * MIB)

    through()  # buffers and threads that are made once do not count
    variants = [Variant(name="straight", run=straight), Variant(name="through the service", run=through)]
    with _growth_mib(place.pid) as grown:
        timed = take_turns(variants, rounds=settings.rounds, tick=watch.tick, clock=time.perf_counter)
    seconds = timed.seconds
    rates = {
        name: spread_of([size_mib / each for each in spread.samples]) for name, spread in seconds.items()
    }
    return finish(
        "uploads",
        "A large file through the service",
        shape={"file": f"{size_mib} MiB", "store": "a directory"},
        settings=settings,
        watch=watch,
        timed=None,
        measurements=[
            Measurement(variant=name, quantity="rate", unit="MiB/s", spread=each)
            for name, each in rates.items()
        ],
        bars=[
            Bar(
                what="rate through the service / straight into the store",
                measured=ratio_of(seconds["straight"], seconds["through the service"]),
                limit=RATE_LIMIT,
                at_least=True,
            ),
            Bar(
                what="memory that the service takes meanwhile",
                measured=scaled(spread_of([max(grown[0], 0.01)]), 1.0),
                limit=MEMORY_LIMIT_MIB,
                unit="MiB",
            ),
        ],
        notes=[
            "Client and service share the cores; the service hashes every byte, which the store alone does too."
        ],
        failures=[],
    )


@contextmanager
def _growth_mib(pid: int) -> Iterator[list[float]]:
    """How much more memory than at the beginning a process held at most, in a list of one."""
    process, over, found = psutil.Process(pid), threading.Event(), [0.0]
    before = process.memory_info().rss

    def look() -> None:
        while not over.wait(_LOOK_EVERY_S):
            found[0] = max(found[0], (process.memory_info().rss - before) / MIB)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()

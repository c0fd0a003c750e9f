"""Work that may block (the store, the launcher), done by a few threads so that a tick never waits for one slow object.

At most one errand of a key goes on, and only so many in all: whatever finds no place is decided anew by the next
tick. What an errand returns is called by the reconciler's own thread, which therefore needs no locks.
"""

import time
from collections.abc import Callable
from collections.abc import Hashable
from concurrent.futures import FIRST_COMPLETED
from concurrent.futures import Future
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import wait
from typing import Final

WORKERS: Final = 16
AT_MOST: Final = 64
Continuation = Callable[[], None]
Errand = Callable[[], Continuation | None]


class Errands:
    """Keyed errands. Not thread-safe: only the reconciler's thread talks to it."""

    def __init__(self, *, workers: int = WORKERS, at_most: int = AT_MOST) -> None:
        self._pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="errand")
        self._at_most = at_most
        self._going: dict[Hashable, Future[Continuation | None]] = {}
        self._ended: list[Future[Continuation | None]] = []
        self._fresh: set[Hashable] = set()

    def busy(self, key: Hashable) -> bool:
        """Whether an errand of this key goes on."""
        return key in self._going

    def begin(self, key: Hashable, errand: Errand, *, until: float) -> bool:
        """Begin an errand as soon as there is a place. Returns False when none came free by ``until`` (monotonic).

        Raises ValueError for a key that is busy.
        """
        if key in self._going:
            raise ValueError(f"{key} is busy")
        while len(self._going) >= self._at_most:
            left_s = until - time.monotonic()
            if (
                left_s <= 0
                or not wait(self._going.values(), timeout=left_s, return_when=FIRST_COMPLETED).done
            ):
                return False
            self._collect()
        self._going[key] = self._pool.submit(errand)
        self._fresh.add(key)
        return True

    def finish(self, *, until: float) -> list[BaseException]:
        """Wait for the errands begun since the last call, no longer than ``until``, then call what has been returned.

        Returns what errands raised: defects, which must not keep others from being done.
        """
        fresh = [future for key, future in self._going.items() if key in self._fresh]
        self._fresh.clear()
        wait(fresh, timeout=max(0.0, until - time.monotonic()))
        self._collect()
        ended, self._ended = self._ended, []
        defects: list[BaseException] = []
        for future in ended:
            defect = future.exception()
            if defect is not None:
                defects.append(defect)
                continue
            continuation = future.result()
            if continuation is not None:
                continuation()
        return defects

    def wait(self) -> None:
        """Until everything that was begun has ended."""
        wait(self._going.values())

    def close(self) -> None:
        """Begin nothing more; wait for what is going on."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _collect(self) -> None:
        for key in [key for key, future in self._going.items() if future.done()]:
            self._ended.append(self._going.pop(key))

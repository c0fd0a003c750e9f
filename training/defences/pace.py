"""Keeps a filter's many small steps from flooding whoever watches."""

import time
from collections.abc import Callable
from typing import Final

from training.defences.row_filter import OnFilterProgress

EVERY_S: Final = 1.0


class Pace:
    """Passes progress on about once a second, and always at the end of a stage."""

    def __init__(
        self, on_progress: OnFilterProgress, *, total: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._on_progress = on_progress
        self._total = total
        self._clock = clock
        self._said_at = -float("inf")
        self._said = ""

    def step(self, done: int, what: str) -> None:
        """So many steps are done. Raises whatever the watcher raises, to stop."""
        now = self._clock()
        if what != self._said or done == self._total or now - self._said_at >= EVERY_S:
            self._said, self._said_at = what, now
            self._on_progress(done, self._total, what)

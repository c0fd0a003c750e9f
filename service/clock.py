"""The time of day, injected so that tests own it."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from typing import Protocol

from sqlalchemy.exc import SQLAlchemyError

RESYNC_S: Final = 30.0


class Clock(Protocol):
    """Tells the time."""

    def now(self) -> float:
        """Unix seconds. Shown to users and used for expiry."""
        ...


@dataclass(frozen=True, slots=True)
class SystemClock:
    """The machine's own clock."""

    def now(self) -> float:
        """Unix seconds."""
        return time.time()


class SharedClock:
    """The clock of the database that all processes share.

    It is read now and then; in between, time goes on by this machine's monotonic clock. So what one
    process wrote, another can compare with: whatever somebody does to the machine's own time of day.
    """

    def __init__(self, read: Callable[[], float], *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._monotonic = monotonic
        self._reading = threading.Lock()
        self._offset: float | None = None
        self._read_at = 0.0

    def now(self) -> float:
        """Unix seconds. Raises whatever the shared clock raises, but only before its first reading."""
        offset = self._offset
        if offset is None:
            with self._reading:
                offset = self._offset if self._offset is not None else self._synchronise()
        elif self._monotonic() - self._read_at > RESYNC_S and self._reading.acquire(blocking=False):
            # The others go on with what was read last; so does this one, when it cannot be read now.
            try:
                offset = self._synchronise()
            except SQLAlchemyError:
                self._read_at = self._monotonic()
            finally:
                self._reading.release()
        return self._monotonic() + offset

    def _synchronise(self) -> float:
        asked = self._monotonic()
        told = self._read()
        answered = self._monotonic()
        # It was read somewhere in between.
        self._offset, self._read_at = told - (asked + answered) / 2, answered
        return self._offset


def seconds(clock: Clock) -> int:
    """Whole Unix seconds, as the API shows every time."""
    return int(clock.now())

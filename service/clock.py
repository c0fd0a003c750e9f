"""The time of day, injected so that tests own it."""

import time
from dataclasses import dataclass
from typing import Protocol


class Clock(Protocol):
    """Tells the time."""

    def now(self) -> float:
        """Unix seconds. Shown to users and used for expiry; never compared with another machine's."""
        ...


@dataclass(frozen=True, slots=True)
class SystemClock:
    """The machine's own clock."""

    def now(self) -> float:
        """Unix seconds."""
        return time.time()


def seconds(clock: Clock) -> int:
    """Whole Unix seconds, as the API shows every time."""
    return int(clock.now())

"""How long probing may take."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from training.probing.engine import ProbingTimeUpError

OnProbeProgress = Callable[[int, int, str], None]
"""Steps done, steps in all, what is happening. May raise, to stop; nothing is left running."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeLimit:
    """From now on, or for ever."""

    seconds: float | None
    ends_at: float | None
    """On the monotonic clock."""

    @classmethod
    def start(cls, seconds: float | None) -> Self:
        """The time runs."""
        return cls(seconds=seconds, ends_at=None if seconds is None else time.monotonic() + seconds)

    def half(self) -> "TimeLimit":
        """Half of the whole time, from now on."""
        return TimeLimit.start(None if self.seconds is None else self.seconds / 2)

    def watch(self, on_progress: OnProbeProgress) -> OnProbeProgress:
        """``on_progress``, which stops what tells of its progress when the time is up.

        Raises (the result, when called):
            ProbingTimeUpError: the time is up.
        """

        def relay(done: int, total: int, message: str) -> None:
            on_progress(done, total, message)
            if self.ends_at is not None and time.monotonic() > self.ends_at:
                raise ProbingTimeUpError(f"{message}: {done} of {total} done after {self.seconds:g} s")

        return relay

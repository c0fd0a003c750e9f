"""How much of the broker one caller may have at a time: requests a second, and requests going on."""

import time
from collections import OrderedDict
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from service.errors import TooMany

MOST_CALLERS: Final = 10_000
"""Remembered; whoever has been silent the longest is forgotten, with nothing on their account."""


@dataclass(slots=True)
class _Caller:
    tokens: float
    filled_at: float
    in_flight: int = 0


class Admission:
    """A token bucket and a count for each caller. Used from the event loop alone.

    Args:
        per_s: requests that a caller gets back each second.
        burst: requests that it can save up.
        in_flight: requests of it at a time.
        monotonic: seconds.
    """

    def __init__(
        self,
        *,
        per_s: float,
        burst: int,
        in_flight: int,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._per_s = per_s
        self._burst = burst
        self._in_flight = in_flight
        self._monotonic = monotonic
        self._callers: OrderedDict[str, _Caller] = OrderedDict()

    def take(self, caller: str) -> None:
        """Count one request. Raises TooMany when there are too many."""
        self._take(self._known(caller))

    @contextmanager
    def admitted(self, caller: str) -> Iterator[None]:
        """Count one request for as long as it lasts. Raises TooMany when there are too many."""
        known = self._known(caller)
        if known.in_flight >= self._in_flight:
            raise _too_many(f"More than {self._in_flight} requests of this pod at a time.", after_s=1)
        self._take(known)
        known.in_flight += 1
        try:
            yield
        finally:
            known.in_flight -= 1

    def _known(self, caller: str) -> _Caller:
        known = self._callers.get(caller)
        if known is None:
            known = self._callers[caller] = _Caller(tokens=float(self._burst), filled_at=self._monotonic())
            while len(self._callers) > MOST_CALLERS:
                self._callers.popitem(last=False)
        self._callers.move_to_end(caller)
        return known

    def _take(self, known: _Caller) -> None:
        now = self._monotonic()
        known.tokens = min(float(self._burst), known.tokens + (now - known.filled_at) * self._per_s)
        known.filled_at = now
        if known.tokens < 1.0:
            wait_s = (1.0 - known.tokens) / self._per_s
            raise _too_many(f"More than {self._per_s:g} requests a second.", after_s=int(wait_s) + 1)
        known.tokens -= 1.0


def _too_many(message: str, *, after_s: int) -> TooMany:
    return TooMany(message, headers={"retry-after": str(after_s)})

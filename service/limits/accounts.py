"""What one process has been handed of the limits of one project, and spends by itself. Pure: no database, no clock.

Thread-safe. Times are monotonic seconds of the process, counted from before the database was asked, so that a
portion is over here before its window is over there.
"""

import threading
from dataclasses import dataclass
from dataclasses import field


@dataclass(slots=True)
class RateAccount:
    """A portion of a limit on a rate."""

    limit: int = 0
    spare: int = 0
    """Granted and not spent; below 0 what was spent beyond, which the next portion pays for."""
    left: int = 0
    """In the window, as the database had it last, for everybody."""
    began_at: int = -1
    """Of the window, by the database's clock."""
    valid_until: float = 0.0
    refused: int | None = None
    """Fewest of which there was not enough left."""
    refused_until: float = 0.0
    spent_at: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)
    asking: threading.Lock = field(default_factory=threading.Lock)
    """Held by the one thread that asks the database for more."""

    def spend(self, amount: int, now: float) -> bool:
        """Spend of what there is. Returns whether there was enough."""
        with self.lock:
            if now >= self.valid_until or self.spare < amount:
                return False
            self.spare -= amount
            self.spent_at = now
            return True

    def is_refused(self, amount: int, now: float) -> bool:
        """Whether the database said a moment ago that there is not so much left."""
        with self.lock:
            return self.refused is not None and amount >= self.refused and now < self.refused_until

    def settle(self, amount: int, *, began_at: int, now: float) -> None:
        """Add what was reserved and not spent; a negative amount was spent beyond. Nothing in another window."""
        with self.lock:
            if self.began_at == began_at and now < self.valid_until:
                self.spare += amount

    def balance(self, now: float) -> int:
        """What is there; below 0 what the next portion has to pay for."""
        with self.lock:
            return self.spare if now < self.valid_until else 0

    def put(self, granted: int, *, limit: int, left: int, began_at: int, valid_until: float) -> None:
        """Add a portion."""
        with self.lock:
            if began_at != self.began_at:
                self.spare = 0
            self.spare += granted
            self.limit, self.left = limit, left
            self.began_at, self.valid_until = began_at, valid_until
            self.refused = None

    def refuse(self, amount: int, *, until: float) -> None:
        """Remember that there is not so much left, so that the next ones cost no question."""
        with self.lock:
            self.refused, self.refused_until = amount, until

    def empty(self, now: float) -> tuple[int, int]:
        """Take out what may be returned, and of which window."""
        with self.lock:
            if now >= self.valid_until or self.spare <= 0:
                return 0, self.began_at
            spare, self.spare = self.spare, 0
            return spare, self.began_at

    def remaining(self) -> int:
        """Of the window, as far as this process knows."""
        with self.lock:
            return max(self.spare, 0) + self.left


@dataclass(slots=True)
class PlacesAccount:
    """Places of a limit on things at once."""

    held: int = 0
    in_use: int = 0
    valid_until: float = 0.0
    refused_until: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)
    asking: threading.Lock = field(default_factory=threading.Lock)

    def enter(self, now: float) -> bool:
        """Take a free place that is held. Returns whether there was one."""
        with self.lock:
            if now >= self.valid_until or self.in_use >= self.held:
                return False
            self.in_use += 1
            return True

    def leave(self) -> None:
        """Free a place."""
        with self.lock:
            self.in_use -= 1

    def put(self, held: int, *, valid_until: float) -> None:
        """Hold so many from now on."""
        with self.lock:
            self.held, self.valid_until = held, valid_until

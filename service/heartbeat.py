"""Signs of life of the threads that work beside the requests."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field


@dataclass(slots=True)
class Heartbeat:
    """One thread's sign of life."""

    max_age_s: float
    monotonic: Callable[[], float]
    _last: float = field(init=False)

    def __post_init__(self) -> None:
        self._last = self.monotonic()

    def beat(self) -> None:
        """Still alive."""
        self._last = self.monotonic()

    @property
    def age_s(self) -> float:
        """Seconds since the last beat."""
        return self.monotonic() - self._last

    @property
    def alive(self) -> bool:
        """Whether the last beat is young enough."""
        return self.age_s <= self.max_age_s


class Heartbeats:
    """All signs of life of a process, by the thread's name."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._by_name: dict[str, Heartbeat] = {}

    def register(self, name: str, *, max_age_s: float) -> Heartbeat:
        """From now on the service is ready only while this one beats."""
        heartbeat = Heartbeat(max_age_s=max_age_s, monotonic=self._monotonic)
        with self._lock:
            self._by_name[name] = heartbeat
        return heartbeat

    def forget(self, name: str) -> None:
        """This thread has ended as it should; the service is ready without it."""
        with self._lock:
            self._by_name.pop(name, None)

    def age_s(self, name: str) -> float:
        """Seconds since the last beat of one thread; 0 of one that is not registered."""
        with self._lock:
            heartbeat = self._by_name.get(name)
        return 0.0 if heartbeat is None else heartbeat.age_s

    def silent(self) -> list[str]:
        """Names of those that have not beaten in time."""
        with self._lock:
            return sorted(name for name, heartbeat in self._by_name.items() if not heartbeat.alive)

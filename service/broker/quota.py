"""How much one pod has stored, so that a hostile job cannot fill the bucket.

What lies below the pod's prefix is counted in the store when the pod first writes through this process, and again
before it is refused; in between, what passes here is added up. With several replicas a pod can so exceed its quota by
what it writes through the others between two counts.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field
from typing import ClassVar
from typing import Final

from deploy.store.protocol import ObjectStore
from service.broker.limits import BrokerLimits
from service.errors import ServiceError
from service.errors import TooMany

MOST_PODS: Final = 10_000
RECOUNT_S: Final = 60.0
"""Between two counts of a pod that is over its quota: a listing costs the store more than a refusal costs us."""
FORGOTTEN_S: Final = 3600.0
"""Without a sign of life, after which a large write counts as given up."""


class QuotaExceeded(ServiceError):  # noqa: N818 - the names of HTTP
    """A pod has stored all that it may."""

    status: ClassVar[int] = 507
    default_code: ClassVar[str] = "quota_exceeded"

    def __init__(self, message: str) -> None:
        super().__init__(message, headers={"x-should-retry": "false"})


@dataclass(slots=True)
class _Begun:
    """A large write: the bytes of its parts, by number."""

    parts: dict[int, int] = field(default_factory=dict)
    seen_at: float = 0.0


@dataclass(slots=True)
class _Usage:
    lock: threading.Lock = field(default_factory=threading.Lock)
    objects: int = 0
    size_bytes: int = 0
    counted_at: float | None = None
    outdated: bool = False
    """Something was deleted or overwritten since."""
    begun: dict[str, _Begun] = field(default_factory=dict)

    @property
    def reserved_bytes(self) -> int:
        return sum(sum(one.parts.values()) for one in self.begun.values())


class Quotas:
    """The accounts of all pods. Thread-safe; may list the store."""

    def __init__(
        self, store: ObjectStore, limits: BrokerLimits, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._limits = limits
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._usages: OrderedDict[str, _Usage] = OrderedDict()

    def add(self, prefix: str, size_bytes: int) -> None:
        """An object is about to be written below a pod's prefix. Raises QuotaExceeded."""
        usage = self._usage(prefix)
        with usage.lock:
            self._make_room(usage, prefix, objects=1, size_bytes=size_bytes)
            usage.objects += 1
            usage.size_bytes += size_bytes

    def begin(self, prefix: str, upload_id: str) -> None:
        """A large write has begun. Raises QuotaExceeded, TooMany."""
        usage = self._usage(prefix)
        with usage.lock:
            oldest = self._monotonic() - FORGOTTEN_S
            usage.begun = {name: one for name, one in usage.begun.items() if one.seen_at >= oldest}
            if len(usage.begun) >= self._limits.max_uploads:
                raise TooMany(f"More than {self._limits.max_uploads} large writes of this pod have begun.")
            self._make_room(usage, prefix, objects=1, size_bytes=0)
            usage.begun[upload_id] = _Begun(seen_at=self._monotonic())

    def add_part(self, prefix: str, upload_id: str, number: int, size_bytes: int) -> None:
        """A part is about to be sent, perhaps again. Raises QuotaExceeded."""
        usage = self._usage(prefix)
        with usage.lock:
            # Begun at another replica, or before a restart, when it is not known here.
            begun = usage.begun.setdefault(upload_id, _Begun())
            begun.seen_at = self._monotonic()
            more = size_bytes - begun.parts.get(number, 0)
            if more > 0:
                self._make_room(usage, prefix, objects=0, size_bytes=more)
            begun.parts[number] = max(size_bytes, begun.parts.get(number, 0))

    def completed(self, prefix: str, upload_id: str, size_bytes: int) -> None:
        """A large write has become an object."""
        usage = self._usage(prefix)
        with usage.lock:
            if usage.begun.pop(upload_id, None) is not None:
                usage.objects += 1
                usage.size_bytes += size_bytes

    def given_up(self, prefix: str, upload_id: str) -> None:
        """A large write will not become an object."""
        usage = self._usage(prefix)
        with usage.lock:
            usage.begun.pop(upload_id, None)

    def deleted(self, prefix: str) -> None:
        """Something of the pod is gone: counting again is worth it."""
        self._usage(prefix).outdated = True

    def _usage(self, prefix: str) -> _Usage:
        with self._lock:
            usage = self._usages.setdefault(prefix, _Usage())
            self._usages.move_to_end(prefix)
            while len(self._usages) > MOST_PODS:
                self._usages.popitem(last=False)
            return usage

    def _make_room(self, usage: _Usage, prefix: str, *, objects: int, size_bytes: int) -> None:
        if usage.counted_at is None:
            self._count(usage, prefix)
        if self._fits(usage, objects, size_bytes):
            return
        if usage.outdated or self._monotonic() - (usage.counted_at or 0.0) >= RECOUNT_S:
            self._count(usage, prefix)
        if not self._fits(usage, objects, size_bytes):
            raise QuotaExceeded(
                f"This pod has stored {usage.objects} objects with {usage.size_bytes} bytes and is storing"
                f" {usage.reserved_bytes} more; its quota is {self._limits.max_objects} objects with"
                f" {self._limits.max_bytes} bytes."
            )

    def _fits(self, usage: _Usage, objects: int, size_bytes: int) -> bool:
        return (
            usage.objects + objects <= self._limits.max_objects
            and usage.size_bytes + usage.reserved_bytes + size_bytes <= self._limits.max_bytes
        )

    def _count(self, usage: _Usage, prefix: str) -> None:
        usage.objects = usage.size_bytes = 0
        for info in self._store.list(prefix):
            usage.objects += 1
            usage.size_bytes += info.size_bytes
        usage.counted_at = self._monotonic()
        usage.outdated = False

"""Progress of a job, appended to the store in numbered segments that nobody overwrites."""

import time
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any
from typing import Literal

from deploy.contract import layout
from deploy.contract.event import JobEvent
from deploy.contract.event import Phase
from deploy.store.protocol import ObjectStore


class EventWriter:
    """Numbers events and writes them in batches, at most one segment every ``flush_every_s``.

    An object store cannot append, and one object an event would be one request a second and arm.
    """

    def __init__(
        self,
        store: ObjectStore,
        *,
        job_id: str,
        attempt: int,
        pod: str,
        flush_every_s: float = 1.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._key: Callable[[int], str] = lambda segment: layout.event_segment_key(
            job_id, attempt, pod, segment
        )
        self._flush_every_s = flush_every_s
        self._clock = clock
        self._sequence = 0
        self._segment = 0
        self._waiting: list[JobEvent] = []
        self._flushed_at = time.monotonic()
        self.phase: Phase = "preparing"

    def say(
        self,
        message: str,
        *,
        level: Literal["info", "warn", "error"] = "info",
        data: Mapping[str, Any] | None = None,
        kind: Literal["message", "metrics"] = "message",
    ) -> None:
        """Add an event; it becomes visible with the next flush, which may be now.

        Raises:
            StoreError: a segment could not be written; the events stay and go with the next one.
        """
        event = JobEvent(
            sequence=self._sequence,
            at=self._clock(),
            level=level,
            type=kind,
            message=message[:2000],
            phase=self.phase,
            data=dict(data or {}),
        )
        self._sequence += 1
        self._waiting.append(event)
        if time.monotonic() - self._flushed_at >= self._flush_every_s:
            self.flush()

    def enter(self, phase: Phase, message: str) -> None:
        """Begin a phase; its event is visible at once."""
        self.phase = phase
        self.say(message)
        self.flush()

    def flush(self) -> None:
        """Write what is waiting as one segment."""
        if not self._waiting:
            return
        lines = b"".join(event.model_dump_json().encode() + b"\n" for event in self._waiting)
        self._store.put(self._key(self._segment), lines)
        self._segment += 1
        self._waiting.clear()
        self._flushed_at = time.monotonic()


def open_events(store: ObjectStore, *, job_id: str, attempt: int, pod: str) -> EventWriter:
    """The events of one start, written as often as its store bears."""
    flush_every_s = 1.0 if store.uri.startswith("file:") else 5.0
    return EventWriter(store, job_id=job_id, attempt=attempt, pod=pod, flush_every_s=flush_every_s)

"""Brings what a job or a scan tells (its event segments) into its row and its history, a job's checkpoints as well.

A job is not trusted: malformed lines are counted and skipped, sizes are bounded, and inserting the
same segment again changes nothing.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field
from typing import Any
from typing import Final

from sqlalchemy.orm import Session

from deploy.contract import layout
from deploy.contract.document import DocumentError
from deploy.contract.document import sha256_hex
from deploy.contract.event import JobEvent
from deploy.contract.result import JobFailure
from deploy.store.protocol import ObjectStore
from service.jobs import repository as jobs
from service.tables import JobCheckpointRow
from service.work.repository import EventRow
from service.work.repository import RequestRow
from service.work.repository import Row
from service.work.repository import WorkRepository

PROGRESS: Final = (
    "epoch",
    "n_epochs",
    "step",
    "total_steps",
    "loss",
    "learning_rate",
    "tokens_per_second",
    "eta_s",
)
ARMS: Final = ("base", "control", "hardened")
SEGMENT_BYTES: Final = 4 << 20
FAILURE_BYTES: Final = 64 << 10
MAX_SEGMENTS: Final = 20_000
"""Of one attempt: at one a second, five hours; what comes later is not shown."""
LARGEST_INTEGER: Final = 2**53
"""What JSON's readers and every database can hold."""
LONGEST_ETA_S: Final = 366 * 24 * 3600.0


@dataclass(slots=True)
class Heard:
    """What one look at an attempt brought."""

    events: list[tuple[str, JobEvent]] = field(default_factory=list)
    """Each with the pod that told it, in order."""
    failure: JobFailure | None = None
    pods: list[str] = field(default_factory=list)
    malformed: int = 0


class Listener:
    """Reads the segments of attempts, each once in the life of this process."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._read: dict[tuple[str, int], set[str]] = {}

    def listen(self, job_id: str, attempt: int) -> Heard:
        """Everything new below an attempt's prefix. Raises StoreError."""
        prefix = layout.attempt_prefix(job_id, attempt)
        read = self._read.setdefault((job_id, attempt), set())
        heard = Heard()
        for info in self._store.list(prefix):
            pod, _, rest = info.key.removeprefix(prefix).partition("/")
            if not rest:
                continue
            if pod not in heard.pods:
                heard.pods.append(pod)
            if rest == "failure.json":
                if info.size_bytes <= FAILURE_BYTES:
                    heard.failure = self._failure(info.key) or heard.failure
            elif rest.startswith("events/") and rest.endswith(".jsonl") and info.key not in read:
                if len(read) >= MAX_SEGMENTS:
                    continue
                if info.size_bytes > SEGMENT_BYTES:
                    heard.malformed += 1
                    read.add(info.key)
                    continue
                data = self._store.get(info.key, limit_bytes=SEGMENT_BYTES)
                for event in _events(data):
                    if event is None:
                        heard.malformed += 1
                    else:
                        heard.events.append((pod, event))
                read.add(info.key)
        return heard

    def forget(self, job_id: str) -> None:
        """A job is over."""
        self._read = {key: value for key, value in self._read.items() if key[0] != job_id}

    def again(self, job_id: str, attempt: int) -> None:
        """What was read could not be kept: read it again."""
        self._read.pop((job_id, attempt), None)

    def _failure(self, key: str) -> JobFailure | None:
        try:
            return JobFailure.from_bytes(self._store.get(key))
        except DocumentError:
            return None


def _events(data: bytes) -> Iterator[JobEvent | None]:
    for line in data.splitlines():
        if not line.strip():
            continue
        try:
            event = JobEvent.from_bytes(line)
            usable = event.sequence <= LARGEST_INTEGER
            yield event.model_copy(update={"data": _finite(event.data)}) if usable else None
        except (DocumentError, ValueError, RecursionError):
            yield None


def _finite(data: dict[str, Any]) -> dict[str, Any]:
    """``data`` with null for numbers that JSON has not: a diverged loss must stay displayable."""
    known: dict[str, Any] = json.loads(json.dumps(data), parse_constant=lambda _: None)
    return known


def keep_events(
    session: Session,
    repository: WorkRepository[Row, EventRow, RequestRow],
    work_id: str,
    attempt: int,
    heard: Heard,
    *,
    now: float,
) -> None:
    """Write events into a history; those that are there stay as they are."""
    for pod, event in heard.events:
        repository.add_event(
            session,
            work_id=work_id,
            attempt=attempt,
            pod=pod,
            sequence=event.sequence,
            at=min(event.at, now),
            level=event.level,
            type=event.type,
            message=event.message,
            data={**event.data, "phase": event.phase},
        )


def keep_checkpoints(session: Session, job_id: str, heard: Heard, *, now: float) -> None:
    """Register the checkpoints that a job tells of; those that are there stay as they are."""
    for _, event in heard.events:
        checkpoint = _checkpoint(job_id, event, now)
        if checkpoint is not None:
            jobs.add_checkpoint(session, checkpoint)


def _checkpoint(job_id: str, event: JobEvent, now: float) -> JobCheckpointRow | None:
    data = event.data
    prefix, arm, step = data.get("prefix"), data.get("arm"), data.get("step")
    if not isinstance(prefix, str) or arm not in ARMS or not isinstance(step, int):
        return None
    if not 0 <= step <= LARGEST_INTEGER:
        return None
    if not prefix.startswith(layout.job_prefix(job_id)):
        return None
    epoch = data.get("epoch")
    loss = data.get("train_loss")
    return JobCheckpointRow(
        id=f"ftckpt-{sha256_hex(prefix.encode())[:32]}",
        job_id=job_id,
        arm=arm,
        step=step,
        epoch=float(epoch) if isinstance(epoch, int | float) else 0.0,
        prefix=prefix,
        metrics={"train_loss": loss} if isinstance(loss, int | float) else {},
        created_at=int(min(event.at, now)),
    )


def progress_of(before: dict[str, Any] | None, heard: Heard) -> dict[str, Any]:
    """The newest numbers of each arm."""
    progress = dict(before or {})
    for _, event in heard.events:
        arm = event.data.get("arm")
        if event.type == "metrics" and arm in ARMS and "step" in event.data:
            numbers = {name: event.data.get(name) for name in PROGRESS}
            progress[arm] = {
                name: value if isinstance(value, int | float) else None for name, value in numbers.items()
            }
    return progress


def eta_s(heard: Heard) -> float | None:
    """The newest estimate of the seconds that are left."""
    for _, event in reversed(heard.events):
        value = event.data.get("eta_s")
        if isinstance(value, int | float) and 0 <= value <= LONGEST_ETA_S:
            return float(value)
    return None


def steps_of(before: dict[str, Any] | None, heard: Heard) -> dict[str, Any]:
    """The newest count of steps: done, total, and what is happening."""
    for _, event in reversed(heard.events):
        done, total = event.data.get("done"), event.data.get("total")
        counted = isinstance(done, int) and isinstance(total, int) and 0 <= done <= total <= LARGEST_INTEGER
        if event.type == "metrics" and counted:
            return {"done": done, "total": total, "message": event.message}
    return dict(before or {})

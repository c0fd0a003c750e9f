"""Brings what a job or a scan tells into its row and its history, a job's checkpoints as well.

A job is not trusted: what it tells was bounded by :mod:`service.reconcile.listener`, numbers are checked here, and
inserting the same segment again changes nothing.
"""

from typing import Any
from typing import Final

from sqlalchemy.orm import Session

from deploy.contract import layout
from deploy.contract.document import sha256_hex
from deploy.contract.event import JobEvent
from service.jobs import repository as jobs
from service.reconcile.listener import LARGEST_INTEGER
from service.reconcile.listener import Heard
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
EVENTS_AT_ONCE: Final = 500
"""Of one statement."""
LONGEST_ETA_S: Final = 366 * 24 * 3600.0


def keep_events(
    session: Session,
    repository: WorkRepository[Row, EventRow, RequestRow],
    row: Row,
    heard: Heard,
    *,
    now: float,
) -> None:
    """Write events into a history; those that are there stay as they are."""
    told = [
        {
            "attempt": heard.attempt,
            "pod": pod,
            "sequence": event.sequence,
            "at": min(event.at, now),
            "level": event.level,
            "type": event.type,
            "message": event.message,
            "data": {**event.data, "phase": event.phase},
        }
        for pod, event in heard.events
    ]
    for start in range(0, len(told), EVENTS_AT_ONCE):
        repository.add_events(session, row, told[start : start + EVENTS_AT_ONCE])


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


def progress_of(before: dict[str, Any], heard: Heard) -> dict[str, Any]:
    """The newest numbers of each arm."""
    progress = dict(before)
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


def steps_of(before: dict[str, Any], heard: Heard) -> dict[str, Any]:
    """The newest count of steps: done, total, and what is happening."""
    for _, event in reversed(heard.events):
        done, total = event.data.get("done"), event.data.get("total")
        counted = isinstance(done, int) and isinstance(total, int) and 0 <= done <= total <= LARGEST_INTEGER
        if event.type == "metrics" and counted:
            return {"done": done, "total": total, "message": event.message}
    return dict(before)

"""Events that the service itself writes into a job's history."""

from typing import Any
from typing import Literal

from sqlalchemy.orm import Session

from service.jobs import repository
from service.tables import JobEventRow
from service.tables import JobRow

Level = Literal["info", "warn", "error"]


def record(
    session: Session, row: JobRow, message: str, *, at: float, level: Level = "info", **data: Any
) -> None:
    """Tell the job's user what the service did.

    The sequence is the version that the row had when this was decided, so a decision that is applied
    again after a crash is told once.
    """
    repository.add_event(
        session,
        JobEventRow(
            id=repository.event_id(row.id, 0, "", row.version),
            job_id=row.id,
            attempt=0,
            pod="",
            sequence=row.version,
            at=at,
            level=level,
            type="message",
            message=message[:2000],
            data=data,
        ),
    )

"""What a user decides about a row that the reconciler may change at the same moment."""

from collections.abc import Callable
from typing import Any
from typing import Final

from sqlalchemy.orm import Session

from service.errors import Conflict
from service.errors import Unavailable
from service.work import history
from service.work.ends import TERMINAL
from service.work.repository import EventRow
from service.work.repository import RequestRow
from service.work.repository import Row
from service.work.repository import WorkRepository

TRIES: Final = 5
"""Of a compare-and-set against the reconciler, which changes a row at most once a tick."""


def decide(
    session: Session,
    repository: WorkRepository[Row, EventRow, RequestRow],
    require: Callable[[], Row],
    decision: Callable[[Row], dict[str, Any] | None],
    said: str,
    *,
    now: float,
) -> Row:
    """Change a row as decided, and say so in its history.

    Args:
        session: writing.
        repository: of the kind of work.
        require: reads the row anew. Raises NotFound.
        decision: the columns to change, or None where the row is as wished already. May raise Conflict.
        said: for the history.
        now: Unix seconds.

    Raises:
        Unavailable: the row kept changing.
    """
    for _ in range(TRIES):
        row = require()
        values = decision(row)
        if values is None:
            return row
        if repository.change(session, row, **values):
            history.record(session, repository, row, said, at=now)
            session.expire(row)
            return require()
        session.expire(row)
    raise Unavailable(f"{row.id} is changing; try again.", code="job_busy")


def cancelled(row: Row, *, now: float) -> dict[str, Any] | None:
    """The decision to end something now; its run is stopped by the next tick, what it commits is never shown."""
    if row.status == "cancelled":
        return None
    refuse_ended(row, "cancelled")
    return {
        "status": "cancelled",
        "phase": "cancelled",
        "finished_at": int(now),
        "next_attempt_at": None,
        "estimated_finish": None,
    }


def refuse_ended(row: Row, wish: str) -> None:
    """Raises Conflict for a row that is over."""
    if row.status in TERMINAL:
        raise Conflict(f"{row.id} has {row.status} and cannot be {wish}.", code="job_already_ended")

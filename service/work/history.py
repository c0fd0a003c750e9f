"""Events that the service itself writes into the history of a job or a scan."""

from typing import Any
from typing import Final
from typing import Literal

from sqlalchemy.orm import Session

from service.work.repository import EventRow
from service.work.repository import RequestRow
from service.work.repository import Row
from service.work.repository import WorkRepository

Level = Literal["info", "warn", "error"]
CREATION: Final = -1
"""Comes before the first decision about a row, which finds it at version 0."""


def record(
    session: Session,
    repository: WorkRepository[Row, EventRow, RequestRow],
    row: Row,
    message: str,
    *,
    at: float,
    level: Level = "info",
    sequence: int | None = None,
    **data: Any,
) -> None:
    """Tell the user what the service did.

    The sequence, unless one is given, is the version that the row had when this was decided, so a decision
    that is applied again after a crash is told once.
    """
    repository.add_event(
        session,
        row,
        attempt=0,
        pod="",
        sequence=row.version if sequence is None else sequence,
        at=at,
        level=level,
        type="message",
        # Some of it may be a run's own words, and PostgreSQL has no place for the character 0.
        message=message[:2000].replace("\0", "\N{REPLACEMENT CHARACTER}"),
        data=data,
    )

"""Questions about the jobs or scans of all projects, for the process that reconciles."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from typing import Final
from typing import Generic

from sqlalchemy import select
from sqlalchemy.orm import Session
from sqlalchemy.orm import load_only
from sqlalchemy.sql.base import ExecutableOption

from service.work.ends import TERMINAL
from service.work.repository import EventRow
from service.work.repository import RequestRow
from service.work.repository import Row
from service.work.repository import WorkRepository

OUTLINE: Final = (
    "id",
    "project",
    "status",
    "phase",
    "attempt",
    "next_attempt_at",
    "failures",
    "launched_at",
    "version",
)
IDS_AT_ONCE: Final = 500
"""Fewer than any database's limit on parameters."""


@dataclass(frozen=True, slots=True)
class WorkFleet(Generic[Row, EventRow, RequestRow]):
    """All work of one kind."""

    repository: WorkRepository[Row, EventRow, RequestRow]

    def get(self, session: Session, work_id: str) -> Row | None:
        """One row, whosever it is."""
        return session.get(self.repository.rows, work_id)

    def outlines_of_unfinished(self, session: Session) -> list[Row]:
        """What is not over, the oldest first; only the columns that decisions need can be read."""
        rows = self.repository.rows
        query = select(rows).where(rows.status.not_in(TERMINAL)).options(self._outlined())
        return list(session.scalars(query.order_by(rows.created_at, rows.id)))

    def outlines(self, session: Session, ids: Collection[str]) -> list[Row]:
        """Likewise of these, over or not."""
        rows = self.repository.rows
        found: list[Row] = []
        wanted = sorted(ids)
        for start in range(0, len(wanted), IDS_AT_ONCE):
            some = wanted[start : start + IDS_AT_ONCE]
            found += session.scalars(select(rows).where(rows.id.in_(some)).options(self._outlined()))
        return found

    def made_since(self, session: Session, created_at: int) -> list[Row]:
        """What was made since then."""
        rows = self.repository.rows
        return list(session.scalars(select(rows).where(rows.created_at >= created_at)))

    def ended_since(self, session: Session, finished_at: int, statuses: Collection[str]) -> list[Row]:
        """What has ended in one of these ways since then."""
        rows = self.repository.rows
        query = select(rows).where(rows.status.in_(statuses), rows.finished_at >= finished_at)
        return list(session.scalars(query))

    def requests_of(self, session: Session, row: Row) -> list[RequestRow]:
        """The requests that created it."""
        requests: Any = self.repository.requests
        return list(session.scalars(select(requests).where(requests.work_id == row.id)))

    def _outlined(self) -> ExecutableOption:
        rows, outline = self.repository.rows, self.repository.outline
        columns = (getattr(rows, name) for name in (*OUTLINE, *outline))
        return load_only(*columns, raiseload=True)

"""Every query about base models."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import CursorResult
from sqlalchemy import Select
from sqlalchemy import select
from sqlalchemy import update
from sqlalchemy.orm import Session

from service.paging import newest_first
from service.tables import BaseModelRow
from service.tables import EndpointRow
from service.tables import JobRow
from service.work.ends import TERMINAL


@dataclass(frozen=True, slots=True)
class BaseModelRepository:
    """Base models of one project, within one transaction."""

    session: Session
    project: str

    def add(self, row: BaseModelRow) -> None:
        """Insert a base model. Raises sqlalchemy.exc.IntegrityError when the id is taken."""
        self.session.add(row)
        self.session.flush()

    def get(self, base_model_id: str, *, lock: bool = False) -> BaseModelRow | None:
        """A base model; ``lock`` keeps it as it is until the transaction ends."""
        query = self._own().where(BaseModelRow.id == base_model_id)
        return self.session.scalar(query.with_for_update() if lock else query)

    def page(self, *, after: str | None, limit: int) -> list[BaseModelRow] | None:
        """Up to ``limit + 1`` base models, newest first; None when there is none ``after``."""
        cursor = None if after is None else self.get(after)
        if after is not None and cursor is None:
            return None
        query = newest_first(self._own(), BaseModelRow, after=cursor)
        return list(self.session.scalars(query.limit(limit + 1)))

    def with_status(self, status: str) -> list[BaseModelRow]:
        """All base models of one status, oldest first."""
        query = self._own().where(BaseModelRow.status == status)
        return list(self.session.scalars(query.order_by(BaseModelRow.created_at, BaseModelRow.id)))

    def settle(self, row: BaseModelRow, **values: Any) -> bool:
        """Give a pending base model its final values; False when it is not pending, or not this one, any more."""
        change = (
            update(BaseModelRow)
            .where(BaseModelRow.id == row.id, BaseModelRow.project == self.project)
            .where(BaseModelRow.key.is_not_distinct_from(row.key), BaseModelRow.status == "pending")
            .values(version=BaseModelRow.version + 1, **values)
        )
        result = self.session.execute(change)
        return isinstance(result, CursorResult) and result.rowcount == 1

    def user_of(self, base_model_id: str) -> str | None:
        """Id of a job that has not ended, or of a live endpoint, that needs the base model."""
        jobs = select(JobRow.id).where(JobRow.model == base_model_id, JobRow.status.not_in(TERMINAL))
        jobs = jobs.where(JobRow.project == self.project)
        endpoints = select(EndpointRow.id).where(
            EndpointRow.active_model_id == base_model_id, EndpointRow.project == self.project
        )
        return self.session.scalar(jobs.limit(1)) or self.session.scalar(endpoints.limit(1))

    def delete(self, row: BaseModelRow) -> None:
        """Forget a base model; its id may be used again."""
        self.session.delete(row)

    def _own(self) -> Select[BaseModelRow]:
        return select(BaseModelRow).where(BaseModelRow.project == self.project)

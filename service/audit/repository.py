"""What a project, or the operator, reads of the audit log."""

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field

from sqlalchemy import Select
from sqlalchemy import select
from sqlalchemy.orm import Session

from service.audit.rows import AuditRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which entries; what is empty leaves none out. Times are Unix seconds."""

    actions: Sequence[str] = ()
    key_ids: Sequence[str] = ()
    resources: Sequence[str] = ()
    statuses: Sequence[int] = ()
    at_least: float | None = None
    below: float | None = None
    projects: Sequence[str] = field(default=())


@dataclass(frozen=True, slots=True)
class AuditRepository:
    """The audit log within one transaction."""

    session: Session
    project: str | None
    """None is the operator, who reads every project's."""

    def page(self, wanted: Wanted, *, after: str | None, limit: int) -> list[AuditRow] | None:
        """Up to ``limit`` entries, the newest first; None when there is no entry ``after``."""
        query = self._mine()
        if after is not None:
            cursor = self.session.scalar(self._mine().where(AuditRow.id == after))
            if cursor is None:
                return None
            query = query.where(AuditRow.id < cursor.id)
        for column, values in (
            (AuditRow.action, wanted.actions),
            (AuditRow.key_id, wanted.key_ids),
            (AuditRow.resource, wanted.resources),
            (AuditRow.project, wanted.projects),
            (AuditRow.status, wanted.statuses),
        ):
            if values:
                query = query.where(column.in_(values))
        if wanted.at_least is not None:
            query = query.where(AuditRow.at >= wanted.at_least)
        if wanted.below is not None:
            query = query.where(AuditRow.at < wanted.below)
        return list(self.session.scalars(query.order_by(AuditRow.id.desc()).limit(limit)))

    def _mine(self) -> Select[AuditRow]:
        query = select(AuditRow)
        return query if self.project is None else query.where(AuditRow.project == self.project)

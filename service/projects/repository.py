"""Every query about one project and its keys."""

from dataclasses import dataclass
from typing import Any
from typing import cast

from sqlalchemy import CursorResult
from sqlalchemy import select
from sqlalchemy import update
from sqlalchemy.orm import Session

from service.paging import newest_first
from service.tables import ApiKeyRow
from service.tables import ProjectRow
from service.unix_seconds import whole_unix_seconds


@dataclass(frozen=True, slots=True)
class ProjectRepository:
    """One project and its keys, within one transaction."""

    session: Session
    project: str

    def get(self, *, lock: bool = False) -> ProjectRow | None:
        """The project; ``lock`` keeps it as it is until the transaction ends."""
        query = select(ProjectRow).where(ProjectRow.id == self.project)
        return self.session.scalar(query.with_for_update() if lock else query)

    def add_key(self, row: ApiKeyRow, *, lasts_s: int | None) -> None:
        """Insert a key of this project, made now by the database's clock."""
        moment: Any = whole_unix_seconds()
        row.created_at = moment
        row.expires_at = None if lasts_s is None else moment + lasts_s
        self.session.add(row)
        self.session.flush()
        self.session.refresh(row)

    def key(self, key_id: str) -> ApiKeyRow | None:
        """One key, good or not."""
        query = select(ApiKeyRow).where(ApiKeyRow.project == self.project, ApiKeyRow.id == key_id)
        return self.session.scalar(query)

    def keys(self, *, after: ApiKeyRow | None, limit: int) -> list[ApiKeyRow]:
        """Up to ``limit`` keys, the newest first."""
        query = select(ApiKeyRow).where(ApiKeyRow.project == self.project)
        return list(self.session.scalars(newest_first(query, ApiKeyRow, after=after).limit(limit)))

    def left_s(self, key_id: str) -> int | None:
        """Whole seconds until a key expires; None for one that never does."""
        query = select(ApiKeyRow.expires_at - whole_unix_seconds())
        return self.session.scalar(query.where(ApiKeyRow.project == self.project, ApiKeyRow.id == key_id))

    def revoke(self, key_id: str) -> bool:
        """End a key, by the database's clock. Returns whether there is such a key; one that has ended stays so."""
        changed = self.session.execute(
            update(ApiKeyRow)
            .where(ApiKeyRow.project == self.project, ApiKeyRow.id == key_id)
            .where(ApiKeyRow.revoked_at.is_(None))
            .values(revoked_at=whole_unix_seconds())
            .execution_options(synchronize_session=False)
        )
        return cast("CursorResult[Any]", changed).rowcount == 1 or self.key(key_id) is not None

    def archive(self, *, erase: bool) -> bool:
        """End the project, by the database's clock. Returns whether this call did."""
        changed = self.session.execute(
            update(ProjectRow)
            .where(ProjectRow.id == self.project, ProjectRow.archived_at.is_(None))
            .values(archived_at=whole_unix_seconds(), erase=erase)
            .execution_options(synchronize_session=False)
        )
        return cast("CursorResult[Any]", changed).rowcount == 1

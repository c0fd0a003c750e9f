"""Every query about files."""

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import ColumnElement
from sqlalchemy import Select
from sqlalchemy import and_
from sqlalchemy import or_
from sqlalchemy import select
from sqlalchemy.orm import Session

from service.tables import FileRow
from service.tables import JobRow
from service.tables import ScanRow
from service.work.ends import TERMINAL


@dataclass(frozen=True, slots=True)
class FileRepository:
    """Files of one project, within one transaction."""

    session: Session
    project: str

    def add(self, row: FileRow) -> None:
        """Make a file visible, once the transaction commits."""
        self.session.add(row)
        self.session.flush()

    def get(self, file_id: str, *, now: int, lock: bool = False) -> FileRow | None:
        """A file that is neither deleted nor expired. ``lock`` keeps it so until the transaction ends."""
        query = self._own().where(FileRow.id == file_id, _visible(now))
        return self.session.scalar(query.with_for_update() if lock else query)

    def get_stored(self, file_id: str) -> FileRow | None:
        """A file whose content is kept, expired or not; locked until the transaction ends."""
        query = self._own().where(FileRow.id == file_id, FileRow.deleted.is_(False))
        return self.session.scalar(query.with_for_update())

    def page(
        self, *, after: str | None, limit: int, order: Literal["asc", "desc"], purpose: str | None, now: int
    ) -> list[FileRow] | None:
        """Up to ``limit + 1`` files in order of age; None when there never was a file ``after``."""
        query = self._own().where(_visible(now))
        if purpose is not None:
            query = query.where(FileRow.purpose == purpose)
        if after is not None:
            # A file that is gone meanwhile still marks its place.
            cursor = self.session.scalar(self._own().where(FileRow.id == after))
            if cursor is None:
                return None
            query = query.where(_beyond(cursor, order))
        keys = (FileRow.created_at, FileRow.id)
        ordered = query.order_by(*(key.asc() if order == "asc" else key.desc() for key in keys))
        return list(self.session.scalars(ordered.limit(limit + 1)))

    def user_of(self, file_id: str) -> str | None:
        """Id of a job or a scan that has not ended and needs the file."""
        needs = or_(
            JobRow.training_file == file_id,
            JobRow.validation_file == file_id,
            JobRow.probe_file == file_id,
        )
        job = select(JobRow.id).where(needs, JobRow.status.not_in(TERMINAL), JobRow.project == self.project)
        scan = select(ScanRow.id).where(ScanRow.file == file_id, ScanRow.status.not_in(TERMINAL))
        scan = scan.where(ScanRow.project == self.project)
        return self.session.scalar(job.limit(1)) or self.session.scalar(scan.limit(1))

    def mark_deleted(self, row: FileRow) -> None:
        """Hide a file; the row stays as a place in lists and for jobs that used it."""
        row.deleted = True

    def _own(self) -> Select[FileRow]:
        return select(FileRow).where(FileRow.project == self.project)


def _visible(now: int) -> ColumnElement[bool]:
    return and_(FileRow.deleted.is_(False), or_(FileRow.expires_at.is_(None), FileRow.expires_at > now))


def _beyond(cursor: FileRow, order: Literal["asc", "desc"]) -> ColumnElement[bool]:
    same = FileRow.created_at == cursor.created_at
    if order == "asc":
        return or_(FileRow.created_at > cursor.created_at, and_(same, FileRow.id > cursor.id))
    return or_(FileRow.created_at < cursor.created_at, and_(same, FileRow.id < cursor.id))

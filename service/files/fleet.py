"""Questions about the files of all projects, for the process that reconciles."""

from collections.abc import Collection

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.tables import FileRow


def file_exists(session: Session, file_id: str) -> bool:
    """Whether a row stands for the object of this id, expired or not."""
    query = select(FileRow.id).where(FileRow.id == file_id, FileRow.deleted.is_(False))
    return session.scalar(query) is not None


def expired_files(session: Session, *, now: int) -> list[tuple[str, str]]:
    """Project and id of every file whose time is over."""
    query = select(FileRow.project, FileRow.id).where(FileRow.deleted.is_(False), FileRow.expires_at <= now)
    return [(project, file_id) for project, file_id in session.execute(query)]


def files_since(session: Session, created_at: int) -> list[FileRow]:
    """Files made since then, without those that are deleted already: nothing of them is to be recovered."""
    query = select(FileRow).where(FileRow.created_at >= created_at, FileRow.deleted.is_(False))
    return list(session.scalars(query))


def kept_files(session: Session, project: str, ids: Collection[str]) -> dict[str, FileRow]:
    """By id, those of a project's files whose content is kept."""
    query = select(FileRow).where(FileRow.id.in_(ids), FileRow.project == project, FileRow.deleted.is_(False))
    return {row.id: row for row in session.scalars(query)}

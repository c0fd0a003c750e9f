"""Questions about the uploads of all projects, for the process that reconciles, and the end of their parts."""

from sqlalchemy import delete
from sqlalchemy import select
from sqlalchemy.orm import Session

from service.tables import UploadPartRow
from service.tables import UploadRow


def part_exists(session: Session, part_id: str) -> bool:
    """Whether a row stands for the object of this part."""
    return session.get(UploadPartRow, part_id) is not None


def overdue_uploads(session: Session, *, now: int) -> list[tuple[str, str]]:
    """Project and id of every pending upload whose time is over."""
    query = select(UploadRow.project, UploadRow.id)
    query = query.where(UploadRow.status == "pending", UploadRow.expires_at <= now)
    return [(project, upload_id) for project, upload_id in session.execute(query)]


def ended_with_parts(session: Session) -> list[str]:
    """Ids of uploads that are over, and whose parts are still there."""
    query = select(UploadRow.id).join(UploadPartRow, UploadPartRow.upload_id == UploadRow.id)
    return list(session.scalars(query.where(UploadRow.status != "pending").distinct()))


def forget_parts(session: Session, upload_id: str) -> None:
    """Delete the rows of all parts of an upload that is over."""
    session.execute(delete(UploadPartRow).where(UploadPartRow.upload_id == upload_id))

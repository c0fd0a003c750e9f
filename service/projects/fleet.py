"""Questions about all projects: for the operator, and for the process that reconciles."""

from sqlalchemy import or_
from sqlalchemy import select
from sqlalchemy import update
from sqlalchemy.orm import Session

from service.endpoints.repository import ENDED
from service.paging import newest_first
from service.tables import EndpointRow
from service.tables import JobRow
from service.tables import ProjectRow
from service.tables import ScanRow
from service.unix_seconds import whole_unix_seconds
from service.work.ends import TERMINAL


def projects_page(
    session: Session, *, after: ProjectRow | None, limit: int, archived: bool
) -> list[ProjectRow]:
    """Up to ``limit`` projects, the newest first."""
    query = select(ProjectRow)
    if not archived:
        query = query.where(ProjectRow.archived_at.is_(None))
    return list(session.scalars(newest_first(query, ProjectRow, after=after).limit(limit)))


def archived_and_alive(session: Session) -> list[str]:
    """Archived projects of which something still goes on: a request had begun before its key was dead."""
    endpoints = select(EndpointRow.project).where(
        EndpointRow.status.not_in(ENDED), EndpointRow.remove_requested.is_(False)
    )
    jobs = select(JobRow.project).where(JobRow.status.not_in(TERMINAL))
    scans = select(ScanRow.project).where(ScanRow.status.not_in(TERMINAL))
    alive = or_(ProjectRow.id.in_(endpoints), ProjectRow.id.in_(jobs), ProjectRow.id.in_(scans))
    return list(session.scalars(select(ProjectRow.id).where(ProjectRow.archived_at.is_not(None), alive)))


def to_erase(session: Session, *, after_s: int) -> list[str]:
    """Projects to be erased that were archived so long ago, and of which nothing goes on."""
    endpoints = select(EndpointRow.project).where(EndpointRow.status.not_in(ENDED))
    jobs = select(JobRow.project).where(JobRow.status.not_in(TERMINAL))
    scans = select(ScanRow.project).where(ScanRow.status.not_in(TERMINAL))
    idle = [ProjectRow.id.not_in(busy) for busy in (endpoints, jobs, scans)]
    due = (ProjectRow.erased_at.is_(None), ProjectRow.archived_at <= whole_unix_seconds() - after_s)
    return list(session.scalars(select(ProjectRow.id).where(ProjectRow.erase, *due, *idle)))


def mark_erased(session: Session, project: str) -> None:
    """Nothing of it is left."""
    session.execute(update(ProjectRow).where(ProjectRow.id == project).values(erased_at=whole_unix_seconds()))

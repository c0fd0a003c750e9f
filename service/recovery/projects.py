"""Projects, as far as the store knows them: what belongs to one says so. Names, keys and limits need a backup."""

from sqlalchemy.orm import Session

from service.tables import ProjectRow


def keep_project(session: Session, project: str, *, created_at: int) -> None:
    """Make a project that the database has forgotten, under its id; nobody has a key of it yet."""
    if session.get(ProjectRow, project) is None:
        session.add(ProjectRow(id=project, name=project, created_at=created_at, erase=False))
        session.flush()

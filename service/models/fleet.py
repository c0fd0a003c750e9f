"""Questions about the models of all projects, for the process that reconciles."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.tables import ModelRow


def served_from(session: Session, uri: str) -> bool:
    """Whether a model that is not deleted has its weights below ``uri`` (without a trailing slash)."""
    query = select(ModelRow.id).where(ModelRow.uri.in_((uri, f"{uri}/")), ModelRow.deleted.is_(False))
    return session.scalar(query.limit(1)) is not None

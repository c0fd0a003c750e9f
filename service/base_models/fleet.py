"""Questions about the base models of all projects, for the process that reconciles."""

from sqlalchemy import and_
from sqlalchemy import or_
from sqlalchemy import select
from sqlalchemy.orm import Session

from service.tables import BaseModelRow


def pending_base_models(session: Session) -> list[BaseModelRow]:
    """Those that wait for a check, the oldest first."""
    query = select(BaseModelRow).where(BaseModelRow.status == "pending")
    return list(session.scalars(query.order_by(BaseModelRow.created_at, BaseModelRow.id)))


def base_models_since(session: Session, created_at: int) -> list[BaseModelRow]:
    """Those made since then."""
    return list(session.scalars(select(BaseModelRow).where(BaseModelRow.created_at >= created_at)))


def stored_base_model(session: Session, stored_as: str) -> BaseModelRow | None:
    """The one whose objects in the store have this name."""
    unnamed = and_(BaseModelRow.key.is_(None), BaseModelRow.id == stored_as)
    return session.scalar(select(BaseModelRow).where(or_(BaseModelRow.key == stored_as, unnamed)).limit(1))

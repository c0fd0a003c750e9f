"""Rows of endpoints."""

from typing import Any
from typing import cast

from sqlalchemy import CursorResult
from sqlalchemy import and_
from sqlalchemy import or_
from sqlalchemy import select
from sqlalchemy import update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from service.tables import EndpointRow

ENDED = ("failed", "stopped")


def get(session: Session, endpoint_id: str) -> EndpointRow | None:
    """One endpoint."""
    return session.get(EndpointRow, endpoint_id)


def add(session: Session, row: EndpointRow) -> bool:
    """Insert an endpoint, unless its model has a live one. Returns whether it was inserted."""
    try:
        with session.begin_nested():
            session.add(row)
    except IntegrityError:
        return False
    return True


def live(session: Session, model_id: str) -> EndpointRow | None:
    """The endpoint of a model that has not ended."""
    return session.scalar(select(EndpointRow).where(EndpointRow.active_model_id == model_id))


def latest(session: Session, model_id: str) -> EndpointRow | None:
    """The newest endpoint of a model, ended or not."""
    query = select(EndpointRow).where(EndpointRow.model_id == model_id)
    return session.scalar(query.order_by(EndpointRow.created_at.desc(), EndpointRow.id.desc()).limit(1))


def unfinished(session: Session) -> list[EndpointRow]:
    """Endpoints that have not ended, the oldest first."""
    query = select(EndpointRow).where(EndpointRow.status.not_in(ENDED))
    return list(session.scalars(query.order_by(EndpointRow.created_at, EndpointRow.id)))


def page(session: Session, *, after: EndpointRow | None, limit: int) -> list[EndpointRow]:
    """Up to ``limit`` endpoints, the newest first."""
    query = select(EndpointRow).order_by(EndpointRow.created_at.desc(), EndpointRow.id.desc())
    if after is not None:
        query = query.where(
            or_(
                EndpointRow.created_at < after.created_at,
                and_(EndpointRow.created_at == after.created_at, EndpointRow.id < after.id),
            )
        )
    return list(session.scalars(query.limit(limit)))


def change(session: Session, row: EndpointRow, **values: Any) -> bool:
    """Compare-and-set: change a row that is as it was read and has not ended. Returns whether it was."""
    changed = session.execute(
        update(EndpointRow)
        .where(EndpointRow.id == row.id, EndpointRow.version == row.version)
        .where(EndpointRow.status.not_in(ENDED))
        .values(version=EndpointRow.version + 1, **values)
        .execution_options(synchronize_session=False)
    )
    return cast("CursorResult[Any]", changed).rowcount == 1

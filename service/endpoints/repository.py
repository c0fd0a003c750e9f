"""Rows of endpoints."""

from collections.abc import Collection
from typing import Any
from typing import cast

from sqlalchemy import BigInteger
from sqlalchemy import ColumnElement
from sqlalchemy import CursorResult
from sqlalchemy import and_
from sqlalchemy import cast as sql_cast
from sqlalchemy import func
from sqlalchemy import or_
from sqlalchemy import select
from sqlalchemy import update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from service.tables import EndpointRow
from service.unix_seconds import unix_seconds

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


def now() -> ColumnElement[int]:
    """Whole Unix seconds by the database's clock, as a value of a column."""
    return sql_cast(unix_seconds(), BigInteger)


def unused_s(session: Session) -> dict[str, float]:
    """Seconds since the last use of every endpoint that is ready and may fall asleep."""
    since = func.coalesce(EndpointRow.last_used_at, EndpointRow.created_at)
    query = select(EndpointRow.id, unix_seconds() - since)
    query = query.where(EndpointRow.status == "ready", EndpointRow.idle_s.is_not(None))
    return {found: float(seconds) for found, seconds in session.execute(query)}


def touch(session: Session, endpoint_ids: Collection[str], *, unless_within_s: int) -> int:
    """Record that endpoints are in use now, where that was not recorded a moment ago. Returns how many were.

    Does not count as a change of the row, but :func:`fall_asleep` minds it.
    """
    long_ago = or_(EndpointRow.last_used_at.is_(None), EndpointRow.last_used_at <= now() - unless_within_s)
    touched = session.execute(
        update(EndpointRow)
        .where(EndpointRow.id.in_(endpoint_ids), EndpointRow.status == "ready", long_ago)
        .values(last_used_at=now())
        .execution_options(synchronize_session=False)
    )
    return cast("CursorResult[Any]", touched).rowcount


def fall_asleep(session: Session, row: EndpointRow) -> bool:
    """Let a ready endpoint sleep, unless it was used or changed since it was read. Returns whether it does."""
    fell = session.execute(
        update(EndpointRow)
        .where(EndpointRow.id == row.id, EndpointRow.version == row.version, EndpointRow.status == "ready")
        .where(EndpointRow.last_used_at.is_not_distinct_from(row.last_used_at))
        .values(status="asleep", url=None, reason=None, ready_replicas=None, version=EndpointRow.version + 1)
        .execution_options(synchronize_session=False)
    )
    return cast("CursorResult[Any]", fell).rowcount == 1


def wake(session: Session, row: EndpointRow) -> bool:
    """Let a sleeping endpoint be served again. Returns whether this call woke it; somebody else may have."""
    if row.status != "asleep" or row.remove_requested:
        return False
    return change(session, row, status="queued", last_used_at=now())

"""Endpoints of all projects: for the process that reconciles, and for the notes of which are in use."""

from collections.abc import Collection
from typing import Any
from typing import cast

from sqlalchemy import CursorResult
from sqlalchemy import func
from sqlalchemy import or_
from sqlalchemy import select
from sqlalchemy import update
from sqlalchemy.orm import Session

from service.endpoints.repository import ENDED
from service.tables import EndpointRow
from service.unix_seconds import unix_seconds
from service.unix_seconds import whole_unix_seconds


def unfinished(session: Session) -> list[EndpointRow]:
    """Endpoints that have not ended, the oldest first."""
    query = select(EndpointRow).where(EndpointRow.status.not_in(ENDED))
    return list(session.scalars(query.order_by(EndpointRow.created_at, EndpointRow.id)))


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
    moment = whole_unix_seconds() - unless_within_s
    long_ago = or_(EndpointRow.last_used_at.is_(None), EndpointRow.last_used_at <= moment)
    touched = session.execute(
        update(EndpointRow)
        .where(EndpointRow.id.in_(endpoint_ids), EndpointRow.status == "ready", long_ago)
        .values(last_used_at=whole_unix_seconds())
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

"""Rows of endpoints."""

from typing import Any
from typing import cast

from sqlalchemy import CursorResult
from sqlalchemy import Select
from sqlalchemy import select
from sqlalchemy import update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from service.paging import newest_first
from service.tables import EndpointRow
from service.unix_seconds import whole_unix_seconds

ENDED = ("failed", "stopped")


def _own(project: str) -> Select[EndpointRow]:
    return select(EndpointRow).where(EndpointRow.project == project)


def get(session: Session, project: str, endpoint_id: str) -> EndpointRow | None:
    """One endpoint."""
    return session.scalar(_own(project).where(EndpointRow.id == endpoint_id))


def add(session: Session, row: EndpointRow) -> bool:
    """Insert an endpoint, unless its model has a live one. Returns whether it was inserted."""
    try:
        with session.begin_nested():
            session.add(row)
    except IntegrityError:
        return False
    return True


def live(session: Session, project: str, model_id: str) -> EndpointRow | None:
    """The endpoint of a model that has not ended."""
    return session.scalar(_own(project).where(EndpointRow.active_model_id == model_id))


def latest(session: Session, project: str, model_id: str) -> EndpointRow | None:
    """The newest endpoint of a model, ended or not."""
    query = _own(project).where(EndpointRow.model_id == model_id)
    return session.scalar(query.order_by(EndpointRow.created_at.desc(), EndpointRow.id.desc()).limit(1))


def unfinished(session: Session, project: str) -> list[EndpointRow]:
    """Those that have not ended."""
    return list(session.scalars(_own(project).where(EndpointRow.status.not_in(ENDED))))


def request_removal(session: Session, row: EndpointRow) -> None:
    """Have an endpoint removed, whatever changes it meanwhile."""
    session.execute(
        update(EndpointRow)
        .where(EndpointRow.id == row.id, EndpointRow.project == row.project)
        .where(EndpointRow.status.not_in(ENDED))
        .values(remove_requested=True, version=EndpointRow.version + 1)
        .execution_options(synchronize_session=False)
    )


def page(session: Session, project: str, *, after: EndpointRow | None, limit: int) -> list[EndpointRow]:
    """Up to ``limit`` endpoints, the newest first."""
    return list(session.scalars(newest_first(_own(project), EndpointRow, after=after).limit(limit)))


def change(session: Session, row: EndpointRow, **values: Any) -> bool:
    """Compare-and-set: change a row that is as it was read and has not ended. Returns whether it was."""
    changed = session.execute(
        update(EndpointRow)
        .where(EndpointRow.id == row.id, EndpointRow.project == row.project)
        .where(EndpointRow.version == row.version)
        .where(EndpointRow.status.not_in(ENDED))
        .values(version=EndpointRow.version + 1, **values)
        .execution_options(synchronize_session=False)
    )
    return cast("CursorResult[Any]", changed).rowcount == 1


def wake(session: Session, row: EndpointRow) -> bool:
    """Let a sleeping endpoint be served again. Returns whether this call woke it; somebody else may have."""
    if row.status != "asleep" or row.remove_requested:
        return False
    return change(session, row, status="queued", last_used_at=whole_unix_seconds())

"""Rows of jobs, their events, checkpoints and creating requests."""

from typing import Any
from typing import Final
from typing import cast

from sqlalchemy import CursorResult
from sqlalchemy import and_
from sqlalchemy import func
from sqlalchemy import or_
from sqlalchemy import select
from sqlalchemy import update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from deploy.contract.document import sha256_hex
from service.tables import JobCheckpointRow
from service.tables import JobEventRow
from service.tables import JobRequestRow
from service.tables import JobRow

EVENT_SPACING_S: Final = 1e-6
TERMINAL: Final = ("succeeded", "failed", "cancelled")


def get(session: Session, job_id: str) -> JobRow | None:
    """One job."""
    return session.get(JobRow, job_id)


def page(
    session: Session, *, after: JobRow | None, limit: int, metadata: dict[str, str] | None
) -> list[JobRow]:
    """Up to ``limit`` jobs, the newest first, whose metadata has every given pair."""
    query = select(JobRow).order_by(JobRow.created_at.desc(), JobRow.id.desc())
    for key, value in (metadata or {}).items():
        query = query.where(JobRow.job_metadata[key].as_string() == value)
    if after is not None:
        query = query.where(
            or_(
                JobRow.created_at < after.created_at,
                and_(JobRow.created_at == after.created_at, JobRow.id < after.id),
            )
        )
    return list(session.scalars(query.limit(limit)))


def unfinished(session: Session) -> list[JobRow]:
    """Jobs that are not over, the oldest first."""
    query = select(JobRow).where(JobRow.status.not_in(TERMINAL))
    return list(session.scalars(query.order_by(JobRow.created_at, JobRow.id)))


def change(session: Session, row: JobRow, **values: Any) -> bool:
    """Compare-and-set: change a row that is as it was read and not over. Returns whether it was."""
    changed = session.execute(
        update(JobRow)
        .where(JobRow.id == row.id, JobRow.version == row.version, JobRow.status.not_in(TERMINAL))
        .values(version=JobRow.version + 1, **values)
        .execution_options(synchronize_session=False)
    )
    return cast("CursorResult[Any]", changed).rowcount == 1


def show_progress(session: Session, job_id: str, attempt: int, **values: Any) -> None:
    """Change what is only displayed; decides nothing, so it takes no part in compare-and-set."""
    session.execute(
        update(JobRow)
        .where(JobRow.id == job_id, JobRow.attempt == attempt, JobRow.status.not_in(TERMINAL))
        .values(**values)
        .execution_options(synchronize_session=False)
    )


# ---- events and checkpoints -----------------------------------------------------------------


def event_id(job_id: str, attempt: int, pod: str, sequence: int) -> str:
    """The same event always has the same id."""
    return f"ftevent-{sha256_hex(f'{job_id}/{attempt}/{pod}/{sequence}'.encode())[:32]}"


def add_event(session: Session, event: JobEventRow) -> bool:
    """Insert an event once, as the newest of its job. Returns whether it is new.

    A job's clock is another than ours, and its events arrive late: whoever reads the newest events
    until the first that is known must not miss any, so ``at`` never goes back.
    """
    newest = session.scalar(select(func.max(JobEventRow.at)).where(JobEventRow.job_id == event.job_id))
    if newest is not None:
        event.at = max(event.at, newest + EVENT_SPACING_S)
    return _insert_once(session, event)


def events_page(session: Session, job_id: str, *, after: JobEventRow | None, limit: int) -> list[JobEventRow]:
    """Up to ``limit`` events, the newest first."""
    query = select(JobEventRow).where(JobEventRow.job_id == job_id)
    if after is not None:
        query = query.where(
            or_(JobEventRow.at < after.at, and_(JobEventRow.at == after.at, JobEventRow.id < after.id))
        )
    query = query.order_by(JobEventRow.at.desc(), JobEventRow.id.desc())
    return list(session.scalars(query.limit(limit)))


def get_event(session: Session, job_id: str, event: str) -> JobEventRow | None:
    """One event of a job."""
    row = session.get(JobEventRow, event)
    return row if row is not None and row.job_id == job_id else None


def add_checkpoint(session: Session, checkpoint: JobCheckpointRow) -> bool:
    """Insert a checkpoint once. Returns whether it is new."""
    return _insert_once(session, checkpoint)


def checkpoints(session: Session, job_id: str) -> list[JobCheckpointRow]:
    """All checkpoints of a job, the newest first."""
    query = select(JobCheckpointRow).where(JobCheckpointRow.job_id == job_id)
    order = (JobCheckpointRow.created_at.desc(), JobCheckpointRow.step.desc(), JobCheckpointRow.id.desc())
    return list(session.scalars(query.order_by(*order)))


def _insert_once(session: Session, row: JobEventRow | JobCheckpointRow | JobRequestRow) -> bool:
    try:
        with session.begin_nested():
            session.add(row)
    except IntegrityError:
        return False
    return True


# ---- creating requests ------------------------------------------------------------------------


def claim_request(session: Session, request: JobRequestRow) -> bool:
    """Take a request's key; the index lets one of many win. Returns whether this one did."""
    return _insert_once(session, request)


def get_request(session: Session, key: str) -> JobRequestRow | None:
    """The request that holds a key."""
    return session.get(JobRequestRow, key, populate_existing=True)


def take_over_request(session: Session, held: JobRequestRow, request: JobRequestRow) -> bool:
    """Replace an expired holder of a key, unless somebody else did so first."""
    changed = session.execute(
        update(JobRequestRow)
        .where(JobRequestRow.key == held.key, JobRequestRow.job_id == held.job_id)
        .values(
            job_id=request.job_id,
            body_hash=request.body_hash,
            by_retry=request.by_retry,
            created_at=request.created_at,
        )
        .execution_options(synchronize_session=False)
    )
    return cast("CursorResult[Any]", changed).rowcount == 1

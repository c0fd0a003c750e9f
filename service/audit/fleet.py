"""Makes the audit log shorter, in the one way that the database allows."""

from sqlalchemy import delete
from sqlalchemy import select
from sqlalchemy.orm import Session

from service.audit.rows import AuditHorizonRow
from service.audit.rows import AuditRow
from service.audit.triggers import DAY_S
from service.unix_seconds import unix_seconds

DELETED_AT_ONCE = 10_000


def forget_old(session: Session, *, days: int) -> int:
    """Delete entries that are older than so many days, some at a time. Returns how many."""
    horizon = float(session.scalar(select(unix_seconds())) or 0.0) - days * DAY_S
    old = select(AuditRow.id).where(AuditRow.at < horizon).order_by(AuditRow.at).limit(DELETED_AT_ONCE)
    ids = list(session.scalars(old))
    if not ids:
        return 0
    session.merge(AuditHorizonRow(id=1, before=horizon))
    session.flush()
    for start in range(0, len(ids), 500):
        session.execute(delete(AuditRow).where(AuditRow.id.in_(ids[start : start + 500])))
    return len(ids)

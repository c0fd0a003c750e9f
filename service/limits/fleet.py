"""Queries about the limits of all projects, for the reconciler."""

from collections.abc import Collection
from collections.abc import Mapping

from sqlalchemy import delete
from sqlalchemy import select
from sqlalchemy.orm import Session

from service.limits.counts import HOUR_S
from service.limits.counts import Counts
from service.limits.numbers import Limits
from service.limits.rows import ByteReservationRow
from service.limits.rows import LimitHoldRow
from service.limits.rows import ProjectLimitsRow
from service.unix_seconds import unix_seconds


def limits_of(session: Session, projects: Collection[str], defaults: Limits) -> Mapping[str, Limits]:
    """The limits of projects."""
    query = select(ProjectLimitsRow).where(ProjectLimitsRow.project.in_(projects))
    own = {row.project: row.limits for row in session.scalars(query)}
    return {project: defaults.overridden(own.get(project, {})) for project in projects}


def forget_lapsed(session: Session) -> None:
    """Delete what was reserved or held by processes that have died."""
    for table in (ByteReservationRow, LimitHoldRow):
        session.execute(delete(table).where(table.expires_at < unix_seconds()))


def without_gpu_hours(session: Session, limits: Mapping[str, Limits]) -> frozenset[str]:
    """Projects that have used up the GPU hours of the last 30 days."""
    used_up = set()
    for project, each in limits.items():
        if each.gpu_hours is not None:
            used_s = Counts(session, project).gpu_seconds()
            if used_s >= each.gpu_hours * HOUR_S:
                used_up.add(project)
    return frozenset(used_up)

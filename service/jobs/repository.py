"""Rows of jobs, their events, checkpoints and creating requests. See :mod:`service.work.repository`."""

from typing import Final
from typing import get_args

from sqlalchemy import select
from sqlalchemy.orm import Session

from deploy.contract.judgement import Verdict
from service.tables import JobCheckpointRow
from service.tables import JobEventRow
from service.tables import JobRequestRow
from service.tables import JobRow
from service.work.repository import WorkRepository
from service.work.repository import insert_once

JOBS: Final = WorkRepository(
    rows=JobRow,
    events=JobEventRow,
    requests=JobRequestRow,
    event_prefix="ftevent",
    outline=("pause_requested",),
)


def get(session: Session, project: str, job_id: str) -> JobRow | None:
    """One job."""
    return JOBS.get(session, project, job_id)


def add_checkpoint(session: Session, checkpoint: JobCheckpointRow) -> bool:
    """Insert a checkpoint once. Returns whether it is new."""
    return insert_once(session, checkpoint)


def checkpoints(session: Session, row: JobRow) -> list[JobCheckpointRow]:
    """All checkpoints of a job, the newest first."""
    query = select(JobCheckpointRow).where(JobCheckpointRow.job_id == row.id)
    order = (JobCheckpointRow.created_at.desc(), JobCheckpointRow.step.desc(), JobCheckpointRow.id.desc())
    return list(session.scalars(query.order_by(*order)))


def verdict_of(session: Session, project: str, job_id: str) -> Verdict | None:
    """The verdict on a job's hardened model; None where it has none."""
    row = JOBS.get(session, project, job_id)
    said = (row.outcome or {}).get("verdict") if row is not None else None
    return said if said in get_args(Verdict) else None

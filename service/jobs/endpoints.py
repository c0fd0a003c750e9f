"""The routes of fine-tuning jobs."""

from typing import Annotated

from fastapi import APIRouter
from fastapi import Header
from fastapi import Query
from fastapi import Request

from service.answers.once import Once
from service.auth import Caller
from service.auth import requires
from service.body import json_body
from service.clock import seconds
from service.context import ContextDep
from service.context import Reading
from service.context import Writing
from service.errors import BadRequest
from service.errors import NotFound
from service.jobs import repository
from service.jobs import service
from service.jobs.repository import JOBS
from service.jobs.schemas import CreateJob
from service.jobs.view import CheckpointView
from service.jobs.view import EventView
from service.jobs.view import JobView
from service.jobs.view import view_checkpoint
from service.jobs.view import view_event
from service.jobs.view import view_job
from service.limits.receiving import quotas_of
from service.paging import Page
from service.paging import page_of
from service.work.creation import Repetition
from service.work.metadata import metadata_of

router = APIRouter(prefix="/fine_tuning/jobs", tags=["fine-tuning"], dependencies=[requires("train")])
Limit = Annotated[int, Query(ge=1, le=100)]


@router.post("")
def create(
    *,
    body: Annotated[CreateJob, json_body(CreateJob)],
    session: Writing,
    context: ContextDep,
    caller: Caller,
    once: Once,
    x_stainless_retry_count: Annotated[str | None, Header()] = None,
) -> JobView:
    """Create a job."""
    once.begin(session, body)
    repetition = Repetition.of(once, x_stainless_retry_count)
    quotas = quotas_of(context, session, caller.project)
    row = service.create_job(
        session,
        caller.project,
        body,
        repetition,
        now=context.clock.now(),
        cluster=context.settings.cluster,
        admit=quotas.admit_job,
    )
    return once.done(session, view_job(row))


@router.get("")
def list_jobs(
    request: Request, session: Reading, caller: Caller, after: str | None = None, limit: Limit = 20
) -> Page[JobView]:
    """Jobs, the newest first; ``metadata[key]=value`` keeps those with that pair."""
    cursor = None if after is None else repository.get(session, caller.project, after)
    if after is not None and cursor is None:
        raise BadRequest(f"There is no job {after!r} to continue after.", param="after")
    rows = JOBS.page(session, caller.project, after=cursor, limit=limit + 1, metadata=metadata_of(request))
    return page_of([view_job(row) for row in rows], limit=limit)


@router.get("/{job_id}")
def retrieve(job_id: str, session: Reading, caller: Caller) -> JobView:
    """One job."""
    return view_job(service.require(session, caller.project, job_id))


@router.post("/{job_id}/cancel")
def cancel(job_id: str, session: Writing, context: ContextDep, caller: Caller) -> JobView:
    """Cancel a job."""
    return view_job(service.cancel_job(session, caller.project, job_id, now=context.clock.now()))


@router.post("/{job_id}/pause")
def pause(job_id: str, session: Writing, context: ContextDep, caller: Caller) -> JobView:
    """Pause a job: its run stops with a checkpoint."""
    return view_job(service.pause_job(session, caller.project, job_id, now=context.clock.now()))


@router.post("/{job_id}/resume")
def resume(job_id: str, session: Writing, context: ContextDep, caller: Caller) -> JobView:
    """Resume a paused job."""
    return view_job(service.resume_job(session, caller.project, job_id, now=seconds(context.clock)))


@router.get("/{job_id}/events")
def events(
    job_id: str, session: Reading, caller: Caller, after: str | None = None, limit: Limit = 20
) -> Page[EventView]:
    """What happened, the newest first."""
    job = service.require(session, caller.project, job_id)
    cursor = None if after is None else JOBS.get_event(session, job, after)
    if after is not None and cursor is None:
        raise BadRequest(f"There is no event {after!r} to continue after.", param="after")
    rows = JOBS.events_page(session, job, after=cursor, limit=limit + 1)
    return page_of([view_event(row) for row in rows], limit=limit)


@router.get("/{job_id}/checkpoints")
def checkpoints(
    job_id: str, session: Reading, caller: Caller, after: str | None = None, limit: Limit = 10
) -> Page[CheckpointView]:
    """Checkpoints, the newest first."""
    job = service.require(session, caller.project, job_id)
    rows = repository.checkpoints(session, job)
    if after is not None:
        position = next((index for index, row in enumerate(rows) if row.id == after), None)
        if position is None:
            raise NotFound(f"There is no checkpoint {after!r} to continue after.", param="after")
        rows = rows[position + 1 :]
    return page_of([view_checkpoint(row) for row in rows[: limit + 1]], limit=limit)

"""What a user may do to jobs: create, look, cancel, pause, resume."""

import secrets
from collections.abc import Callable
from functools import partial
from typing import Any
from typing import Final

from sqlalchemy.orm import Session

from deploy.contract.document import sha256_hex
from deploy.kubernetes.settings import ClusterSettings
from service.base_models.repository import BaseModelRepository
from service.errors import BadRequest
from service.errors import Conflict
from service.errors import NotFound
from service.files.repository import FileRepository
from service.ids import new_id
from service.jobs import repository
from service.jobs.repository import JOBS
from service.jobs.resources import check_resources
from service.jobs.resources import gpus_of
from service.jobs.schemas import CreateJob
from service.tables import JobRow
from service.work import history
from service.work.creation import Repetition
from service.work.creation import create_once
from service.work.decision import cancelled
from service.work.decision import decide
from service.work.decision import refuse_ended

TRAINING_PURPOSES: Final = ("fine-tune",)
PROBE_PURPOSES: Final = ("fine-tune", "evals")


def create_job(
    session: Session,
    project: str,
    body: CreateJob,
    repetition: Repetition,
    *,
    now: float,
    cluster: ClusterSettings | None = None,
    admit: Callable[[], None] = lambda: None,
) -> JobRow:
    """Accept a job, or find the one that the same request made already.

    Args:
        session: writing.
        project: that it belongs to.
        body: of the request.
        repetition: what the request says of itself.
        now: Unix seconds.
        cluster: where jobs run; None runs them on this machine.
        admit: asked before one more is made.

    Raises:
        BadRequest: the model, a file or the resources cannot be had.
        NotFound: there is no such model or file.
        LimitReached: ``admit`` says that the project may have no more.
    """

    def accept() -> JobRow:
        check_resources(body.hardening.resources, body.hardening.queue, cluster)
        admit()
        check_references(session, project, body, now=int(now))
        return _new_row(project, body, now, gpus=gpus_of(body.hardening.resources, cluster))

    body_hash = sha256_hex(body.to_bytes())
    created = create_once(session, JOBS, project, repetition, body_hash=body_hash, make=accept, now=now)
    if created.new:
        history.record(
            session,
            JOBS,
            created.row,
            f"Created fine-tuning job: {created.row.id}",
            at=now,
            sequence=history.CREATION,
        )
    return created.row


def check_references(session: Session, project: str, body: CreateJob, *, now: int) -> None:
    """Lock what a job names, so that none of it is deleted before the job that needs it is there.

    Raises:
        NotFound: no such model or file, or its time is over at ``now`` (Unix seconds).
        BadRequest: it is there and cannot be used.
    """
    base = BaseModelRepository(session, project).get(body.model, lock=True)
    if base is None:
        raise NotFound(f"There is no base model {body.model!r}.", code="model_not_found", param="model")
    if base.status == "failed":
        raise BadRequest(f"The base model {body.model!r} was refused.", code="model_not_ready", param="model")
    files = {
        "training_file": body.training_file,
        "validation_file": body.validation_file,
        "hardening.probe.file": body.hardening.probe.file,
    }
    for param, file_id in files.items():
        if file_id is not None:
            _check_file(FileRepository(session, project), file_id, param, now)


def _check_file(files: FileRepository, file_id: str, param: str, now: int) -> None:
    file = files.get(file_id, now=now, lock=True)
    if file is None:
        raise NotFound(f"There is no file {file_id!r}.", code="file_not_found", param=param)
    accepted = PROBE_PURPOSES if param == "hardening.probe.file" else TRAINING_PURPOSES
    if file.purpose not in accepted:
        raise BadRequest(
            f"{param}: {file_id} has purpose {file.purpose!r}, not {' or '.join(accepted)}.",
            code="invalid_file_purpose",
            param=param,
        )


def _new_row(project: str, body: CreateJob, now: float, *, gpus: int) -> JobRow:
    method = body.chosen_method
    asked = method.hyperparameters.model_dump(mode="json")
    return JobRow(
        project=project,
        id=new_id("ftjob"),
        model=body.model,
        training_file=body.training_file,
        validation_file=body.validation_file,
        probe_file=body.hardening.probe.file,
        gpus=gpus,
        method=method.model_dump(mode="json"),
        hyperparameters={
            name: asked[name]
            for name in ("n_epochs", "batch_size", "learning_rate_multiplier", "learning_rate")
        },
        hardening=body.hardening.model_dump(mode="json"),
        suffix=body.suffix,
        seed=secrets.randbelow(2**31) if body.seed is None else body.seed,
        user_metadata=body.metadata,
        status="validating_files",
        phase="validating",
        created_at=int(now),
        version=0,
    )


def require(session: Session, project: str, job_id: str) -> JobRow:
    """A job. Raises NotFound."""
    row = repository.get(session, project, job_id)
    if row is None:
        raise NotFound(f"There is no fine-tuning job {job_id!r}.", code="fine_tuning_job_not_found")
    return row


def _decide(
    session: Session,
    find: Callable[[], JobRow],
    decision: Callable[[JobRow], dict[str, Any] | None],
    said: str,
    now: float,
) -> JobRow:
    return decide(session, JOBS, find, decision, said, now=now)


def cancel_job(session: Session, project: str, job_id: str, *, now: float) -> JobRow:
    """End a job now; its run is stopped by the next tick and whatever it commits is never served.

    Raises:
        NotFound: there is no such job.
        Conflict: it has succeeded or failed already.
    """
    return _decide(
        session,
        partial(require, session, project, job_id),
        partial(cancelled, now=now),
        "The job was cancelled.",
        now,
    )


def pause_job(session: Session, project: str, job_id: str, *, now: float) -> JobRow:
    """Stop a job's run with a checkpoint; ``resume`` goes on from it. Raises NotFound, Conflict."""

    def decision(row: JobRow) -> dict[str, Any] | None:
        refuse_ended(row, "paused")
        return None if row.pause_requested else {"pause_requested": True}

    return _decide(
        session, partial(require, session, project, job_id), decision, "The job will be paused.", now
    )


def resume_job(session: Session, project: str, job_id: str, *, now: float) -> JobRow:
    """Let a paused job go on with another attempt. Raises NotFound, Conflict."""

    def decision(row: JobRow) -> dict[str, Any] | None:
        refuse_ended(row, "resumed")
        if not row.pause_requested:
            raise Conflict(f"{row.id} is not paused.", code="job_not_paused")
        values: dict[str, Any] = {"pause_requested": False}
        if row.phase == "paused":
            values |= {"phase": "queued", "next_attempt_at": int(now)}
        return values

    return _decide(session, partial(require, session, project, job_id), decision, "The job goes on.", now)

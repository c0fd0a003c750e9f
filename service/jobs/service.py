"""What a user may do to jobs: create, look, cancel, pause, resume."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from typing import Final

from sqlalchemy.orm import Session

from deploy.contract.document import sha256_hex
from service.base_models.repository import BaseModelRepository
from service.errors import BadRequest
from service.errors import Conflict
from service.errors import NotFound
from service.errors import ServiceError
from service.errors import Unavailable
from service.files.repository import FileRepository
from service.ids import new_id
from service.jobs import history
from service.jobs import repository
from service.jobs.schemas import CreateJob
from service.tables import JobRequestRow
from service.tables import JobRow

DEDUPE_WINDOW_S: Final = 60
"""A client repeats a create that it got no answer to within seconds."""
IDEMPOTENCY_WINDOW_S: Final = 24 * 3600
MAX_IDEMPOTENCY_KEY_CHARS: Final = 255
TRAINING_PURPOSES: Final = ("fine-tune",)
PROBE_PURPOSES: Final = ("fine-tune", "evals")
TRIES: Final = 5
"""Of a compare-and-set against the reconciler, which changes a row at most once a tick."""


class IdempotencyMismatch(ServiceError):  # noqa: N818 - the names of HTTP
    """The Idempotency-Key was used for another request."""

    status = 422
    type = "invalid_request_error"
    default_code = "idempotency_mismatch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Repetition:
    """What a request says about being one of several."""

    idempotency_key: str | None
    is_retry: bool
    """The client says that it has sent this request before."""


def create_job(session: Session, body: CreateJob, repetition: Repetition, *, now: float) -> JobRow:
    """Accept a job, or find the one that the same request made already.

    Raises:
        BadRequest: the model or a file cannot be used, or the key is malformed.
        NotFound: there is no such model or file.
        IdempotencyMismatch: the key belongs to another body.
    """
    body_hash = sha256_hex(body.to_bytes())
    key = _request_key(repetition, body_hash)
    held = repository.get_request(session, key)
    if held is not None:
        earlier = _answer_of(session, held, repetition, body_hash, now)
        if earlier is not None:
            return earlier
    check_references(session, body, now=int(now))
    row = _new_row(body, now)
    request = JobRequestRow(
        key=key, body_hash=body_hash, job_id=row.id, by_retry=repetition.is_retry, created_at=int(now)
    )
    session.add(row)
    session.flush()
    if held is None:
        claimed = repository.claim_request(session, request)
    else:
        claimed = repository.take_over_request(session, held, request)
    if not claimed:
        winner = repository.get_request(session, key)
        earlier = _answer_of(session, winner, repetition, body_hash, now) if winner else None
        if earlier is not None:
            session.delete(row)
            return earlier
    history.record(session, row, f"Created fine-tuning job: {row.id}", at=now)
    return row


def _request_key(repetition: Repetition, body_hash: str) -> str:
    key = repetition.idempotency_key
    if key is None:
        return f"body:{body_hash}"
    if not key or len(key) > MAX_IDEMPOTENCY_KEY_CHARS or not key.isascii() or not key.isprintable():
        raise BadRequest(
            f"Idempotency-Key must have 1 to {MAX_IDEMPOTENCY_KEY_CHARS} printable ASCII characters.",
            code="invalid_idempotency_key",
        )
    return f"key:{key}"


def _answer_of(
    session: Session, held: JobRequestRow, repetition: Repetition, body_hash: str, now: float
) -> JobRow | None:
    """The job of an earlier request, when this one repeats it."""
    age_s = now - held.created_at
    earlier = repository.get(session, held.job_id)
    if repetition.idempotency_key is not None:
        if age_s >= IDEMPOTENCY_WINDOW_S:
            return None
        if held.body_hash != body_hash:
            raise IdempotencyMismatch("This Idempotency-Key was used with another body.")
        return earlier
    # Two equal creates are two jobs, unless the client says that it repeats itself; when its
    # repetition came first, the request that it repeats comes after it.
    repeats = repetition.is_retry or held.by_retry
    if earlier is None or not repeats or age_s >= DEDUPE_WINDOW_S or earlier.status in repository.TERMINAL:
        return None
    return earlier


def check_references(session: Session, body: CreateJob, *, now: int) -> None:
    """Lock what a job names, so that none of it is deleted before the job that needs it is there.

    Raises:
        NotFound: no such model or file, or its time is over at ``now`` (Unix seconds).
        BadRequest: it is there and cannot be used.
    """
    base = BaseModelRepository(session).get(body.model, lock=True)
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
            _check_file(session, file_id, param, now)


def _check_file(session: Session, file_id: str, param: str, now: int) -> None:
    file = FileRepository(session).get(file_id, now=now, lock=True)
    if file is None:
        raise NotFound(f"There is no file {file_id!r}.", code="file_not_found", param=param)
    accepted = PROBE_PURPOSES if param == "hardening.probe.file" else TRAINING_PURPOSES
    if file.purpose not in accepted:
        raise BadRequest(
            f"{param}: {file_id} has purpose {file.purpose!r}, not {' or '.join(accepted)}.",
            code="invalid_file_purpose",
            param=param,
        )


def _new_row(body: CreateJob, now: float) -> JobRow:
    method = body.chosen_method
    asked = method.hyperparameters.model_dump(mode="json")
    return JobRow(
        id=new_id("ftjob"),
        model=body.model,
        training_file=body.training_file,
        validation_file=body.validation_file,
        probe_file=body.hardening.probe.file,
        method=method.model_dump(mode="json"),
        hyperparameters={
            name: asked[name]
            for name in ("n_epochs", "batch_size", "learning_rate_multiplier", "learning_rate")
        },
        hardening=body.hardening.model_dump(mode="json"),
        suffix=body.suffix,
        seed=secrets.randbelow(2**31) if body.seed is None else body.seed,
        job_metadata=body.metadata,
        status="validating_files",
        phase="validating",
        created_at=int(now),
        version=0,
    )


def require(session: Session, job_id: str) -> JobRow:
    """A job. Raises NotFound."""
    row = repository.get(session, job_id)
    if row is None:
        raise NotFound(f"There is no fine-tuning job {job_id!r}.", code="fine_tuning_job_not_found")
    return row


Decision = Callable[[JobRow], dict[str, Any] | None]
"""The columns to change, or None where the job is as wished already. Raises Conflict."""


def _decide(session: Session, job_id: str, decision: Decision, said: str, now: float) -> JobRow:
    for _ in range(TRIES):
        row = require(session, job_id)
        values = decision(row)
        if values is None:
            return row
        if repository.change(session, row, **values):
            history.record(session, row, said, at=now)
            session.expire(row)
            return require(session, job_id)
        session.expire(row)
    raise Unavailable("The job is changing; try again.", code="job_busy")


def cancel_job(session: Session, job_id: str, *, now: float) -> JobRow:
    """End a job now; its run is stopped by the next tick and whatever it commits is never served.

    Raises:
        NotFound: there is no such job.
        Conflict: it has succeeded or failed already.
    """

    def decision(row: JobRow) -> dict[str, Any] | None:
        if row.status == "cancelled":
            return None
        _refuse_ended(row, "cancelled")
        return {
            "status": "cancelled",
            "phase": "cancelled",
            "finished_at": int(now),
            "next_attempt_at": None,
            "estimated_finish": None,
        }

    return _decide(session, job_id, decision, "The job was cancelled.", now)


def pause_job(session: Session, job_id: str, *, now: float) -> JobRow:
    """Stop a job's run with a checkpoint; ``resume`` goes on from it. Raises NotFound, Conflict."""

    def decision(row: JobRow) -> dict[str, Any] | None:
        _refuse_ended(row, "paused")
        return None if row.pause_requested else {"pause_requested": True}

    return _decide(session, job_id, decision, "The job will be paused.", now)


def resume_job(session: Session, job_id: str, *, now: float) -> JobRow:
    """Let a paused job go on with another attempt. Raises NotFound, Conflict."""

    def decision(row: JobRow) -> dict[str, Any] | None:
        _refuse_ended(row, "resumed")
        if not row.pause_requested:
            raise Conflict(f"{row.id} is not paused.", code="job_not_paused")
        values: dict[str, Any] = {"pause_requested": False}
        if row.phase == "paused":
            values |= {"phase": "queued", "next_attempt_at": int(now)}
        return values

    return _decide(session, job_id, decision, "The job goes on.", now)


def _refuse_ended(row: JobRow, wish: str) -> None:
    if row.status in repository.TERMINAL:
        raise Conflict(f"{row.id} has {row.status} and cannot be {wish}.", code="job_already_ended")

"""How jobs, events and checkpoints look to a client: OpenAI's fields, and ours under ``hardening``."""

from typing import Annotated
from typing import Any
from typing import Literal

from pydantic import BaseModel
from pydantic import Field

from service.tables import JobCheckpointRow
from service.tables import JobEventRow
from service.tables import JobRow
from service.work.ends import ERROR_CODES
from service.work.progress import numbers_of
from service.work.progress import waiting_of

ORGANIZATION = "temper"
Status = Literal["validating_files", "queued", "running", "succeeded", "failed", "cancelled"]


class JobView(BaseModel):
    """``fine_tuning.job``."""

    id: str
    object: Literal["fine_tuning.job"] = "fine_tuning.job"
    created_at: int
    finished_at: int | None
    model: str
    fine_tuned_model: str | None
    organization_id: str = ORGANIZATION
    status: str
    training_file: str
    validation_file: str | None
    result_files: list[str]
    trained_tokens: int | None
    seed: int
    error: Annotated[dict[str, Any] | None, Field(description=ERROR_CODES)]
    hyperparameters: dict[str, Any]
    estimated_finish: int | None
    integrations: list[Any] = []
    method: dict[str, Any]
    metadata: dict[str, str] | None
    hardening: dict[str, Any]


class EventView(BaseModel):
    """``fine_tuning.job.event``."""

    id: str
    object: Literal["fine_tuning.job.event"] = "fine_tuning.job.event"
    created_at: int
    level: str
    message: str
    type: str
    data: dict[str, Any]


class CheckpointView(BaseModel):
    """``fine_tuning.job.checkpoint``."""

    id: str
    object: Literal["fine_tuning.job.checkpoint"] = "fine_tuning.job.checkpoint"
    created_at: int
    fine_tuned_model_checkpoint: str
    fine_tuning_job_id: str
    step_number: int
    metrics: dict[str, Any]


def view_job(row: JobRow) -> JobView:
    """A job as its user sees it."""
    return JobView(
        id=row.id,
        created_at=row.created_at,
        finished_at=row.finished_at,
        model=row.model,
        fine_tuned_model=row.fine_tuned_model,
        status=row.status,
        training_file=row.training_file,
        validation_file=row.validation_file,
        result_files=row.result_files,
        trained_tokens=row.trained_tokens,
        seed=row.seed,
        error=row.error,
        hyperparameters=row.hyperparameters,
        estimated_finish=row.estimated_finish,
        method=_method(row),
        metadata=row.user_metadata,
        hardening=_hardening(row),
    )


def _method(row: JobRow) -> dict[str, Any]:
    """The method with the resolved hyperparameters in the place of ``auto``."""
    kind = row.method["type"]
    asked = row.method[kind]["hyperparameters"]
    known = {name: row.hyperparameters.get(name, value) for name, value in asked.items()}
    return {"type": kind, kind: {"hyperparameters": known}}


def _hardening(row: JobRow) -> dict[str, Any]:
    outcome = row.outcome or {}
    return {
        "phase": row.phase,
        "attempt": row.attempt,
        "progress": numbers_of(row.progress),
        "waiting": waiting_of(row.progress),
        "models": outcome.get("models", {}),
        "verdict": outcome.get("verdict"),
        "reasons": outcome.get("reasons", []),
        "report_url": f"/v1/reports/{row.id}" if row.outcome else None,
        **row.hardening,
    }


def view_event(row: JobEventRow) -> EventView:
    """An event as its user sees it."""
    return EventView(
        id=row.id,
        created_at=int(row.at),
        level=row.level,
        message=row.message,
        type=row.type,
        data=row.data,
    )


def view_checkpoint(row: JobCheckpointRow) -> CheckpointView:
    """A checkpoint as its user sees it; it resumes its job and is not served."""
    return CheckpointView(
        id=row.id,
        created_at=row.created_at,
        fine_tuned_model_checkpoint=f"{row.job_id}:{row.arm}:ckpt-step-{row.step}",
        fine_tuning_job_id=row.job_id,
        step_number=row.step,
        metrics={"step": row.step, "epoch": row.epoch, "arm": row.arm, **row.metrics},
    )

"""From a validated row to the spec of an attempt. The same row and attempt always give the same bytes."""

from typing import Any

from pydantic import TypeAdapter

from deploy.contract.method import loss_of
from deploy.contract.spec import JobSpec
from deploy.contract.spec import TrainingPlan
from service.jobs.hyperparameters import Resolved
from service.jobs.inputs import METHOD
from service.jobs.schemas import Hardening
from service.tables import JobRow

_ANY: TypeAdapter[Any] = TypeAdapter(Any)


def make_spec(row: JobRow, attempt: int, *, store_uri: str) -> JobSpec:
    """The spec of ``attempt`` of a job whose inputs were validated.

    Raises:
        ValueError: they were not.
    """
    if row.inputs is None:
        raise ValueError(f"{row.id} has no validated inputs")
    hardening = Hardening.model_validate_json(_ANY.dump_json(row.hardening))
    method = METHOD.validate_json(_ANY.dump_json(row.method))
    document = {
        "job_id": row.id,
        "attempt": attempt,
        "store_uri": store_uri,
        "base_model": row.inputs["base_model"],
        **row.inputs["datasets"],
        "loss": loss_of(method).model_dump(mode="json"),
        "control": hardening.control,
        "row_filter": hardening.row_filter,
        "training": _plan(row, hardening).model_dump(mode="json"),
        "probing": hardening.probe.plan().model_dump(mode="json"),
        "canaries": None if hardening.canaries is None else hardening.canaries.model_dump(mode="json"),
        "policy": hardening.policy.model_dump(mode="json"),
        "created_at": row.created_at,
    }
    return JobSpec.model_validate_json(_ANY.dump_json(document))


def _plan(row: JobRow, hardening: Hardening) -> TrainingPlan:
    resolved = Resolved(**row.hyperparameters)
    options = hardening.training
    return TrainingPlan(
        n_epochs=resolved.n_epochs,
        batch_size=resolved.batch_size,
        learning_rate=resolved.peak_learning_rate,
        warmup_ratio=options.warmup_ratio,
        weight_decay=options.weight_decay,
        max_grad_norm=options.max_grad_norm,
        max_tokens=options.max_tokens,
        micro_batch_tokens=options.micro_batch_tokens,
        gradient_checkpointing=options.gradient_checkpointing,
        precision=options.precision,
        seed=row.seed,
        adapter=hardening.adapter.adapter() if hardening.adapter else None,
    )

"""Makes a verified result visible: models, result files and the job's end, in one transaction."""

import re
from collections.abc import Mapping
from typing import Final

from sqlalchemy.orm import Session

from deploy.contract.result import StoredObject
from deploy.contract.spec import Arm
from deploy.contract.spec import HubBaseModel
from deploy.store.protocol import ObjectStore
from service.base_models.repository import BaseModelRepository
from service.jobs.repository import JOBS
from service.jobs.verification import VerifiedResult
from service.tables import JobRow
from service.tables import ModelRow
from service.work import history
from service.work.result_files import copy_result_file
from service.work.result_files import result_file
from service.work.result_files import result_file_id

_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")
JOB_TAIL: Final = 12
"""Characters of the job's id that end a model's id: 48 random bits."""
RESULT_FILES: Final = ("metrics.csv", "report.json")


def model_id(row: JobRow, arm: Arm) -> str:
    """The id under which an arm is served; the base keeps its own. Has no slash, which clients encode."""
    if arm == "base":
        return row.model
    base = _UNSAFE.sub("-", row.model).strip("-")[:64]
    hardened = f"ft:{base}:temper:{row.suffix or 'job'}:{row.id[-JOB_TAIL:]}"
    return hardened if arm == "hardened" else f"{hardened}:control"


def copy_result_files(store: ObjectStore, verified: VerifiedResult) -> None:
    """Put the result files where files lie. May be repeated."""
    for name, stored in _result_objects(verified).items():
        copy_result_file(store, verified.result.job_id, name, stored)


def _result_objects(verified: VerifiedResult) -> Mapping[str, StoredObject]:
    return dict(zip(RESULT_FILES, (verified.result.metrics, verified.result.report), strict=True))


def publish(session: Session, row: JobRow, verified: VerifiedResult, *, now: float) -> bool:
    """End a job with success, unless it is over already. Returns whether this did it."""
    models = {arm: model_id(row, arm) for arm in verified.result.models}
    ended = JOBS.change(
        session,
        row,
        status="succeeded",
        phase="succeeded",
        fine_tuned_model=models["hardened"],
        trained_tokens=verified.result.trained_tokens,
        result_files=[result_file_id(row.id, name) for name in RESULT_FILES],
        finished_at=int(now),
        estimated_finish=None,
        next_attempt_at=None,
        outcome={
            "models": models,
            "verdict": verified.judgement.verdict,
            "reasons": list(verified.judgement.reasons),
            "versions": verified.result.versions,
        },
    )
    if not ended:
        return False
    for arm in verified.result.models:
        if arm != "base":  # which is registered as a base model, and served as one
            _register_model(session, row, arm, verified, now=now)
    _keep_hub_base(session, row, verified)
    for name, stored in _result_objects(verified).items():
        session.merge(result_file(row, name, stored, now=now))
    said = f"The job has successfully completed. New fine-tuned model: {models['hardened']}"
    history.record(session, JOBS, row, said, at=now, verdict=verified.judgement.verdict)
    return True


def _register_model(session: Session, row: JobRow, arm: Arm, verified: VerifiedResult, *, now: float) -> None:
    identity = model_id(row, arm)
    existing = session.get(ModelRow, identity)
    if existing is not None:
        # An older database was restored: the model outlived its job's row.
        return
    artifact = verified.result.models[arm]
    session.add(
        ModelRow(
            project=row.project,
            id=identity,
            job_id=row.id,
            base_model_id=row.model,
            arm=arm,
            uri=artifact.uri,
            files=[file.model_dump(mode="json") for file in artifact.files],
            architecture=artifact.architecture,
            parameters=artifact.parameters,
            created_at=int(now),
            deleted=False,
        )
    )


def _keep_hub_base(session: Session, row: JobRow, verified: VerifiedResult) -> None:
    """The first job of a hub model brings its weights into the store; from then on it can be served."""
    base = BaseModelRepository(session, row.project).get(row.model)
    if base is None or base.uri is not None or not isinstance(verified.spec.base_model, HubBaseModel):
        return
    artifact = verified.result.models["base"]
    base.uri = artifact.uri
    base.files = [file.model_dump(mode="json") for file in artifact.files]
    base.architecture = artifact.architecture
    base.parameters = artifact.parameters
    base.version += 1

"""From a model's id to the weights that a server loads."""

from dataclasses import dataclass
from dataclasses import replace
from typing import cast

from sqlalchemy.orm import Session

from deploy.contract.document import StoredFile
from deploy.contract.spec import Arm
from service.base_models.repository import BaseModelRepository
from service.models.repository import ModelRepository


@dataclass(frozen=True, slots=True, kw_only=True)
class Servable:
    """Weights in a store, every file known by its hash."""

    uri: str
    files: tuple[StoredFile, ...]
    architecture: str
    arm: Arm
    job_id: str | None = None
    """Of the job that made it; None for a base model."""


def find_servable(session: Session, project: str, model_id: str) -> Servable | None:
    """The weights of an arm of a finished job, or of a base model that is ready; None where there are none."""
    model = ModelRepository(session, project).get(model_id)
    if model is not None:
        found = _servable(model.uri, model.files, model.architecture)
        return replace(found, arm=cast(Arm, model.arm), job_id=model.job_id)
    base = BaseModelRepository(session, project).get(model_id)
    if base is None or base.status != "ready" or base.uri is None:
        return None
    return _servable(base.uri, base.files, base.architecture or "decoder")


def _servable(uri: str, files: list[dict[str, object]], architecture: str) -> Servable:
    stored = tuple(StoredFile.model_validate(file) for file in files)
    return Servable(uri=uri, files=stored, architecture=architecture, arm="base")

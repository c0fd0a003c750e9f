"""From a model's id to the weights that a server loads."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from deploy.contract.document import StoredFile
from service.tables import BaseModelRow
from service.tables import ModelRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Servable:
    """Weights in a store, every file known by its hash."""

    uri: str
    files: tuple[StoredFile, ...]
    architecture: str


def find_servable(session: Session, model_id: str) -> Servable | None:
    """The weights of an arm of a finished job, or of a base model that is ready; None where there are none."""
    model = session.get(ModelRow, model_id)
    if model is not None and not model.deleted:
        return _servable(model.uri, model.files, model.architecture)
    base = session.get(BaseModelRow, model_id)
    if base is None or base.status != "ready" or base.uri is None:
        return None
    return _servable(base.uri, base.files, base.architecture or "decoder")


def _servable(uri: str, files: list[dict[str, object]], architecture: str) -> Servable:
    stored = tuple(StoredFile.model_validate(file) for file in files)
    return Servable(uri=uri, files=stored, architecture=architecture)

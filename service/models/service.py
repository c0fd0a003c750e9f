"""What can be done with models."""

from sqlalchemy.orm import Session

from service.base_models.repository import BaseModelRepository
from service.base_models.service import delete_base_model
from service.context import Context
from service.errors import Conflict
from service.errors import NotFound
from service.models.repository import ModelRepository
from service.models.schemas import ModelObject
from service.models.schemas import base_model
from service.models.schemas import trained_model


def list_models(session: Session, project: str) -> list[ModelObject]:
    """Every model that can be served or started from, newest first."""
    trained = [trained_model(row) for row in ModelRepository(session, project).all()]
    base = [base_model(row) for row in BaseModelRepository(session, project).with_status("ready")]
    return sorted(trained + base, key=lambda model: (model.created, model.id), reverse=True)


def get_model(session: Session, project: str, model_id: str) -> ModelObject:
    """One model. Raises NotFound."""
    trained = ModelRepository(session, project).get(model_id)
    if trained is not None:
        return trained_model(trained)
    base = BaseModelRepository(session, project).get(model_id)
    if base is not None and base.status == "ready":
        return base_model(base)
    raise model_not_found(model_id)


def delete_model(context: Context, project: str, model_id: str) -> None:
    """Delete a model with its weights, and nothing else of its job.

    Raises:
        NotFound: there is no such model.
        Conflict: it is deployed, or (a base model) a job that has not ended needs it.
    """
    with context.database.reading() as session:
        row = ModelRepository(session, project).get(model_id)
        found = get_model(session, project, model_id)
    if row is None:
        delete_base_model(context, project, found.id)
        return
    prefix = _weights_prefix(context, row.uri)
    with context.leftovers.noted(prefix):
        with context.database.writing() as session:
            models = ModelRepository(session, project)
            locked = models.get(model_id, lock=True)
            if locked is None:
                raise model_not_found(model_id)
            endpoint = models.endpoint_of(model_id)
            if endpoint is not None:
                raise Conflict(
                    f"The endpoint {endpoint} serves this model; remove it first.",
                    code="model_deployed",
                    param="model",
                )
            models.mark_deleted(locked)
        context.store.delete_prefix(prefix)


def _weights_prefix(context: Context, uri: str) -> str:
    root = f"{context.store.uri}/"
    key = uri.removeprefix(root).strip("/")
    # Only weights that a job wrote into our own store are ours to delete.
    if not uri.startswith(f"{root}jobs/") or "/models/" not in key:
        raise Conflict("The weights lie outside this service's store.", code="foreign_weights", param="model")
    return f"{key}/"


def model_not_found(model_id: str) -> NotFound:
    """The answer for an id that names no model."""
    return NotFound(f"There is no model {model_id[:128]!r}.", code="model_not_found", param="model")

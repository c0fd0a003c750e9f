"""``/v1/models``, as OpenAI has it. Ids may hold slashes, raw or as ``%2F``."""

from fastapi import APIRouter

from service.auth import Caller
from service.auth import requires
from service.context import ContextDep
from service.context import Reading
from service.models import service
from service.models.schemas import ModelDeleted
from service.models.schemas import ModelList
from service.models.schemas import ModelObject

router = APIRouter(prefix="/models", tags=["models"], dependencies=[requires("train")])


@router.get("")
def list_models(session: Reading, caller: Caller) -> ModelList:
    """List all models; checkpoints are not among them."""
    return ModelList(data=service.list_models(session, caller.project))


@router.get("/{model:path}")
def get_model(model: str, session: Reading, caller: Caller) -> ModelObject:
    """Describe a model."""
    return service.get_model(session, caller.project, model)


@router.delete("/{model:path}")
def delete_model(model: str, context: ContextDep, caller: Caller) -> ModelDeleted:
    """Delete a model that is not deployed, with its weights."""
    service.delete_model(context, caller.project, model)
    return ModelDeleted(id=model)

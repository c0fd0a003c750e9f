"""``/v1/models``, as OpenAI has it. Ids may hold slashes, raw or as ``%2F``."""

from fastapi import APIRouter

from service.context import ContextDep
from service.context import Reading
from service.models import service
from service.models.schemas import ModelDeleted
from service.models.schemas import ModelList
from service.models.schemas import ModelObject

router = APIRouter(prefix="/models", tags=["models"])


@router.get("")
def list_models(session: Reading) -> ModelList:
    """List all models; checkpoints are not among them."""
    return ModelList(data=service.list_models(session))


@router.get("/{model:path}")
def get_model(model: str, session: Reading) -> ModelObject:
    """Describe a model."""
    return service.get_model(session, model)


@router.delete("/{model:path}")
def delete_model(model: str, context: ContextDep) -> ModelDeleted:
    """Delete a model that is not deployed, with its weights."""
    service.delete_model(context, model)
    return ModelDeleted(id=model)

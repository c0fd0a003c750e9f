"""``/v1/base_models``: ours, in OpenAI's manner."""

from typing import Annotated

from fastapi import APIRouter
from fastapi import Query
from fastapi import Request

from service.answers.once import Once
from service.auth import Caller
from service.auth import requires
from service.base_models import service
from service.base_models.schemas import BaseModelDeleted
from service.base_models.schemas import BaseModelFile
from service.base_models.schemas import BaseModelObject
from service.base_models.schemas import CreateBaseModel
from service.body import json_body
from service.context import ContextDep
from service.context import Reading
from service.paging import Page
from service.paging import page_of
from service.streaming import body_of

router = APIRouter(prefix="/base_models", tags=["base models"], dependencies=[requires("train")])


@router.post("")
def create_base_model(
    body: Annotated[CreateBaseModel, json_body(CreateBaseModel)],
    context: ContextDep,
    caller: Caller,
    once: Once,
) -> BaseModelObject:
    """Register a base model: to be uploaded, by URI, or of the hub at one commit."""
    return service.create_base_model(context, caller.project, body, once)


@router.get("")
def list_base_models(
    session: Reading,
    caller: Caller,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Page[BaseModelObject]:
    """List base models, newest first."""
    found = service.list_base_models(session, caller.project, after=after, limit=limit)
    return page_of(found, limit=limit)


@router.get("/{base_model_id}")
def get_base_model(base_model_id: str, context: ContextDep, caller: Caller) -> BaseModelObject:
    """Describe a base model."""
    return service.describe_base_model(context, caller.project, base_model_id)


@router.delete("/{base_model_id}")
def delete_base_model(base_model_id: str, context: ContextDep, caller: Caller) -> BaseModelDeleted:
    """Forget a base model that no running job and no endpoint needs."""
    service.delete_base_model(context, caller.project, base_model_id)
    return BaseModelDeleted(id=base_model_id)


@router.put(
    "/{base_model_id}/files/{name}",
    openapi_extra={"requestBody": {"required": True, "content": {"application/octet-stream": {}}}},
)
async def put_model_file(
    base_model_id: str, name: str, request: Request, context: ContextDep, caller: Caller
) -> BaseModelFile:
    """Upload one declared file as the raw body of the request."""
    chunks = body_of(request, idle_s=context.settings.upload_idle_s)
    stored = await service.receive_model_file(context, caller.project, base_model_id, name, chunks)
    return BaseModelFile(name=stored.name, size_bytes=stored.size_bytes, sha256=stored.sha256)


@router.post("/{base_model_id}/complete")
def complete_base_model(base_model_id: str, context: ContextDep, caller: Caller) -> BaseModelObject:
    """Check an uploaded base model; it is ready or failed afterwards."""
    return service.complete_base_model(context, caller.project, base_model_id)

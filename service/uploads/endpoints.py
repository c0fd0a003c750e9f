"""``/v1/uploads``, as OpenAI has it."""

from typing import Annotated

from fastapi import APIRouter
from fastapi import Request

from service.answers.once import Once
from service.auth import Caller
from service.auth import requires
from service.body import json_body
from service.context import ContextDep
from service.multipart import Form
from service.multipart import form_body
from service.uploads import service
from service.uploads.schemas import CompleteUpload
from service.uploads.schemas import CreateUpload
from service.uploads.schemas import UploadObject
from service.uploads.schemas import UploadPartObject

router = APIRouter(prefix="/uploads", tags=["uploads"], dependencies=[requires("train")])


@router.post("")
def create_upload(
    body: Annotated[CreateUpload, json_body(CreateUpload)], context: ContextDep, caller: Caller, once: Once
) -> UploadObject:
    """Announce a file that arrives in parts within the next hour."""
    return service.create_upload(context, caller.project, body, once)


@router.post("/{upload_id}/parts", openapi_extra=form_body({}, file_field="data", required=()))
async def create_part(
    upload_id: str, request: Request, context: ContextDep, caller: Caller
) -> UploadPartObject:
    """Upload one part of a multipart form: ``data``."""
    form = Form(request, file_field="data", idle_s=context.settings.upload_idle_s)
    return await service.receive_part(context, caller.project, upload_id, form)


@router.post("/{upload_id}/complete")
def complete_upload(
    upload_id: str,
    body: Annotated[CompleteUpload, json_body(CompleteUpload)],
    context: ContextDep,
    caller: Caller,
) -> UploadObject:
    """Join the parts into a file."""
    return service.complete_upload(context, caller.project, upload_id, body)


@router.post("/{upload_id}/cancel")
def cancel_upload(upload_id: str, context: ContextDep, caller: Caller) -> UploadObject:
    """Give the upload up."""
    return service.cancel_upload(context, caller.project, upload_id)

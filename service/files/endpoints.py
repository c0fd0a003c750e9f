"""``/v1/files``, as OpenAI has it."""

from typing import Annotated
from typing import Final
from typing import Literal

from fastapi import APIRouter
from fastapi import Header
from fastapi import Query
from fastapi import Request
from starlette.responses import Response

from deploy.contract.layout import file_key
from service.answers.once import Once
from service.auth import Caller
from service.auth import requires
from service.clock import seconds
from service.context import ContextDep
from service.context import Reading
from service.files import service
from service.files.schemas import MAX_EXPIRES_S
from service.files.schemas import MIN_EXPIRES_S
from service.files.schemas import UPLOAD_PURPOSES
from service.files.schemas import FileDeleted
from service.files.schemas import FileObject
from service.files.schemas import file_object
from service.multipart import Form
from service.multipart import form_body
from service.paging import Page
from service.paging import page_of
from service.streaming import object_response

router = APIRouter(prefix="/files", tags=["files"], dependencies=[requires("train")])
CREATE_FORM: Final = form_body(
    {
        "purpose": {"enum": list(UPLOAD_PURPOSES)},
        "expires_after[anchor]": {"const": "created_at"},
        "expires_after[seconds]": {"type": "integer", "minimum": MIN_EXPIRES_S, "maximum": MAX_EXPIRES_S},
    },
    file_field="file",
    required=("purpose",),
)


@router.post("", openapi_extra=CREATE_FORM)
async def create_file(
    request: Request,
    context: ContextDep,
    caller: Caller,
    once: Once,
    content_length: Annotated[int, Header(ge=0)] = 0,
) -> FileObject:
    """Upload a file of a multipart form: ``purpose`` and ``file``."""
    form = Form(request, file_field="file", idle_s=context.settings.upload_idle_s)
    return await service.receive_file(context, caller.project, form, once, declared=content_length)


@router.get("")
def list_files(
    *,
    context: ContextDep,
    session: Reading,
    caller: Caller,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
    order: Literal["asc", "desc"] = "desc",
    purpose: str | None = None,
) -> Page[FileObject]:
    """List files by age."""
    found = service.list_files(
        session,
        caller.project,
        after=after,
        limit=limit,
        order=order,
        purpose=purpose,
        now=seconds(context.clock),
    )
    return page_of(found, limit=limit)


@router.get("/{file_id}")
def get_file(file_id: str, context: ContextDep, session: Reading, caller: Caller) -> FileObject:
    """Describe a file."""
    return file_object(service.get_file(session, caller.project, file_id, now=seconds(context.clock)))


@router.delete("/{file_id}")
def delete_file(file_id: str, context: ContextDep, caller: Caller) -> FileDeleted:
    """Delete a file that no running job needs."""
    service.delete_file(context, caller.project, file_id)
    return FileDeleted(id=file_id)


@router.get(
    "/{file_id}/content",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {}}, "description": "The bytes as they came."}},
)
def get_file_content(file_id: str, context: ContextDep, caller: Caller) -> Response:
    """Download a file's content."""
    with context.database.reading() as session:
        row = service.get_file(session, caller.project, file_id, now=seconds(context.clock))
    return object_response(context.store, file_key(row.id), size_bytes=row.bytes, filename=row.filename)

"""``/v1/organization/projects``: tenants and their keys, in the form of OpenAI's administration."""

from typing import Annotated

from fastapi import APIRouter
from fastapi import Query

from service.answers.once import Once
from service.auth import Caller
from service.auth import requires
from service.body import json_body
from service.context import ContextDep
from service.context import Reading
from service.context import Writing
from service.errors import BadRequest
from service.paging import Page
from service.paging import page_of
from service.projects import fleet
from service.projects import service
from service.projects.repository import ProjectRepository
from service.projects.schemas import ApiKeyDeleted
from service.projects.schemas import ApiKeyObject
from service.projects.schemas import ApiKeyWithValue
from service.projects.schemas import ArchiveProject
from service.projects.schemas import CreateApiKey
from service.projects.schemas import NamedProject
from service.projects.schemas import ProjectObject
from service.projects.schemas import api_key_object
from service.projects.schemas import api_key_with_value
from service.projects.schemas import project_object

projects = APIRouter(
    prefix="/organization/projects", tags=["projects"], dependencies=[requires("admin", reading="admin")]
)
api_keys = APIRouter(
    prefix="/organization/projects/{project_id}/api_keys",
    tags=["projects"],
    dependencies=[requires("keys", reading="keys")],
)
Limit = Annotated[int, Query(ge=1, le=100)]
Named = Annotated[NamedProject, json_body(NamedProject)]


@projects.post("")
def create_project(body: Named, session: Writing, context: ContextDep, once: Once) -> ProjectObject:
    """Make a project."""
    once.begin(session, body)
    return once.done(
        session, project_object(service.create_project(session, body.name, now=context.clock.now()))
    )


@projects.get("")
def list_projects(
    session: Reading, after: str | None = None, limit: Limit = 20, include_archived: bool = False
) -> Page[ProjectObject]:
    """Projects, the newest first."""
    cursor = None if after is None else ProjectRepository(session, after).get()
    if after is not None and cursor is None:
        raise BadRequest("after: there is no such project.", param="after", code="invalid_cursor")
    rows = fleet.projects_page(session, after=cursor, limit=limit + 1, archived=include_archived)
    return page_of([project_object(row) for row in rows], limit=limit)


@projects.get("/{project_id}")
def get_project(project_id: str, session: Reading) -> ProjectObject:
    """One project."""
    return project_object(service.require_project(session, project_id))


@projects.post("/{project_id}")
def rename_project(project_id: str, body: Named, session: Writing) -> ProjectObject:
    """Give a project another name."""
    return project_object(service.rename_project(session, project_id, body.name))


@projects.post("/{project_id}/archive")
def archive_project(
    project_id: str,
    body: Annotated[ArchiveProject, json_body(ArchiveProject)],
    session: Writing,
    context: ContextDep,
) -> ProjectObject:
    """End a project for good: its keys die, its endpoints go, its work is cancelled, its data is kept or erased."""
    erase, now = body.data == "erase", context.clock.now()
    return project_object(service.archive_project(session, project_id, erase=erase, now=now))


@api_keys.post("")
def create_key(
    project_id: str,
    body: Annotated[CreateApiKey, json_body(CreateApiKey)],
    session: Writing,
    caller: Caller,
    once: Once,
) -> ApiKeyWithValue:
    """Make a key. This answer is the only one that has it: one that is repeated by its Idempotency-Key has null."""
    once.begin(session, body)
    row, secret = service.create_key(session, caller, project_id, body)
    return once.done(session, api_key_with_value(row, secret), hide=("value",))


@api_keys.get("")
def list_keys(
    project_id: str, session: Reading, caller: Caller, after: str | None = None, limit: Limit = 20
) -> Page[ApiKeyObject]:
    """Keys, the newest first, without the keys themselves."""
    service.require_project(session, service.of_caller(caller, project_id))
    keys = ProjectRepository(session, project_id)
    cursor = None if after is None else keys.key(after)
    if after is not None and cursor is None:
        raise BadRequest("after: there is no such API key.", param="after", code="invalid_cursor")
    rows = keys.keys(after=cursor, limit=limit + 1)
    return page_of([api_key_object(row) for row in rows], limit=limit)


@api_keys.get("/{key_id}")
def get_key(project_id: str, key_id: str, session: Reading, caller: Caller) -> ApiKeyObject:
    """One key, without the key itself."""
    return api_key_object(service.require_key(session, caller, project_id, key_id))


@api_keys.delete("/{key_id}")
def revoke_key(project_id: str, key_id: str, session: Writing, caller: Caller) -> ApiKeyDeleted:
    """Revoke a key; it is dead everywhere within five seconds."""
    service.revoke_key(session, caller, project_id, key_id)
    return ApiKeyDeleted(id=key_id)

"""The routes of limits and of what is used of them."""

from typing import Annotated

from fastapi import APIRouter

from service.auth import Caller
from service.auth import requires
from service.body import json_body
from service.context import ContextDep
from service.context import Reading
from service.context import Writing
from service.errors import NotFound
from service.limits.repository import LimitRepository
from service.limits.schemas import ChangeLimits
from service.limits.schemas import UsageObject
from service.limits.usage import usage_of
from service.projects.lookup import is_open_project

router = APIRouter(prefix="/organization", tags=["organization"])


@router.get("/usage", dependencies=[requires("read")])
def usage(caller: Caller, session: Reading, context: ContextDep) -> UsageObject:
    """Show the limits of the caller's project, and what is used of them."""
    return usage_of(session, caller.project, context.settings.limits)


@router.get("/projects/{project_id}/limits", dependencies=[requires("admin", reading="admin")])
def get_limits(project_id: str, session: Reading, context: ContextDep) -> UsageObject:
    """Show the limits of any project, and what is used of them."""
    if not is_open_project(session, project_id):
        raise _not_found(project_id)
    return usage_of(session, project_id, context.settings.limits)


@router.post("/projects/{project_id}/limits", dependencies=[requires("admin")])
def change_limits(
    project_id: str,
    body: Annotated[ChangeLimits, json_body(ChangeLimits)],
    session: Writing,
    context: ContextDep,
) -> UsageObject:
    """Change limits of a project; every process knows of it within five seconds."""
    if not is_open_project(session, project_id):
        raise _not_found(project_id)
    LimitRepository(session, project_id).change(body.model_dump(exclude_unset=True))
    session.flush()
    return usage_of(session, project_id, context.settings.limits)


def _not_found(project_id: str) -> NotFound:
    return NotFound(f"There is no project {project_id[:64]!r}.", code="project_not_found", param="project_id")

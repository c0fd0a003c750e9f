"""The route of the audit log."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter
from fastapi import Query

from service.audit.repository import AuditRepository
from service.audit.repository import Wanted
from service.audit.schemas import AuditObject
from service.audit.schemas import audit_object
from service.auth import Caller
from service.auth import requires
from service.context import Reading
from service.errors import BadRequest
from service.paging import Page
from service.paging import page_of

router = APIRouter(prefix="/organization/audit_logs", tags=["organization"])


@router.get("", dependencies=[requires("keys", reading="keys")])
def list_entries(
    *,
    caller: Caller,
    session: Reading,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 20,
    event_types: Annotated[Sequence[str], Query(alias="event_types[]")] = (),
    actor_ids: Annotated[Sequence[str], Query(alias="actor_ids[]")] = (),
    resource_ids: Annotated[Sequence[str], Query(alias="resource_ids[]")] = (),
    project_ids: Annotated[Sequence[str], Query(alias="project_ids[]")] = (),
    statuses: Annotated[Sequence[int], Query(alias="statuses[]")] = (),
    at_least: Annotated[float | None, Query(alias="effective_at[gte]", ge=0)] = None,
    below: Annotated[float | None, Query(alias="effective_at[lt]", ge=0)] = None,
) -> Page[AuditObject]:
    """List changes and refusals, the newest first: the operator's key those of every project, another its own's."""
    wanted = Wanted(
        actions=event_types,
        key_ids=actor_ids,
        resources=resource_ids,
        projects=project_ids,
        statuses=statuses,
        at_least=at_least,
        below=below,
    )
    entries = AuditRepository(session, None if caller.operator else caller.project)
    rows = entries.page(wanted, after=after, limit=limit + 1)
    if rows is None:
        raise BadRequest("after: there is no such entry.", param="after", code="invalid_cursor")
    return page_of([audit_object(row) for row in rows], limit=limit)

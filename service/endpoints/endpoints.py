"""The routes of endpoints."""

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
from service.endpoints import repository
from service.endpoints import service
from service.endpoints.schemas import CreateEndpoint
from service.endpoints.schemas import EndpointView
from service.endpoints.schemas import UpdateEndpoint
from service.endpoints.schemas import view_endpoint
from service.errors import BadRequest
from service.limits.receiving import quotas_of
from service.paging import Page
from service.paging import page_of

router = APIRouter(prefix="/endpoints", tags=["endpoints"], dependencies=[requires("deploy")])


@router.post("")
def create(
    body: Annotated[CreateEndpoint, json_body(CreateEndpoint)],
    session: Writing,
    context: ContextDep,
    caller: Caller,
    once: Once,
) -> EndpointView:
    """Deploy a model."""
    once.begin(session, body)
    row = service.create_endpoint(
        session,
        caller.project,
        body,
        now=context.clock.now(),
        settings=context.settings,
        store=context.store,
        admit=quotas_of(context, session, caller.project).admit_endpoint,
    )
    return once.done(session, view_endpoint(row))


@router.get("")
def list_endpoints(
    session: Reading,
    caller: Caller,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> Page[EndpointView]:
    """Endpoints, the newest first."""
    cursor = None if after is None else repository.get(session, caller.project, after)
    if after is not None and cursor is None:
        raise BadRequest(f"There is no endpoint {after!r} to continue after.", param="after")
    rows = repository.page(session, caller.project, after=cursor, limit=limit + 1)
    return page_of([view_endpoint(row) for row in rows], limit=limit)


@router.get("/{endpoint_id}")
def retrieve(endpoint_id: str, session: Reading, caller: Caller) -> EndpointView:
    """One endpoint."""
    return view_endpoint(service.require(session, caller.project, endpoint_id))


@router.post("/{endpoint_id}")
def update(
    endpoint_id: str,
    body: Annotated[UpdateEndpoint, json_body(UpdateEndpoint)],
    session: Writing,
    context: ContextDep,
    caller: Caller,
) -> EndpointView:
    """Change how many replicas there are, or when it sleeps; no request fails for it."""
    cluster = context.settings.cluster
    return view_endpoint(service.update_endpoint(session, caller.project, endpoint_id, body, cluster=cluster))


@router.delete("/{endpoint_id}")
def remove(endpoint_id: str, session: Writing, caller: Caller) -> EndpointView:
    """Remove an endpoint; its server ends soon after."""
    return view_endpoint(service.remove_endpoint(session, caller.project, endpoint_id))

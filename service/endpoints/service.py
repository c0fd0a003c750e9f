"""What a user may do to endpoints: deploy a model, look, change, remove."""

from collections.abc import Callable
from typing import Final

from sqlalchemy.orm import Session

from deploy.kubernetes.settings import ClusterSettings
from deploy.store.protocol import ObjectStore
from service.endpoints import repository
from service.endpoints.acceptance import check_acceptance
from service.endpoints.acceptance import check_policy
from service.endpoints.acceptance import expect_signature
from service.endpoints.machines import check_replicas
from service.endpoints.machines import check_resources
from service.endpoints.schemas import CreateEndpoint
from service.endpoints.schemas import UpdateEndpoint
from service.endpoints.servable import find_servable
from service.errors import BadRequest
from service.errors import Conflict
from service.errors import NotFound
from service.errors import Unavailable
from service.ids import new_id
from service.jobs.repository import verdict_of
from service.settings import Settings
from service.tables import EndpointRow

TRIES: Final = 5


def create_endpoint(
    session: Session,
    project: str,
    body: CreateEndpoint,
    *,
    now: float,
    settings: Settings,
    store: ObjectStore,
    admit: Callable[[], None] = lambda: None,
) -> EndpointRow:
    """Deploy a model; a model that has a live endpoint keeps it, and that one is the answer.

    Raises:
        NotFound: there is no such model, or it has no weights here.
        BadRequest: no serving engine can run it, or the machines that it asks for are not to be had.
        Forbidden: its policy is wider than the operator allows, or no model of its kind is served.
        Conflict: its verdict is not accepted, or it has no evidence.
        StoreError: whether it has cannot be seen.
        LimitReached: ``admit`` says that the project may have no more.
    """
    cluster, policy = settings.cluster, check_policy(body.policy, settings.evidence)
    max_replicas = body.max_replicas or body.min_replicas
    check_resources(body.resources, cluster)
    check_replicas(body.min_replicas, max_replicas, cluster)
    servable = find_servable(session, project, body.model)
    if servable is None:
        raise NotFound(f"There is no model {body.model!r} to serve.", code="model_not_found", param="model")
    if servable.architecture != "decoder":
        raise BadRequest(
            f"{body.model!r} is an {servable.architecture} model; vLLM serves decoder-only models.",
            code="unsupported_architecture",
            param="model",
        )
    verdict = None if servable.job_id is None else verdict_of(session, project, servable.job_id)
    check_acceptance(servable, verdict, policy, settings.evidence, model_id=body.model)
    expect_signature(servable, policy, store, model_id=body.model)
    if repository.live(session, project, body.model) is None:
        admit()
    row = EndpointRow(
        project=project,
        id=new_id("ep"),
        model_id=body.model,
        active_model_id=body.model,
        status="queued",
        max_model_len=body.max_model_len,
        resources=body.resources.model_dump(mode="json"),
        min_replicas=body.min_replicas,
        max_replicas=max_replicas,
        idle_s=body.idle_s,
        policy=None if body.policy is None else policy.model_dump(mode="json"),
        remove_requested=False,
        created_at=int(now),
        version=0,
    )
    if repository.add(session, row):
        return row
    existing = repository.live(session, project, body.model)
    if existing is None:
        raise Unavailable("The endpoint of this model is just ending; try again.", code="endpoint_busy")
    return existing


def require(session: Session, project: str, endpoint_id: str) -> EndpointRow:
    """An endpoint. Raises NotFound."""
    row = repository.get(session, project, endpoint_id)
    if row is None:
        raise NotFound(f"There is no endpoint {endpoint_id!r}.", code="endpoint_not_found")
    return row


def update_endpoint(
    session: Session, project: str, endpoint_id: str, body: UpdateEndpoint, *, cluster: ClusterSettings | None
) -> EndpointRow:
    """Change what may change while it is served.

    Raises:
        NotFound: there is none.
        Conflict: it has ended, or is about to.
        BadRequest: such replicas are not to be had.
        Unavailable: it changes all the time.
    """
    for _ in range(TRIES):
        row = require(session, project, endpoint_id)
        if row.remove_requested or row.status in repository.ENDED:
            raise Conflict(f"The endpoint {endpoint_id!r} has ended.", code="endpoint_ended")
        values = body.model_dump(exclude_unset=True)
        values = {name: value for name, value in values.items() if value is not None or name == "idle_s"}
        new = {"min_replicas": row.min_replicas, "max_replicas": row.max_replicas, **values}
        check_replicas(new["min_replicas"], new["max_replicas"], cluster)
        changed = repository.change(session, row, **values)
        session.expire(row)
        if changed:
            return require(session, project, endpoint_id)
    raise _busy()


def _busy() -> Unavailable:
    return Unavailable("The endpoint is changing; try again.", code="endpoint_busy")


def remove_endpoint(session: Session, project: str, endpoint_id: str) -> EndpointRow:
    """Ask for an endpoint's end; one that has ended stays as it is. Raises NotFound, Unavailable."""
    for _ in range(TRIES):
        row = require(session, project, endpoint_id)
        if row.remove_requested or row.status in repository.ENDED:
            return row
        changed = repository.change(session, row, remove_requested=True)
        session.expire(row)
        if changed:
            return require(session, project, endpoint_id)
    raise _busy()

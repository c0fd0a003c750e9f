"""Bodies and answers of ``/v1/endpoints``."""

from typing import Annotated
from typing import Any
from typing import Literal

from pydantic import BaseModel
from pydantic import Field

from deploy.contract.document import Document
from deploy.contract.resources import ANY_RESOURCES
from deploy.contract.resources import Resources
from deploy.evidence.policy import ServePolicy
from service.tables import EndpointRow

Replicas = Annotated[int, Field(ge=1, le=1000)]
IdleSeconds = Annotated[int, Field(ge=30, le=30 * 86_400)]
"""At least 30: uses are recorded some seconds exact."""


class CreateEndpoint(Document):
    """A model to deploy."""

    model: Annotated[str, Field(min_length=1, max_length=256)]
    max_model_len: Annotated[int, Field(ge=8, le=1_048_576)] | None = None
    """Tokens of prompt and completion together; null takes the model's own limit."""
    resources: Resources = ANY_RESOURCES
    """Of one replica."""
    min_replicas: Replicas = 1
    """While it is awake."""
    max_replicas: Replicas | None = None
    """Up to which waiting requests start more; null is ``min_replicas``."""
    idle_s: IdleSeconds | None = None
    """Seconds without a request after which its servers end, until the next request; null never."""
    policy: ServePolicy | None = None
    """Under which condition a hardened model is served; null takes evidence that holds, with pass or inconclusive."""


class UpdateEndpoint(Document):
    """What may change while an endpoint is served; members that are left out stay as they are."""

    min_replicas: Replicas | None = None
    max_replicas: Replicas | None = None
    idle_s: IdleSeconds | None = None
    """Null lets it never sleep."""


class EndpointView(BaseModel):
    """``endpoint``."""

    id: str
    object: Literal["endpoint"] = "endpoint"
    created_at: int
    model: str
    status: str
    """queued, starting, ready, asleep (the next request wakes it), failed, stopping, stopped."""
    status_details: str | None
    """What it waits for, where that is known."""
    max_model_len: int | None
    resources: dict[str, Any]
    replicas: int
    """That answer now."""
    min_replicas: int
    max_replicas: int
    idle_s: int | None
    policy: dict[str, Any] | None
    """As asked; null is the default."""
    last_used_at: int | None
    """Some seconds exact; also when it became ready."""
    error: dict[str, Any] | None
    """When failed: code and message, with the last lines of the server's log."""


def view_endpoint(row: EndpointRow) -> EndpointView:
    """An endpoint as its user sees it."""
    stopping = row.remove_requested and row.status not in {"failed", "stopped"}
    ready = 1 if row.ready_replicas is None and row.status == "ready" else row.ready_replicas
    error = {"code": "server_failed", "message": row.reason} if row.status == "failed" else None
    return EndpointView(
        id=row.id,
        created_at=row.created_at,
        model=row.model_id,
        status="stopping" if stopping else row.status,
        status_details=None if row.status == "failed" else row.reason,
        max_model_len=row.max_model_len,
        resources=row.resources or ANY_RESOURCES.model_dump(mode="json"),
        replicas=ready or 0,
        min_replicas=row.min_replicas,
        max_replicas=row.max_replicas,
        idle_s=row.idle_s,
        policy=row.policy,
        last_used_at=row.last_used_at,
        error=error,
    )

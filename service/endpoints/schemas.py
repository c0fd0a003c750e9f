"""Bodies and answers of ``/v1/endpoints``."""

from typing import Annotated
from typing import Any
from typing import Literal

from pydantic import BaseModel
from pydantic import Field

from deploy.contract.document import Document
from service.tables import EndpointRow


class CreateEndpoint(Document):
    """A model to deploy."""

    model: Annotated[str, Field(min_length=1, max_length=256)]
    max_model_len: Annotated[int, Field(ge=8, le=1_048_576)] | None = None
    """Tokens of prompt and completion together; null takes the model's own limit."""


class EndpointView(BaseModel):
    """``endpoint``."""

    id: str
    object: Literal["endpoint"] = "endpoint"
    created_at: int
    model: str
    status: str
    max_model_len: int | None
    error: dict[str, Any] | None
    """When failed: code and message, with the last lines of the server's log."""


def view_endpoint(row: EndpointRow) -> EndpointView:
    """An endpoint as its user sees it."""
    stopping = row.remove_requested and row.status not in {"failed", "stopped"}
    error = {"code": "server_failed", "message": row.reason} if row.status == "failed" else None
    return EndpointView(
        id=row.id,
        created_at=row.created_at,
        model=row.model_id,
        status="stopping" if stopping else row.status,
        max_model_len=row.max_model_len,
        error=error,
    )

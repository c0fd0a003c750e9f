"""Bodies and answers about limits."""

from typing import Annotated
from typing import Literal

from pydantic import BaseModel
from pydantic import Field

from deploy.contract.document import Document
from service.limits.numbers import MOST

Limit = Annotated[int, Field(ge=0, le=MOST)] | None


class ChangeLimits(Document):
    """Limits of a project's own; members that are left out stay as they are, null is the operator's default again."""

    requests_per_minute: Limit = None
    requests_at_once: Limit = None
    tokens_per_minute: Limit = None
    tokens_per_day: Limit = None
    unfinished_jobs: Limit = None
    running_jobs: Limit = None
    gpu_hours: Limit = None
    stored_bytes: Limit = None
    endpoints: Limit = None


class LimitView(BaseModel):
    """One limit, and how much of it is used."""

    limit: int | None
    """Null is none."""
    own: bool
    """Whether it is the project's own, not the operator's default."""
    used: float | None
    """Null where nothing is counted, for there is no limit. Of a rate: spent, or about to be, in this window."""
    resets_at: int | None = None
    """Unix seconds, of a rate's window."""


class UsageObject(BaseModel):
    """``organization.usage``."""

    object: Literal["organization.usage"] = "organization.usage"
    project: str
    limits: dict[str, LimitView]
    """By name."""

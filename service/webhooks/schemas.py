"""Bodies and answers of ``/v1/webhook_endpoints``; those of OpenAI's client, and a little more."""

from typing import Annotated
from typing import Any
from typing import Literal

from pydantic import BaseModel
from pydantic import Field
from pydantic import field_validator

from deploy.contract.document import Document
from service.webhooks.events import EventType
from service.webhooks.rows import DeliveryRow
from service.webhooks.rows import WebhookRow
from service.webhooks.targets import MAX_URL_CHARS

Name = Annotated[str, Field(min_length=1, max_length=64)]
Url = Annotated[str, Field(min_length=1, max_length=MAX_URL_CHARS)]
EventTypes = Annotated[list[EventType], Field(min_length=1, max_length=32)]


class CreateWebhook(Document):
    """Where to tell what."""

    name: Name
    url: Url
    """On a host that the operator has listed."""
    event_types: EventTypes

    @field_validator("event_types")
    @classmethod
    def _once(cls, value: list[EventType]) -> list[EventType]:
        return list(dict.fromkeys(value))


class UpdateWebhook(Document):
    """What to change; members that are left out stay as they are."""

    name: Name | None = None
    url: Url | None = None
    event_types: EventTypes | None = None
    enabled: bool | None = None
    """True tries a webhook again that was given up, and what waits for it is delivered."""


class RotateSecret(Document):
    """How to replace a secret."""

    keep_old_secret_active_for_24_hours: bool = False
    """Deliveries are signed with both meanwhile."""


class TestWebhook(Document):
    """What to try a webhook with."""

    __test__ = False

    event_type: EventType


class WebhookView(BaseModel):
    """``webhook_endpoint``."""

    id: str
    object: Literal["webhook_endpoint"] = "webhook_endpoint"
    name: str
    url: str
    event_types: list[str]
    created_at: int
    updated_at: int
    signing_secret_hint: str
    enabled: bool
    disabled_reason: str | None
    """Why it was given up."""


class WebhookWithSecret(WebhookView):
    """``webhook_endpoint``, the one time that its secret is told."""

    signing_secret: str = Field(repr=False)


class WebhookDeleted(BaseModel):
    """``webhook_endpoint.deleted``."""

    id: str
    object: Literal["webhook_endpoint.deleted"] = "webhook_endpoint.deleted"
    deleted: Literal[True] = True


class WebhookTested(BaseModel):
    """``webhook_endpoint.test``: the receiver answered, whatever it was."""

    object: Literal["webhook_endpoint.test"] = "webhook_endpoint.test"
    webhook_endpoint_id: str
    event_type: str
    status_code: int
    success: Literal[True] = True


class EventTypeList(BaseModel):
    """Every type that there is."""

    object: Literal["list"] = "list"
    data: list[str]


class Attempt(BaseModel):
    """One try."""

    at: float
    status: int | None
    """Of HTTP; null where there was no answer."""
    ms: int
    error: str | None
    answer: str | None
    """Its first KiB; what cannot be seen is written as code points."""


class DeliveryView(BaseModel):
    """``webhook_endpoint.delivery``."""

    id: str
    object: Literal["webhook_endpoint.delivery"] = "webhook_endpoint.delivery"
    webhook_endpoint_id: str
    event_id: str
    """The header webhook-id, at every try."""
    event_type: str
    event_data: dict[str, Any]
    created_at: int
    status: str
    """pending, delivered or failed."""
    test: bool
    next_attempt_at: int | None
    attempts: list[Attempt]
    """The newest last."""


def members_of(row: WebhookRow, hint: str) -> dict[str, Any]:
    """What every view of a webhook has."""
    names = ("id", "name", "url", "event_types", "created_at", "updated_at", "enabled", "disabled_reason")
    return {name: getattr(row, name) for name in names} | {"signing_secret_hint": hint}


def view_delivery(row: DeliveryRow) -> DeliveryView:
    """A delivery as its user sees it."""
    return DeliveryView(
        id=row.id,
        webhook_endpoint_id=row.webhook_id,
        event_id=row.event_id,
        event_type=row.event_type,
        event_data=row.data,
        created_at=row.created_at,
        status=row.status,
        test=row.test,
        next_attempt_at=None if row.next_attempt_at is None else int(row.next_attempt_at),
        attempts=[Attempt.model_validate(each) for each in row.attempts],
    )

"""What a user may do to webhooks: create, look, change, replace a secret, try, deliver again, remove."""

from typing import Any
from typing import Final

from sqlalchemy.orm import Session

from service.errors import BadGateway
from service.errors import BadRequest
from service.errors import Conflict
from service.errors import GatewayTimeout
from service.errors import NotFound
from service.errors import Unavailable
from service.ids import new_id
from service.webhooks.events import sample
from service.webhooks.outbox import delivery_of
from service.webhooks.repository import WebhookRepository
from service.webhooks.rows import DeliveryRow
from service.webhooks.rows import WebhookRow
from service.webhooks.schemas import CreateWebhook
from service.webhooks.schemas import UpdateWebhook
from service.webhooks.settings import WebhookSettings
from service.webhooks.targets import TargetRefused
from service.webhooks.targets import parse_target

AT_MOST: Final = 50
"""Webhooks of a project: each makes the end of every job write a row more."""
BOTH_S: Final = 24 * 3600.0
"""For which the old secret signs as well."""


def create_webhook(
    session: Session, project: str, body: CreateWebhook, settings: WebhookSettings, *, now: float
) -> WebhookRow:
    """Have a project's events told to somebody.

    Raises:
        BadRequest: the operator lets no webhook go there.
        Conflict: the project has enough of them.
    """
    webhooks = WebhookRepository(session, project)
    url = check_url(body.url, settings)
    if webhooks.count() >= AT_MOST:
        raise Conflict(f"A project may have {AT_MOST} webhooks.", code="too_many_webhooks")
    row = WebhookRow(
        id=new_id("webhook"),
        project=project,
        name=body.name,
        url=url,
        event_types=list(body.event_types),
        enabled=True,
        secret_version=1,
        created_at=int(now),
        updated_at=int(now),
        version=0,
    )
    webhooks.add(row)
    return row


def check_url(url: str, settings: WebhookSettings) -> str:
    """A URL in its one spelling. Raises BadRequest, which names the setting that would have to change."""
    if not settings.hosts:
        said = "url: Webhooks are off: the operator has listed no host in TEMPER_WEBHOOK_HOSTS."
        raise BadRequest(said, code="webhooks_off", param="url")
    try:
        return parse_target(url, settings.hosts, loopback_http=settings.loopback_http).url
    except TargetRefused as error:
        raise BadRequest(
            f"url: No webhook may go there: {error}.", code="url_refused", param="url"
        ) from error


def require(session: Session, project: str, webhook_id: str, *, lock: bool = False) -> WebhookRow:
    """A webhook. Raises NotFound."""
    row = WebhookRepository(session, project).get(webhook_id, lock=lock)
    if row is None:
        raise NotFound(f"There is no webhook endpoint {webhook_id!r}.", code="webhook_endpoint_not_found")
    return row


def update_webhook(
    session: Session,
    project: str,
    webhook_id: str,
    body: UpdateWebhook,
    settings: WebhookSettings,
    *,
    now: float,
) -> WebhookRow:
    """Change what was given. Raises NotFound, BadRequest."""
    row = require(session, project, webhook_id, lock=True)
    values: dict[str, Any] = body.model_dump(exclude_none=True)
    if "url" in values:
        values["url"] = check_url(values["url"], settings)
    if values.get("enabled"):
        values["disabled_reason"] = None
    changed = {name: value for name, value in values.items() if getattr(row, name) != value}
    if changed:
        _set(row, now, **changed)
    return row


def rotate_secret(
    session: Session, project: str, webhook_id: str, *, keep_old: bool, now: float
) -> WebhookRow:
    """Give a webhook another secret; the old one signs for a day more, or for no moment more. Raises NotFound."""
    row = require(session, project, webhook_id, lock=True)
    _set(
        row,
        now,
        secret_version=row.secret_version + 1,
        previous_until=now + BOTH_S if keep_old else None,
    )
    return row


def _set(row: WebhookRow, now: float, **values: Any) -> None:
    for name, value in values.items():
        setattr(row, name, value)
    row.updated_at = int(now)
    row.version += 1


def remove_webhook(session: Session, project: str, webhook_id: str) -> None:
    """Tell it nothing more, and forget what it was told. Raises NotFound."""
    row = require(session, project, webhook_id, lock=True)
    WebhookRepository(session, project).remove(row)


def begin_test(session: Session, project: str, webhook_id: str, event_type: str, *, now: float) -> str:
    """Leave a sample for a webhook, to be delivered at once. Returns the delivery's id. Raises NotFound."""
    row = require(session, project, webhook_id)
    delivery = delivery_of(row, sample(event_type, new_id("event"), at=int(now)), test=True)
    WebhookRepository(session, project).add(delivery)
    return delivery.id


def status_of_test(session: Session, project: str, webhook_id: str, delivery_id: str) -> int | None:
    """What the receiver answered; None while nothing has come of it.

    Raises:
        NotFound: the webhook is gone meanwhile.
        BadGateway: there was no answer.
    """
    row = require_delivery(session, project, webhook_id, delivery_id)
    if not row.attempts:
        return None
    attempt = row.attempts[-1]
    if attempt["status"] is None:
        headers = {"x-should-retry": "false"}
        raise BadGateway(attempt["error"], code="webhook_not_delivered", headers=headers)
    return int(attempt["status"])


def not_tested(delivery_id: str) -> GatewayTimeout:
    """Nothing has come of a test in time."""
    said = f"Nothing has come of {delivery_id} yet; look at the deliveries later."
    return GatewayTimeout(said, code="webhook_not_tested", headers={"x-should-retry": "false"})


def require_delivery(session: Session, project: str, webhook_id: str, delivery_id: str) -> DeliveryRow:
    """A delivery of a webhook. Raises NotFound."""
    row = WebhookRepository(session, project).delivery(webhook_id, delivery_id)
    if row is None:
        raise NotFound(f"There is no delivery {delivery_id!r}.", code="webhook_delivery_not_found")
    return row


def redeliver(
    session: Session, project: str, webhook_id: str, delivery_id: str, *, now: float
) -> DeliveryRow:
    """Deliver an event again, under the same id, with as many tries as a new one has.

    Raises:
        NotFound: there is none.
        Conflict: the webhook is disabled.
        Unavailable: it is being delivered at this moment.
    """
    webhook = require(session, project, webhook_id)
    row = require_delivery(session, project, webhook_id, delivery_id)
    if not webhook.enabled:
        raise Conflict(f"{webhook_id} is disabled; enable it first.", code="webhook_disabled")
    if not WebhookRepository(session, project).deliver_again(row, now=now):
        raise Unavailable("The delivery is being made; try again.", code="webhook_busy")
    session.expire(row)
    return require_delivery(session, project, webhook_id, delivery_id)

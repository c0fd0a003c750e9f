"""Events are written in the transaction of what they tell of: either both are there or neither is."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.ids import new_id
from service.webhooks.events import Event
from service.webhooks.rows import DeliveryRow
from service.webhooks.rows import WebhookRow


def announce(session: Session, project: str, events: Sequence[Event]) -> int:
    """Leave events for the webhooks of a project that want them. Returns how many deliveries are to be made.

    An event that a webhook has already been left is not left again.
    """
    # Not deleted before the transaction ends, or what it tells of could not be committed.
    wanting = select(WebhookRow).where(WebhookRow.project == project, WebhookRow.enabled.is_(True))
    count = 0
    for webhook in session.scalars(wanting.with_for_update(read=True, key_share=True)):
        wanted = [event for event in events if event.type in webhook.event_types]
        known = select(DeliveryRow.event_id).where(
            DeliveryRow.webhook_id == webhook.id, DeliveryRow.event_id.in_([event.id for event in wanted])
        )
        left = set(session.scalars(known)) if wanted else set()
        session.add_all(delivery_of(webhook, event) for event in wanted if event.id not in left)
        count += len(wanted) - len(left)
    return count


def delivery_of(webhook: WebhookRow, event: Event, *, test: bool = False) -> DeliveryRow:
    """A delivery that is due."""
    return DeliveryRow(
        id=new_id("delivery"),
        project=webhook.project,
        webhook_id=webhook.id,
        event_id=event.id,
        event_type=event.type,
        event_at=event.created_at,
        data=event.data,
        test=test,
        status="pending",
        tries=0,
        next_attempt_at=float(event.created_at),
        attempts=[],
        created_at=event.created_at,
        version=0,
    )


def event_of(delivery: DeliveryRow) -> Event:
    """What a delivery tells."""
    return Event(
        id=delivery.event_id, type=delivery.event_type, created_at=delivery.event_at, data=delivery.data
    )

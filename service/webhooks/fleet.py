"""Questions about the deliveries of all projects, for the process that makes them."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from typing import Final
from typing import cast

from sqlalchemy import ColumnElement
from sqlalchemy import CursorResult
from sqlalchemy import and_
from sqlalchemy import delete
from sqlalchemy import func
from sqlalchemy import or_
from sqlalchemy import select
from sqlalchemy import update
from sqlalchemy.orm import Session

from service.webhooks.rows import DeliveryRow
from service.webhooks.rows import WebhookRow

LOOKED_AT: Final = 200
"""Webhooks with something due, those that wait longest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What is due and not delivered."""

    count: int
    oldest_at: float | None


def _due(now: float) -> ColumnElement[bool]:
    wanted = or_(WebhookRow.enabled.is_(True), DeliveryRow.test.is_(True))
    return and_(DeliveryRow.status == "pending", DeliveryRow.next_attempt_at <= now, wanted)


def waiting(session: Session, *, now: float) -> list[tuple[str, str]]:
    """Webhooks with something due, each with its project, those that wait longest first."""
    query = (
        select(DeliveryRow.project, DeliveryRow.webhook_id)
        .join(WebhookRow, WebhookRow.id == DeliveryRow.webhook_id)
        .where(_due(now))
        .group_by(DeliveryRow.project, DeliveryRow.webhook_id)
        .order_by(func.min(DeliveryRow.next_attempt_at))
    )
    return [(project, webhook) for project, webhook in session.execute(query.limit(LOOKED_AT))]


def due(
    session: Session, webhook_id: str, *, now: float, limit: int, besides: Collection[str]
) -> list[tuple[WebhookRow, DeliveryRow]]:
    """Up to ``limit`` due deliveries of a webhook, besides those."""
    query = (
        select(WebhookRow, DeliveryRow)
        .join(DeliveryRow, WebhookRow.id == DeliveryRow.webhook_id)
        .where(_due(now), DeliveryRow.webhook_id == webhook_id, DeliveryRow.id.not_in(besides))
        .order_by(DeliveryRow.next_attempt_at, DeliveryRow.id)
    )
    return [(webhook, delivery) for webhook, delivery in session.execute(query.limit(limit))]


def backlog(session: Session, *, now: float) -> Backlog:
    """Everything that is due."""
    query = select(func.count(), func.min(DeliveryRow.next_attempt_at)).join(
        WebhookRow, WebhookRow.id == DeliveryRow.webhook_id
    )
    count, oldest_at = session.execute(query.where(_due(now))).one()
    return Backlog(count=count, oldest_at=oldest_at)


def record(session: Session, row: DeliveryRow, **values: Any) -> bool:
    """Compare-and-set: write down what came of a try. Returns whether the delivery was as it was read."""
    changed = session.execute(
        update(DeliveryRow)
        .where(DeliveryRow.id == row.id, DeliveryRow.version == row.version)
        .values(version=DeliveryRow.version + 1, **values)
        .execution_options(synchronize_session=False)
    )
    return cast("CursorResult[Any]", changed).rowcount == 1


def disable(session: Session, row: WebhookRow, reason: str) -> bool:
    """Send a webhook nothing more until its owner says so. Returns whether it was as it was read."""
    changed = session.execute(
        update(WebhookRow)
        .where(WebhookRow.id == row.id, WebhookRow.version == row.version, WebhookRow.enabled.is_(True))
        .values(enabled=False, disabled_reason=reason, version=WebhookRow.version + 1)
        .execution_options(synchronize_session=False)
    )
    return cast("CursorResult[Any]", changed).rowcount == 1


def forget(session: Session, *, before: float) -> int:
    """Drop the log of what was over before then. Returns how many entries there were."""
    gone = session.execute(
        delete(DeliveryRow).where(DeliveryRow.status != "pending", DeliveryRow.finished_at < before)
    )
    return cast("CursorResult[Any]", gone).rowcount

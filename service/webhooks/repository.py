"""Every query about the webhooks of one project."""

from dataclasses import dataclass
from typing import Any
from typing import cast

from sqlalchemy import CursorResult
from sqlalchemy import delete
from sqlalchemy import func
from sqlalchemy import select
from sqlalchemy import update
from sqlalchemy.orm import Session

from service.paging import newest_first
from service.webhooks.rows import DeliveryRow
from service.webhooks.rows import WebhookRow


@dataclass(frozen=True, slots=True)
class WebhookRepository:
    """Webhooks and deliveries of one project, within one transaction."""

    session: Session
    project: str

    def add(self, row: WebhookRow | DeliveryRow) -> None:
        """Insert a row."""
        self.session.add(row)
        self.session.flush()

    def count(self) -> int:
        """How many webhooks there are."""
        query = select(func.count()).select_from(WebhookRow).where(WebhookRow.project == self.project)
        return self.session.scalar(query) or 0

    def get(self, webhook_id: str, *, lock: bool = False) -> WebhookRow | None:
        """One webhook; ``lock`` keeps it as it is until the transaction ends."""
        query = select(WebhookRow).where(WebhookRow.project == self.project, WebhookRow.id == webhook_id)
        return self.session.scalar(query.with_for_update() if lock else query)

    def page(self, *, after: WebhookRow | None, limit: int) -> list[WebhookRow]:
        """Up to ``limit`` webhooks, the newest first."""
        query = select(WebhookRow).where(WebhookRow.project == self.project)
        return list(self.session.scalars(newest_first(query, WebhookRow, after=after).limit(limit)))

    def remove(self, row: WebhookRow) -> None:
        """Delete a locked webhook with its log."""
        of_it = DeliveryRow.webhook_id == row.id
        self.session.execute(delete(DeliveryRow).where(of_it, DeliveryRow.project == self.project))
        self.session.delete(row)

    # ---- deliveries -------------------------------------------------------------------------

    def delivery(self, webhook_id: str, delivery_id: str) -> DeliveryRow | None:
        """One delivery of one webhook."""
        query = select(DeliveryRow).where(
            DeliveryRow.project == self.project,
            DeliveryRow.webhook_id == webhook_id,
            DeliveryRow.id == delivery_id,
        )
        return self.session.scalar(query)

    def deliveries(self, webhook_id: str, *, after: DeliveryRow | None, limit: int) -> list[DeliveryRow]:
        """Up to ``limit`` deliveries of a webhook, the newest first."""
        query = select(DeliveryRow).where(
            DeliveryRow.project == self.project, DeliveryRow.webhook_id == webhook_id
        )
        return list(self.session.scalars(newest_first(query, DeliveryRow, after=after).limit(limit)))

    def deliver_again(self, row: DeliveryRow, *, now: float) -> bool:
        """Let a delivery that is over be made again. Returns whether it was as it was read."""
        changed = self.session.execute(
            update(DeliveryRow)
            .where(DeliveryRow.id == row.id, DeliveryRow.project == self.project)
            .where(DeliveryRow.version == row.version)
            .values(
                status="pending",
                tries=0,
                next_attempt_at=now,
                finished_at=None,
                version=DeliveryRow.version + 1,
            )
            .execution_options(synchronize_session=False)
        )
        return cast("CursorResult[Any]", changed).rowcount == 1

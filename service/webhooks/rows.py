"""The tables of webhooks. Only :mod:`service.webhooks.repository`, its likes and migrations import them.

Times with a fraction are by the database's clock. Nothing here is secret.
"""

from typing import Any

from sqlalchemy import Double
from sqlalchemy import ForeignKey
from sqlalchemy import Index
from sqlalchemy import UniqueConstraint
from sqlalchemy.orm import Mapped
from sqlalchemy.orm import mapped_column

from service.tables import Owned


class WebhookRow(Owned):
    """Somebody who wants to be told."""

    __tablename__ = "webhooks"
    __table_args__ = (Index(None, "project", "created_at", "id"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    url: Mapped[str]
    event_types: Mapped[list[Any]]
    enabled: Mapped[bool] = mapped_column(default=True)
    disabled_reason: Mapped[str | None]
    secret_version: Mapped[int] = mapped_column(default=1)
    previous_until: Mapped[float | None] = mapped_column(Double)
    """Until when the secret of the version before signs as well."""
    created_at: Mapped[int]
    updated_at: Mapped[int]
    version: Mapped[int] = mapped_column(default=0)


class DeliveryRow(Owned):
    """One event for one webhook: written with what it tells of, kept as the log."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        UniqueConstraint("webhook_id", "event_id"),
        Index(None, "status", "webhook_id", "next_attempt_at"),
        Index(None, "webhook_id", "created_at", "id"),
        Index(None, "finished_at"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    webhook_id: Mapped[str] = mapped_column(ForeignKey("webhooks.id"))
    event_id: Mapped[str]
    event_type: Mapped[str]
    event_at: Mapped[int]
    data: Mapped[dict[str, Any]]
    test: Mapped[bool] = mapped_column(default=False)
    """Somebody tries the webhook: once, and also one that is disabled."""
    status: Mapped[str] = mapped_column(default="pending")
    """pending, delivered or failed."""
    tries: Mapped[int] = mapped_column(default=0)
    """Since it was last asked for."""
    next_attempt_at: Mapped[float | None] = mapped_column(Double)
    attempts: Mapped[list[Any]] = mapped_column(default=list)
    """The newest, each with at, status, ms, error and answer."""
    created_at: Mapped[int]
    finished_at: Mapped[float | None] = mapped_column(Double)
    version: Mapped[int] = mapped_column(default=0)

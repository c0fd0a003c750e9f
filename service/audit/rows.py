"""The tables of the audit log. Only :mod:`service.audit` and migrations import them; triggers guard them."""

from sqlalchemy import Double
from sqlalchemy import Index
from sqlalchemy.orm import Mapped
from sqlalchemy.orm import mapped_column

from service.tables import Table


class AuditRow(Table):
    """One change, or one refusal. The database refuses every change of a row, and its deletion before its time."""

    __tablename__ = "audit_log"
    __table_args__ = (Index(None, "project", "id"), Index(None, "at"))

    id: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[float] = mapped_column(Double)
    """By the database's clock."""
    project: Mapped[str | None]
    """None where it is not known who asked."""
    key_id: Mapped[str | None]
    action: Mapped[str]
    """Method and template of the route."""
    resource: Mapped[str | None]
    status: Mapped[int]
    code: Mapped[str | None]
    """Of the error."""
    request_id: Mapped[str]
    """Of the first, where several are one row."""
    address: Mapped[str | None]
    times: Mapped[int]
    """Equal refusals within a second are one row."""


class AuditHorizonRow(Table):
    """Up to when rows may be deleted: the one way in which the log becomes shorter."""

    __tablename__ = "audit_horizon"

    id: Mapped[int] = mapped_column(primary_key=True)
    """Always 1."""
    before: Mapped[float] = mapped_column(Double)
    """By the database's clock; the database refuses what is less than a day ago."""

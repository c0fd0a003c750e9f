"""The tables of limits. Only :mod:`service.limits.repository` and migrations import them."""

from typing import Any

from sqlalchemy import Double
from sqlalchemy.orm import Mapped
from sqlalchemy.orm import mapped_column

from service.tables import Table


class ProjectLimitsRow(Table):
    """Limits that a project has of its own; whoever counts against one holds this row's lock meanwhile."""

    __tablename__ = "project_limits"

    project: Mapped[str] = mapped_column(primary_key=True)
    limits: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """By name; what is not in it is the operator's default."""


class LimitWindowRow(Table):
    """What is taken of a limit within its present window: spent, or handed to a process to be spent."""

    __tablename__ = "limit_windows"

    project: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    began_at: Mapped[int]
    """Whole Unix seconds by the database's clock."""
    taken: Mapped[int]


class LimitHoldRow(Table):
    """Places of a limit on things at once that a process holds."""

    __tablename__ = "limit_holds"

    project: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    holder: Mapped[str] = mapped_column(primary_key=True)
    places: Mapped[int]
    expires_at: Mapped[float] = mapped_column(Double)
    """By the database's clock: a process that has died holds nothing for ever."""


class ByteReservationRow(Table):
    """Bytes of a file that is being received."""

    __tablename__ = "byte_reservations"

    id: Mapped[str] = mapped_column(primary_key=True)
    """Of the file."""
    project: Mapped[str] = mapped_column(index=True)
    bytes: Mapped[int]
    expires_at: Mapped[float] = mapped_column(Double)
    """By the database's clock."""

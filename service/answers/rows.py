"""The table of answers. Only :mod:`service.answers.repository` and migrations import it."""

from sqlalchemy import Double
from sqlalchemy import Index
from sqlalchemy.orm import Mapped
from sqlalchemy.orm import mapped_column

from service.tables import Table


class RequestAnswerRow(Table):
    """A request with an Idempotency-Key; of many at once the index lets one win."""

    __tablename__ = "request_answers"
    __table_args__ = (Index(None, "created_at"),)

    project: Mapped[str] = mapped_column(primary_key=True)
    route: Mapped[str] = mapped_column(primary_key=True)
    """Method and path: the same key there and elsewhere are two."""
    key: Mapped[str] = mapped_column(primary_key=True)
    body_sha256: Mapped[str]
    status: Mapped[int | None]
    """None only within the transaction that creates."""
    body: Mapped[str | None]
    """JSON; never a secret."""
    created_at: Mapped[float] = mapped_column(Double)
    """By the database's clock."""

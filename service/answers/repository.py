"""Every query about answers that are kept."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement
from sqlalchemy import select
from sqlalchemy import update
from sqlalchemy.orm import Session

from service.answers.rows import RequestAnswerRow
from service.unix_seconds import unix_seconds
from service.work.repository import insert_once

WINDOW_S: Final = 24 * 3600
"""So long a repeated request gets the answer of the first one."""


@dataclass(frozen=True, slots=True)
class AnswerRepository:
    """Answers within one transaction."""

    session: Session
    project: str
    route: str

    def claim(self, key: str, *, body_sha256: str) -> RequestAnswerRow | None:
        """Take a key, or find who has it. Waits for whoever is taking it at this moment.

        Returns None when it is taken by this call, which is so until the transaction is undone; else the row that
        has it, locked, with no answer yet only when its owner forgot to keep one.
        """
        row = RequestAnswerRow(
            project=self.project,
            key=key,
            route=self.route,
            body_sha256=body_sha256,
            created_at=unix_seconds(),
        )
        if insert_once(self.session, row):
            return None
        held = self._find(key)
        if held is None or not self._is_over(held):
            return held
        held.body_sha256, held.status, held.body = body_sha256, None, None
        held.created_at = unix_seconds()
        self.session.flush()
        return None

    def is_taken(self, key: str) -> bool:
        """Whether somebody has a key; nothing is locked."""
        row = self.session.get(RequestAnswerRow, (self.project, self.route, key))
        return row is not None and not self._is_over(row)

    def keep(self, key: str, *, status: int, body: str) -> None:
        """Keep the answer to a request whose key was taken in this transaction."""
        self.session.execute(
            update(RequestAnswerRow)
            .where(*self._identity(key))
            .values(status=status, body=body)
            .execution_options(synchronize_session=False)
        )

    def _find(self, key: str) -> RequestAnswerRow | None:
        query = select(RequestAnswerRow).where(*self._identity(key))
        return self.session.scalar(query.with_for_update().execution_options(populate_existing=True))

    def _identity(self, key: str) -> tuple[ColumnElement[bool], ...]:
        row = RequestAnswerRow
        return row.project == self.project, row.route == self.route, row.key == key

    def _is_over(self, row: RequestAnswerRow) -> bool:
        age_s = self.session.scalar(select(unix_seconds() - row.created_at)) or 0.0
        return age_s >= WINDOW_S

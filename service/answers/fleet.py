"""Queries about the answers of all projects."""

from sqlalchemy import delete
from sqlalchemy.orm import Session

from service.answers.repository import WINDOW_S
from service.answers.rows import RequestAnswerRow
from service.unix_seconds import unix_seconds


def forget_old(session: Session) -> None:
    """Delete what nobody can ask for any more."""
    session.execute(delete(RequestAnswerRow).where(RequestAnswerRow.created_at < unix_seconds() - WINDOW_S))

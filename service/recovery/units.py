"""Units of work of a recovery: each is committed on its own, or none of them is when it is only a rehearsal."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DataError
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from service.database import Database
from service.recovery.tally import Tally


class Units:
    """Made by :func:`units`."""

    def __init__(self, database: Database, tally: Tally, rehearsal: Session | None) -> None:
        self._database = database
        self._tally = tally
        self._rehearsal = rehearsal

    @contextmanager
    def unit(self, kind: str, key: str) -> Iterator[Session]:
        """One thing, whole or not at all. What the database refuses is reported under ``key`` and left out."""
        try:
            if self._rehearsal is None:
                with self._database.writing() as session:
                    yield session
            else:
                with self._rehearsal.begin_nested():
                    yield self._rehearsal
        except (IntegrityError, DataError) as error:
            self._tally.skip(kind, key, f"the database refuses it: {type(error.orig).__name__}")


@contextmanager
def units(database: Database, tally: Tally, *, dry_run: bool) -> Iterator[Units]:
    """Units of one recovery; with ``dry_run`` they see each other's work, and none of it is kept."""
    if not dry_run:
        yield Units(database, tally, None)
        return
    with database.rehearsing() as session:
        yield Units(database, tally, session)

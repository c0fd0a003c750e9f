"""A note of objects that are being written or deleted, so that a crash in between is tidied up.

An object and its row cannot be committed together. Whoever writes or deletes an object notes its
key first and strikes it out when object and row agree again; what stays noted is swept: deleted
unless a row stands for it. Only noted keys are ever touched: a service that starts on an empty or
older database deletes nothing else.

Notes are rows, because replicas have no lasting disk. A sweep cannot know whether a note's writer is
alive: it takes the old ones. So that a writer which is merely slow loses nothing that it has
promised, it strikes its note out in the very transaction that makes the object visible, and a note
that is gone by then makes that transaction fail.
"""

import logging
from collections.abc import AsyncIterator
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import asynccontextmanager
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from typing import cast

from anyio.to_thread import run_sync
from sqlalchemy import CursorResult
from sqlalchemy import delete
from sqlalchemy import insert
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from deploy.store.protocol import ObjectStore
from deploy.store.protocol import StoreError
from service.database import Database
from service.errors import Unavailable
from service.ids import new_id
from service.tables import LeftoverRow
from service.unix_seconds import unix_seconds

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Note:
    """One noted key."""

    id: str
    struck: bool = False

    def strike(self, session: Session) -> None:
        """Strike the note out together with what the transaction does.

        Raises:
            Unavailable: a sweep came first and has deleted the object; nothing may name it any more.
        """
        struck = session.execute(delete(LeftoverRow).where(LeftoverRow.id == self.id))
        if cast("CursorResult[Any]", struck).rowcount != 1:
            raise Unavailable("It took too long, and was given up; send it again.", code="given_up")
        self.struck = True


@dataclass(frozen=True, slots=True)
class Leftovers:
    """The notes of one database."""

    database: Database

    @contextmanager
    def noted(self, key: str) -> Iterator[Note]:
        """Note ``key`` (or a prefix, which ends with a slash) until the block ends.

        It stays noted if the process, the store or the database fails in it: what is there then is
        not known, and the sweep finds out.
        """
        note = self._note(key)
        try:
            yield note
        except (StoreError, SQLAlchemyError):
            raise
        except Exception:
            self._forget(note)
            raise
        if not note.struck:
            self._forget(note)

    @asynccontextmanager
    async def noted_async(self, key: str) -> AsyncIterator[Note]:
        """As :meth:`noted`, for the event loop: a database that hangs holds up nobody else."""
        note = await run_sync(self._note, key)
        try:
            yield note
        except (StoreError, SQLAlchemyError):
            raise
        except Exception:
            await run_sync(self._forget, note)
            raise
        if not note.struck:
            await run_sync(self._forget, note)

    def _note(self, key: str) -> Note:
        note = Note(new_id("note"))
        with self.database.writing() as session:
            session.execute(insert(LeftoverRow).values(id=note.id, key=key, noted_at=unix_seconds()))
        return note

    def _forget(self, note: Note) -> None:
        try:
            with self.database.writing() as session:
                session.execute(delete(LeftoverRow).where(LeftoverRow.id == note.id))
        except SQLAlchemyError as error:
            # What the note was for is done, or has failed on its own account; the sweep will look.
            logger.warning("a leftover stays noted", extra={"error": type(error).__name__})

    def sweep(
        self, store: ObjectStore, *, known: Callable[[Session, str], bool], older_than_s: float = 0.0
    ) -> list[str]:
        """Delete the noted objects that no row stands for (``known`` tells), and strike out their notes.

        Args:
            store: where the objects lie.
            known: whether a row stands for a key, within the transaction of the session.
            older_than_s: younger notes are left alone: their writer may be at work. 0 where nobody else can be.

        Returns the keys that were deleted.

        Raises:
            StoreError: the object stays noted, as do those after it.
        """
        old = select(LeftoverRow.id).where(LeftoverRow.noted_at <= unix_seconds() - older_than_s)
        with self.database.reading() as session:
            notes = list(session.scalars(old.order_by(LeftoverRow.noted_at, LeftoverRow.id)))
        swept = [self._sweep_one(store, note, known) for note in notes]
        return [key for key in swept if key is not None]

    def _sweep_one(
        self, store: ObjectStore, note_id: str, known: Callable[[Session, str], bool]
    ) -> str | None:
        with self.database.writing() as session:
            # From here on its writer, should it be alive, waits, and then finds the note gone.
            note = session.scalar(select(LeftoverRow).where(LeftoverRow.id == note_id).with_for_update())
            if note is None:
                return None
            gone = not known(session, note.key)
            if gone and note.key.endswith("/"):
                store.delete_prefix(note.key)
            elif gone:
                store.delete(note.key)
            session.delete(note)
        return note.key if gone else None

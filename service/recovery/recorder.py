"""Keeps the records of :mod:`service.recovery.records`: the reconciling process looks for new rows now and then.

Not part of the requests that make them: those neither wait for the record nor fail without it. What was
made in the second before the database was lost may have none.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field
from functools import partial
from typing import Any
from typing import Final

from pydantic import ValidationError

from deploy.contract.document import Document
from deploy.contract.layout import RecordKind
from deploy.contract.layout import record_key
from deploy.contract.layout import records_prefix
from service.base_models.fleet import base_models_since
from service.base_models.fleet import stored_base_model
from service.context import Context
from service.files.fleet import files_since
from service.jobs.repository import JOBS
from service.recovery.records import record_of_base_model
from service.recovery.records import record_of_end
from service.recovery.records import record_of_file
from service.recovery.records import record_of_work
from service.scans.repository import SCANS
from service.work.fleet import WorkFleet

logger = logging.getLogger(__name__)
OVERLAP_S: Final = 300
"""A row may be committed after a younger one."""
LISTED: Final = -1
"""Time of a record that was there before this process looked."""
WITHOUT_RESULT: Final = ("failed", "cancelled")
WORK: Final[tuple[WorkFleet[Any, Any, Any], ...]] = (WorkFleet(JOBS), WorkFleet(SCANS))


@dataclass(slots=True)
class _Done:
    """What is recorded of one kind, as far as the next look needs to know."""

    ids: dict[str, int]
    newest: int = 0

    def shrink(self) -> None:
        self.ids = {identity: at for identity, at in self.ids.items() if at >= self.since}

    @property
    def since(self) -> int:
        return self.newest - OVERLAP_S


@dataclass(slots=True)
class Recorder:
    """Writes records of rows that have none. Not thread-safe."""

    context: Context
    _done: dict[RecordKind, _Done] = field(default_factory=dict)

    def step(self) -> int:
        """Record what is new. Returns how many records were written. Raises StoreError, SQLAlchemyError."""
        written = self._files() + self._base_models() + self._work() + self._ended()
        for done in self._done.values():
            done.shrink()
        return written

    def _known(self, kind: RecordKind) -> _Done:
        """At first what the store has: whoever led before has written it."""
        if kind not in self._done:
            prefix = records_prefix(kind)
            # The id of a base model may name another one by now; those are few, and written again.
            listed = () if kind == "base_models" else self.context.store.list(prefix)
            ids = (found.key.removeprefix(prefix).removesuffix(".json") for found in listed)
            self._done[kind] = _Done(dict.fromkeys(ids, LISTED))
        return self._done[kind]

    def _put(self, kind: RecordKind, identity: str, at: int, make: Callable[[], Document]) -> bool:
        done = self._known(kind)
        before = done.ids.get(identity)
        done.newest = max(done.newest, at)
        if before in {at, LISTED}:
            return False
        key = record_key(kind, identity)
        try:
            data = make().to_bytes()
        except ValidationError as error:
            logger.error("%s is not recorded: %s", identity, error.errors(include_input=False)[0]["msg"])
        else:
            if kind == "base_models":
                self.context.store.put(key, data)
            else:
                self.context.store.put_once(key, data)
        done.ids[identity] = at
        return True

    def _files(self) -> int:
        done = self._known("files")
        with self.context.database.reading() as session:
            rows = files_since(session, done.since)
        return sum(self._put("files", row.id, row.created_at, partial(record_of_file, row)) for row in rows)

    def _base_models(self) -> int:
        done = self._known("base_models")
        with self.context.database.reading() as session:
            rows = base_models_since(session, done.since)
        written = 0
        for row in rows:
            if self._put("base_models", row.stored_as, row.created_at, partial(record_of_base_model, row)):
                written += 1
                self._drop_if_gone(row.stored_as)
        return written

    def _drop_if_gone(self, stored_as: str) -> None:
        """It may have been deleted, and its record with it, between the look at its row and the writing."""
        with self.context.database.reading() as session:
            there = stored_base_model(session, stored_as) is not None
        if not there:
            self.context.store.delete(record_key("base_models", stored_as))

    def _work(self) -> int:
        done = self._known("work")
        written, since = 0, done.since  # which the jobs must not move on before the scans are looked for
        for fleet in WORK:
            with self.context.database.reading() as session:
                found = fleet.made_since(session, since)
                new = [row for row in found if row.id not in done.ids]
                asked = {row.id: fleet.requests_of(session, row) for row in new}
            written += sum(
                self._put("work", row.id, row.created_at, partial(record_of_work, row, asked.get(row.id, [])))
                for row in found
            )
        return written

    def _ended(self) -> int:
        written, since = 0, self._known("ended").since
        for fleet in WORK:
            with self.context.database.reading() as session:
                found = fleet.ended_since(session, since, WITHOUT_RESULT)
            written += sum(
                self._put("ended", row.id, row.finished_at or 0, partial(record_of_end, row)) for row in found
            )
        return written

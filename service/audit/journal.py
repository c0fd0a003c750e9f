"""Writes the audit log: what a request's own transaction did not write, in batches; and a line of each for collectors.

Covers: a flood of refused requests: equal ones within a second are one row with their number; of more than a thousand
different ones in a second the rest is one row for each project and code. Does not cover: a process that is killed
loses what it refused within its last second, but for the lines that it printed. What a change wrote in its own
transaction is as safe as the change.
"""

import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from typing import Final
from typing import TextIO

from sqlalchemy.exc import SQLAlchemyError
from starlette.types import ASGIApp
from starlette.types import Message
from starlette.types import Receive
from starlette.types import Scope
from starlette.types import Send

from service.audit.entry import REFUSALS
from service.audit.entry import WRITTEN
from service.audit.entry import Entry
from service.audit.entry import entry_of
from service.audit.entry import is_change
from service.audit.entry import write
from service.clock import Clock
from service.database import Database
from service.metrics import Metrics
from service.supervision import kept_doing

logger = logging.getLogger(__name__)
FLUSH_EVERY_S: Final = 1.0
MOST_DIFFERENT: Final = 1000
MOST_TRIES: Final = 60
"""Of writing a batch, once each second; a database that is away for longer has refused every change meanwhile."""
Key = tuple[str | None, str | None, str, str | None, int, str | None, str | None]


class Journal:
    """The audit log of one process. Thread-safe.

    Args:
        database: where rows are written.
        clock: for the lines alone.
        metrics: of the process.
        lines: where each entry is printed as JSON; None prints nothing.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        metrics: Metrics,
        *,
        lines: TextIO | None = None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._lines = lines
        self._lock = threading.Lock()
        self._waiting: dict[Key, Entry] = {}
        self._tries = 0
        self._metrics = metrics

    def tell(self, entry: Entry) -> None:
        """Print an entry that is written already."""
        if self._lines is not None:
            self._lines.write(entry.line(self._clock.now()) + "\n")
            self._lines.flush()

    def add(self, entry: Entry) -> None:
        """Print an entry, and write it soon."""
        self.tell(entry)
        key = _key(entry)
        with self._lock:
            if key not in self._waiting and len(self._waiting) >= MOST_DIFFERENT:
                entry = replace(entry, action="many", resource=None, address=None, key_id=None)
                key = _key(entry)
            known = self._waiting.get(key)
            self._waiting[key] = entry if known is None else replace(known, times=known.times + entry.times)

    def flush(self) -> None:
        """Write what waits."""
        with self._lock:
            batch, self._waiting = self._waiting, {}
        if not batch:
            return
        try:
            with self._database.writing() as session:
                for entry in batch.values():
                    write(session, entry)
            self._tries = 0
        except SQLAlchemyError as error:
            logger.warning("the audit log could not be written: %s", type(error).__name__)
            self._keep(batch)

    def _keep(self, batch: dict[Key, Entry]) -> None:
        self._tries += 1
        if self._tries >= MOST_TRIES:
            self._metrics.audit_lost.inc(sum(entry.times for entry in batch.values()))
            self._tries = 0
            return
        with self._lock:
            for key, entry in batch.items():
                newer = self._waiting.get(key)
                times = entry.times if newer is None else entry.times + newer.times
                self._waiting[key] = replace(entry, times=times)

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """Write in a thread, for as long as the block lasts; then everything that is left."""
        try:
            with kept_doing("audit", self.flush, every_s=FLUSH_EVERY_S):
                yield
        finally:
            self.flush()


def _key(entry: Entry) -> Key:
    return (
        entry.project,
        entry.key_id,
        entry.action,
        entry.resource,
        entry.status,
        entry.code,
        entry.address,
    )


class Audited:
    """ASGI middleware: the outermost, for it tells of every answer."""

    def __init__(self, app: ASGIApp, *, journal: Journal) -> None:
        self._app = app
        self._journal = journal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 0

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            self._note(scope, status)

    def _note(self, scope: Scope, status: int) -> None:
        if status not in REFUSALS and not is_change(scope):
            return
        state: dict[str, Any] = scope.get("state", {})
        entry = entry_of(scope, status=status, code=state.get("error_code"))
        if state.get(WRITTEN) and 200 <= status < 300:
            self._journal.tell(entry)
        else:
            self._journal.add(entry)


def lines_of(wanted: bool) -> TextIO | None:
    """Where entries are printed."""
    return sys.stdout if wanted else None

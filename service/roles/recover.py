"""``python -m service recover``: rebuilds the database from the object store, and tells what it could not."""

import sys
import time
from contextlib import ExitStack
from typing import Final

from service.client.progress_bar import progress_bar
from service.home import holding
from service.recovery.recovery import recover
from service.recovery.tally import Tally
from service.reports.visible import one_line
from service.roles.opening import await_database
from service.roles.opening import clock_of
from service.roles.opening import database_of
from service.roles.opening import log_to_stderr
from service.roles.opening import store_of
from service.schema import migrate
from service.settings import Settings

LOST: Final = """\
Not in the object store, so not rebuilt: uploads that were not complete (send them again), endpoints (create
them again), pauses of jobs (they go on)."""


def run(settings: Settings, *, dry_run: bool, verify: bool) -> int:
    """Recover and print what was done. Returns the exit status: 1 when something was skipped."""
    log_to_stderr(settings)
    store, database = store_of(settings), database_of(settings)
    try:
        with ExitStack() as held:
            if not database.shared:
                held.enter_context(holding(settings.home))
            await_database(database)
            migrate(database)
            now = clock_of(database).now()
            tally = recover(database, store, now=now, dry_run=dry_run, verify=verify, progress=_Bar())
    finally:
        database.close()
    sys.stdout.write(_told(tally, dry_run=dry_run))
    return 1 if any(outcome == "skipped" for _, outcome in tally.counts.elements()) else 0


def _told(tally: Tally, *, dry_run: bool) -> str:
    lines = [f"{one_line(key, limit=200)}: {one_line(why, limit=300)}" for key, why in tally.problems.items()]
    head = "What would be rebuilt (nothing was kept):" if dry_run else "What was rebuilt:"
    return "\n".join([*lines, "", head, tally.table(), "", LOST, ""]).lstrip("\n")


class _Bar:
    """One line that is written over again, on a terminal only."""

    def __init__(self) -> None:
        self._shown_at = 0.0

    def __call__(self, what: str, done: int, of: int) -> None:
        now = time.monotonic()
        if not sys.stderr.isatty() or (now - self._shown_at < 0.1 and done < of):
            return
        self._shown_at = now
        line = progress_bar("recovering", {"done": done, "total": of, "message": what})
        sys.stderr.write(f"\r\x1b[K{line}" + ("\n" if done == of else ""))
        sys.stderr.flush()

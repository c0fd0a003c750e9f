"""The schema of the database: which one this code needs, and how it gets there.

Every migration has a phase. ``pre`` ones expand (a table, a column that may be null, an index): code
of the release before works on their result, so they run before its processes are replaced. ``post``
ones contract, and run when nothing of the release before is left. ``pre`` migrations of one release
come before its ``post`` ones.
"""

import time
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from typing import Literal

import alembic.command
import alembic.config
from alembic.migration import MigrationContext
from alembic.script import Script
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from service.database import Database

Phase = Literal["pre", "post"]
MIGRATIONS: Final = Path(__file__).parent / "migrations"
MIGRATION_LOCK: Final = 0x74_65_6D_70_65_72_00_01
"""Key of PostgreSQL's advisory lock that one migration at a time holds: the letters of the name, then a number."""
RETRY_S: Final = 0.5
FIRST_MIGRATION_S: Final = 120.0
"""A chart's install makes the schema by a Job that starts with the pods that need it."""


class SchemaError(RuntimeError):
    """The schema is not the one that is needed; the message says what to run."""


def migrate(database: Database, *, phase: Phase | None = None, scripts: Path = MIGRATIONS) -> list[str]:
    """Bring the schema up to this version of the code, or as far as a phase goes. Returns what was applied.

    May be repeated, also after a crash: every step is one transaction. Of several at once one works
    and the others wait for it.

    Raises:
        SchemaError: the database was migrated by newer code, or (``pre``) a contracting step of an
            older release was left out, without which this one's expanding steps cannot be reached.
    """
    directory = ScriptDirectory(str(scripts))
    with database.migrating() as connection, _alone(connection):
        current = _current(connection, directory)
        todo = _between(directory, current)
        steps = todo if phase != "pre" else _expanding(todo)
        for step in steps:
            _upgrade(connection, scripts, step.revision)
        return [step.revision for step in steps]


def check_schema(database: Database, *, scripts: Path = MIGRATIONS) -> None:
    """Whether this code can work on the schema: everything that it needs before it starts is there.

    Raises:
        SchemaError: a ``pre`` migration is missing.
        sqlalchemy.exc.SQLAlchemyError: the database does not answer.
    """
    directory = ScriptDirectory(str(scripts))
    with database.engine.connect() as connection:
        # A newer schema is not refused: it was expanded for processes that come after this one.
        current = MigrationContext.configure(connection).get_current_revision()
    if current is not None and current not in _known(directory):
        return
    missing = [step.revision for step in _between(directory, current) if _phase(step) == "pre"]
    if missing:
        raise SchemaError(
            f"the database's schema is {current or 'empty'}, this version needs {missing[-1]}:"
            " run `python -m service migrate --phase pre` first"
        )


def await_schema(
    database: Database,
    *,
    timeout_s: float = FIRST_MIGRATION_S,
    scripts: Path = MIGRATIONS,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Until this code can work on the schema; only a first install's is waited for, which begins with an empty database.

    Raises:
        SchemaError: an older schema was there before, or nobody made one in time.
        sqlalchemy.exc.SQLAlchemyError: the database does not answer.
    """
    deadline = time.monotonic() + timeout_s
    first = _is_empty(database)
    while True:
        try:
            check_schema(database, scripts=scripts)
        except SchemaError:
            if not first or time.monotonic() >= deadline:
                raise
            sleep(RETRY_S)
        else:
            return


def _is_empty(database: Database) -> bool:
    with database.engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision() is None


def wait_for(database: Database, *, timeout_s: float) -> None:
    """Until the database answers.

    Raises:
        sqlalchemy.exc.OperationalError: it did not in time; the last failure.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            database.ping()
        except OperationalError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(RETRY_S)
        else:
            return


@contextmanager
def _alone(connection: Connection) -> Iterator[None]:
    if connection.dialect.name != "postgresql":
        yield  # SQLite has one writer anyway
        return
    # No limit on either: an index on a large table takes as long as it takes, and so does waiting for it.
    connection.execute(text("SET statement_timeout = 0"))
    connection.execute(text("SET lock_timeout = 0"))
    connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": MIGRATION_LOCK})
    connection.execute(text("SET lock_timeout = '10s'"))
    connection.commit()
    try:
        yield
    finally:
        if not connection.closed and not connection.invalidated:
            connection.rollback()
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": MIGRATION_LOCK})
            connection.commit()


def _upgrade(connection: Connection, scripts: Path, revision: str) -> None:
    config = alembic.config.Config()
    config.set_main_option("script_location", str(scripts))
    config.attributes["connection"] = connection
    alembic.command.upgrade(config, revision)
    connection.commit()


def _current(connection: Connection, directory: ScriptDirectory) -> str | None:
    current = MigrationContext.configure(connection).get_current_revision()
    connection.commit()
    if current is not None and current not in _known(directory):
        raise SchemaError(f"the database's schema is {current}, which is newer than this version of the code")
    return current


def _known(directory: ScriptDirectory) -> set[str]:
    return {step.revision for step in directory.walk_revisions()}


def _between(directory: ScriptDirectory, current: str | None) -> list[Script]:
    """What comes after ``current``, in order."""
    after: list[Script] = []
    for step in directory.walk_revisions():
        if step.revision == current:
            break
        after.append(step)
    return after[::-1]


def _phase(step: Script) -> Phase:
    phase: Phase = step.module.phase
    return phase


def _expanding(todo: list[Script]) -> list[Script]:
    phases = [_phase(step) for step in todo]
    count = phases.index("post") if "post" in phases else len(phases)
    if "pre" in phases[count:]:
        raise SchemaError(
            f"step {todo[count].revision} was to run after an earlier upgrade: run"
            " `python -m service migrate --phase post` with that release first"
        )
    return todo[:count]

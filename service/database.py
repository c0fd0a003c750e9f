"""The database: an engine, short transactions, migrations. Owns how; the repositories own what.

SQLite (WAL) is the embedded default, PostgreSQL serves more than one replica. Nobody outside this
module commits: one ``with database.writing()`` is one unit of work.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from typing import Final

import alembic.command
import alembic.config
import sqlalchemy
from sqlalchemy import Connection
from sqlalchemy import Engine
from sqlalchemy import event
from sqlalchemy.orm import Session

BUSY_TIMEOUT_MS: Final = 10_000
"""How long a SQLite writer waits for another one before its request answers 503."""
_WRITES: Final = "temper_writes"


class Database:
    """Units of work on one database."""

    def __init__(self, url: str) -> None:
        self._engine = _engine(url)
        self._writer = self._engine.execution_options(**{_WRITES: True})

    @property
    def engine(self) -> Engine:
        """For migrations and tests; everything else goes through a unit of work."""
        return self._engine

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A transaction that only reads; what it sees is of one moment (on SQLite) and nothing it changes is kept."""
        with Session(self._engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A transaction that commits when the block ends and leaves nothing when it raises."""
        with Session(self._writer, expire_on_commit=False) as session, session.begin():
            yield session

    def migrate(self) -> None:
        """Bring the schema up to this version of the code. Does nothing when it is there already."""
        with self._writer.connect() as connection:
            config = alembic.config.Config()
            config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
            config.attributes["connection"] = connection
            alembic.command.upgrade(config, "head")
            connection.commit()

    def ping(self) -> None:
        """Raises sqlalchemy.exc.SQLAlchemyError when the database does not answer."""
        with self._engine.connect() as connection:
            connection.execute(sqlalchemy.text("SELECT 1"))

    def close(self) -> None:
        """Close every pooled connection."""
        self._engine.dispose()


def _engine(url: str) -> Engine:
    parsed = sqlalchemy.make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return sqlalchemy.create_engine(parsed, pool_pre_ping=True, pool_timeout=10)
    if parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    # 40 is the size of the thread pool that runs the endpoints: none waits for a connection.
    engine = sqlalchemy.create_engine(
        parsed, connect_args={"check_same_thread": False}, pool_size=10, max_overflow=40
    )
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _configure_sqlite(connection: Any, _record: object) -> None:
    # The driver's own transaction control starts too late; _begin_sqlite starts ours.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # A read transaction that turns into a writing one cannot wait for its turn (SQLITE_BUSY_SNAPSHOT),
    # so whoever means to write says so at once.
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

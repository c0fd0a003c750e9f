"""The database: an engine, short transactions. Owns how; the repositories own what.

SQLite (WAL) is the embedded default, PostgreSQL serves more than one replica. Nobody outside this
module commits: one ``with database.writing()`` is one unit of work. The schema is
:mod:`service.schema`'s.
"""

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import Any
from typing import Final

import sqlalchemy
from sqlalchemy import URL
from sqlalchemy import Connection
from sqlalchemy import Engine
from sqlalchemy import event
from sqlalchemy.orm import Session

from service.settings import DatabaseSettings
from service.unix_seconds import unix_seconds

BUSY_TIMEOUT_MS: Final = 10_000
"""How long a SQLite writer waits for another one before its request answers 503."""
KEEPALIVE: Final = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}
"""A dead PostgreSQL machine is noticed within 25 s, even by a connection that only waits."""
TCP_USER_TIMEOUT_MS: Final = 20_000
_WRITES: Final = "temper_writes"


class Database:
    """Units of work on one database."""

    def __init__(
        self, url: str, limits: DatabaseSettings | None = None, *, application_name: str = "temper"
    ) -> None:
        self.url = sqlalchemy.make_url(url)
        if self.shared:
            self._engine = _postgresql(self.url, limits or DatabaseSettings(), application_name)
        else:
            self._engine = _sqlite(self.url)
        self._writer = self._engine.execution_options(**{_WRITES: True})
        self._require: Callable[[], None] = _nothing

    @property
    def shared(self) -> bool:
        """Whether processes on several machines may use it at once: PostgreSQL, not SQLite."""
        return self.url.get_backend_name() == "postgresql"

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
        self._require()
        with Session(self._writer, expire_on_commit=False) as session, session.begin():
            yield session
            session.flush()
            self._require()

    @contextmanager
    def rehearsing(self) -> Iterator[Session]:
        """A transaction that may write, and of which nothing is kept."""
        with Session(self._writer, expire_on_commit=False) as session:
            try:
                yield session
            finally:
                session.rollback()

    def fenced(self, require: Callable[[], None]) -> "Database":
        """The same database, where no unit of work is begun or committed once ``require`` raises."""
        fenced = copy(self)
        fenced._require = require
        return fenced

    @contextmanager
    def migrating(self) -> Iterator[Connection]:
        """A connection that lets its user commit, for :mod:`service.schema`; on PostgreSQL it is never pooled again."""
        with self._writer.connect() as connection:
            if self.shared:
                connection.detach()
            yield connection

    def ping(self) -> None:
        """Raises sqlalchemy.exc.SQLAlchemyError when the database does not answer."""
        with self._engine.connect() as connection:
            connection.execute(sqlalchemy.text("SELECT 1"))

    def now(self) -> float:
        """Unix seconds by the database's clock. Raises as :meth:`ping` does."""
        with self._engine.connect() as connection:
            return float(connection.execute(sqlalchemy.select(unix_seconds())).scalar_one())

    def close(self) -> None:
        """Close every pooled connection."""
        self._engine.dispose()


def _nothing() -> None:
    """Nobody is fenced off."""


def dial(url: URL, *, timeout_s: int, application_name: str) -> dict[str, Any]:
    """What libpq is told of every connection: who we are, and when to give a silent server up."""
    given = {"connect_timeout": timeout_s, "application_name": application_name}
    silence = {"keepalives": 1, **KEEPALIVE, "tcp_user_timeout": TCP_USER_TIMEOUT_MS}
    return {name: value for name, value in (given | silence).items() if name not in url.query}


def _postgresql(url: URL, limits: DatabaseSettings, application_name: str) -> Engine:
    engine = sqlalchemy.create_engine(
        url,
        connect_args=dial(url, timeout_s=limits.connect_timeout_s, application_name=application_name),
        pool_size=limits.pool_size,
        max_overflow=0,
        pool_timeout=limits.pool_timeout_s,
        pool_pre_ping=True,
        pool_use_lifo=True,
    )

    def limit(connection: Any, _record: object) -> None:
        # SET, not a startup option: connection poolers refuse those.
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT set_config('statement_timeout', %s, false),"
                " set_config('lock_timeout', %s, false),"
                " set_config('idle_in_transaction_session_timeout', %s, false)",
                [
                    f"{int(seconds * 1000)}ms"
                    for seconds in (limits.statement_timeout_s, limits.lock_timeout_s, limits.idle_timeout_s)
                ],
            )
        connection.autocommit = False

    event.listen(engine, "connect", limit)
    return engine


def _sqlite(url: URL) -> Engine:
    if url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    # 40 is the size of the thread pool that runs the endpoints: none waits for a connection.
    engine = sqlalchemy.create_engine(
        url, connect_args={"check_same_thread": False}, pool_size=10, max_overflow=40
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

"""Which of several processes works: the one that holds PostgreSQL's advisory lock.

The lock belongs to one connection, which does nothing else. Its holder proves every
:data:`RENEW_S` that it is alive; a server that hears nothing for :data:`SILENCE_S` ends the connection
and with it the lock. A holder believes itself only for :data:`TENURE_S` after a proof, by a clock that
nobody sets, so it stops before the lock can be another's: also when it was paused, or cut off. What
slips through between a look at the clock and a write is caught by the version of the row.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any
from typing import Final

import psycopg
from sqlalchemy import URL

from service.database import dial

logger = logging.getLogger(__name__)
RECONCILER_LOCK: Final = 0x74_65_6D_70_65_72_00_02
"""Key of the advisory lock: the letters of the name, then a number."""
RENEW_S: Final = 2.0
TENURE_S: Final = 10.0
SILENCE_S: Final = 15.0
CONNECT_S: Final = 5


class NotLeading(RuntimeError):  # noqa: N818 - a fact, not a fault
    """The process leads no more, so it writes nothing."""


class AdvisoryLock:
    """One lock of one database. Not thread-safe but for :attr:`held`.

    Args:
        url: of a PostgreSQL of at least version 14.
        key: of the lock.
        application_name: shown in ``pg_stat_activity``.
        monotonic: the clock that nobody sets.
    """

    def __init__(
        self,
        url: URL,
        *,
        key: int = RECONCILER_LOCK,
        application_name: str = "temper-leader",
        tenure_s: float = TENURE_S,
        silence_s: float = SILENCE_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url
        self._key = key
        self._name = application_name
        self._tenure_s = tenure_s
        self._silence_s = silence_s
        self._monotonic = monotonic
        self._connection: psycopg.Connection[Any] | None = None
        self._until = 0.0

    @property
    def held(self) -> bool:
        """Whether nobody else can have the lock now."""
        return self._monotonic() < self._until

    def try_acquire(self) -> bool:
        """Take the lock unless another connection has it. Raises psycopg.Error when there is no database."""
        self.release()
        connection = self._connect()
        try:
            asked = self._monotonic()
            row = connection.execute("SELECT pg_try_advisory_lock(%s)", [self._key]).fetchone()
        except psycopg.Error:
            connection.close()
            raise
        if row is None or not row[0]:
            connection.close()
            return False
        self._connection = connection
        self._until = asked + self._tenure_s
        return True

    def renew(self) -> bool:
        """Prove to the server that the holder is alive. Returns whether the lock is still held."""
        if self._connection is None:
            return False
        asked = self._monotonic()
        try:
            self._connection.execute("SELECT 1")
        except psycopg.Error as error:
            logger.warning("the leader's connection is lost", extra={"error": type(error).__name__})
            self.release()
            return False
        self._until = asked + self._tenure_s
        return True

    def release(self) -> None:
        """Give the lock back, if it is held."""
        self._until = 0.0
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _connect(self) -> psycopg.Connection[Any]:
        options = dial(self._url, timeout_s=CONNECT_S, application_name=self._name)
        # A holder without a network waits for no answer longer than its tenure lasts.
        options["tcp_user_timeout"] = int(self._tenure_s * 1000)
        address = self._url.set(drivername="postgresql").render_as_string(hide_password=False)
        connection = psycopg.connect(address, autocommit=True, **options)
        try:
            connection.execute(
                "SELECT set_config('idle_session_timeout', %s, false), set_config('statement_timeout', %s, false)",
                [f"{int(self._silence_s * 1000)}ms", f"{int(self._tenure_s * 1000)}ms"],
            )
        except psycopg.Error:
            connection.close()
            raise
        return connection


class Leader:
    """Takes part in the election for as long as a process lives.

    Args:
        lock: of the election.
        alive: asked at every proof; when it says no, the lock is given to another process.
        changed: told whether this process leads, whenever that changes.
    """

    def __init__(
        self,
        lock: AdvisoryLock,
        *,
        alive: Callable[[], bool] = lambda: True,
        changed: Callable[[bool], None] = lambda _leads: None,
        renew_s: float = RENEW_S,
    ) -> None:
        self._lock = lock
        self._alive = alive
        self._changed = changed
        self._renew_s = renew_s

    def require(self) -> None:
        """Raises NotLeading unless nobody else can lead now."""
        if not self._lock.held:
            raise NotLeading("this process leads no more")

    def run(self, work: Callable[[threading.Event], None], stop: threading.Event) -> None:
        """Until ``stop`` is set: wait for the lead, then call ``work`` with an event that tells when the lead is lost."""
        while not stop.is_set():
            if self._elected():
                logger.info("this process leads")
                self._lead(work, stop)
                logger.info("this process leads no more")
            stop.wait(self._renew_s)

    def _elected(self) -> bool:
        try:
            return self._lock.try_acquire()
        except psycopg.Error as error:
            logger.warning("no election", extra={"error": type(error).__name__})
            return False

    def _lead(self, work: Callable[[threading.Event], None], stop: threading.Event) -> None:
        lost = _Lost(self._lock, stop)
        ended = threading.Event()
        keeper = threading.Thread(target=self._keep, args=(lost, ended), name="leadership", daemon=True)
        self._changed(True)
        keeper.start()
        try:
            work(lost)
        finally:
            ended.set()
            keeper.join()
            self._lock.release()
            self._changed(False)

    def _keep(self, lost: threading.Event, ended: threading.Event) -> None:
        while not ended.wait(self._renew_s):
            if not self._alive():
                logger.error("the work hangs: another process is to lead")
                lost.set()
                self._lock.release()
                return
            if not self._lock.renew():
                lost.set()
                return


class _Lost(threading.Event):
    """Set when the lead is lost or given up; true by the clock alone before anybody has come to set it."""

    def __init__(self, lock: AdvisoryLock, stop: threading.Event) -> None:
        super().__init__()
        self._lock = lock
        self._stop = stop

    def is_set(self) -> bool:
        return super().is_set() or self._stop.is_set() or not self._lock.held

"""Store and database of a process, as its settings name them."""

import logging
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy.exc import ArgumentError
from sqlalchemy.exc import OperationalError

from deploy.store.checking import check_store
from deploy.store.opening import open_store
from deploy.store.protocol import ObjectStore
from deploy.store.protocol import StoreError
from deploy.store.protocol import StoreRefused
from service.clock import Clock
from service.clock import SharedClock
from service.clock import SystemClock
from service.context import Context
from service.database import Database
from service.environment import SettingsError
from service.schema import wait_for
from service.settings import Settings

logger = logging.getLogger(__name__)
TELLING_LIBRARIES: Final = (
    "boto3",
    "botocore",
    "s3transfer",
    "urllib3",
    "kubernetes",
    "aiohttp",
    "sqlalchemy",
)
"""At ``debug`` they log requests with their credentials, and rows; ours may be debugged, theirs stay quiet."""
START_WAIT_S: Final = 60.0
"""How long a process waits at its start for a database that does not answer."""


def log_to_stderr(settings: Settings) -> None:
    """Of the whole process."""
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    if settings.log_level == "debug":
        for library in TELLING_LIBRARIES:
            logging.getLogger(library).setLevel(logging.INFO)


def store_of(settings: Settings) -> ObjectStore:
    """The object store; it is not contacted yet. Raises SettingsError."""
    try:
        return open_store(settings.store_uri)
    except StoreError as error:
        raise SettingsError(f"TEMPER_STORE_URI: {error}") from error


def ask_store(store: ObjectStore) -> None:
    """Ask the object store whether it is fit for use. One that does not answer may do so later: readiness asks again.

    Raises:
        SettingsError: it is not, and somebody has to change something.
    """
    try:
        check_store(store)
    except StoreRefused as error:
        raise SettingsError(f"object store: {error.code}: {error}") from error
    except StoreError as error:
        logger.warning("object store not ready: %s", error)


def database_of(settings: Settings) -> Database:
    """The database; it is not contacted yet. Raises SettingsError."""
    try:
        return Database(settings.database_url, settings.database, application_name=f"temper-{settings.role}")
    except (ArgumentError, ModuleNotFoundError) as error:
        # Not repeated: the URL may hold a password.
        raise SettingsError("TEMPER_DATABASE_URL: no such database, or its driver is not there") from error


def await_database(database: Database, *, timeout_s: float = START_WAIT_S) -> None:
    """Until the database answers.

    Raises:
        SettingsError: it does not; the reason is the driver's, which repeats no password.
    """
    try:
        wait_for(database, timeout_s=timeout_s)
    except OperationalError as error:
        reason = str(error.orig).strip().splitlines()[0]
        raise SettingsError(f"TEMPER_DATABASE_URL: no answer in {timeout_s:.0f} s: {reason}") from error


def clock_of(database: Database) -> Clock:
    """The clock by which everything is decided: that of the database, where several machines share it."""
    return SharedClock(database.now) if database.shared else SystemClock()


@contextmanager
def opened(settings: Settings, *, schema: Callable[[Database], object]) -> Iterator[Context]:
    """The parts of one process, as soon as its database answers; afterwards the database is closed.

    Args:
        settings: of the process.
        schema: makes the schema what it has to be, or waits for whoever does.

    Raises:
        SettingsError: the database or the store cannot be had; whatever ``schema`` raises.
    """
    log_to_stderr(settings)
    store, database = store_of(settings), database_of(settings)
    try:
        await_database(database)
        ask_store(store)
        schema(database)
        yield Context(settings=settings, database=database, store=store, clock=clock_of(database))
    finally:
        database.close()

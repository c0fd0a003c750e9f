"""``python -m service migrate``: brings the database's schema to this version, in one phase or both."""

import logging

from service.roles.opening import await_database
from service.roles.opening import database_of
from service.roles.opening import log_to_stderr
from service.schema import Phase
from service.schema import migrate
from service.settings import Settings

logger = logging.getLogger(__name__)


def run(settings: Settings, *, phase: Phase | None, wait_s: float) -> None:
    """Migrate once the database answers. Raises SettingsError, SchemaError, sqlalchemy.exc.SQLAlchemyError."""
    log_to_stderr(settings)
    database = database_of(settings)
    try:
        await_database(database, timeout_s=wait_s)
        applied = migrate(database, phase=phase)
        logger.info("applied: %s", ", ".join(applied) or "nothing, the schema is up to date")
    finally:
        database.close()

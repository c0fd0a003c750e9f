"""Alembic's entry point. Always called with a connection by :meth:`service.database.Database.migrate`."""

from alembic import context

from service.tables import Table

connection = context.config.attributes["connection"]
# SQLite cannot alter most things in place; batch mode copies the table instead.
# Its DDL is transactional all the same, so a crash in the middle of a step leaves the step before.
context.configure(
    connection=connection, target_metadata=Table.metadata, render_as_batch=True, transactional_ddl=True
)
with context.begin_transaction():
    context.run_migrations()

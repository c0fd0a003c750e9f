"""The history of the schema, run by Alembic at start-up."""

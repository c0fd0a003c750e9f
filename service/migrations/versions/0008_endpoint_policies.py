"""Endpoints say which verdicts they serve."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None
phase = "pre"


def upgrade() -> None:
    """Add the column; rows of older versions take the default policy."""
    op.add_column("endpoints", sa.Column("policy", sa.JSON(none_as_null=True), nullable=True))

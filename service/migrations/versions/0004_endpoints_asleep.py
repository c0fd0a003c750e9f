"""Endpoints: what a replica asks of a machine, how many there are, and when they fall asleep."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None
phase = "pre"


def upgrade() -> None:
    """Add the columns; rows of older versions have one replica, which never sleeps."""
    op.add_column("endpoints", sa.Column("resources", sa.JSON(none_as_null=True), nullable=True))
    for name in ("min_replicas", "max_replicas"):
        op.add_column("endpoints", sa.Column(name, sa.BigInteger(), nullable=False, server_default="1"))
    for name in ("ready_replicas", "idle_s", "last_used_at"):
        op.add_column("endpoints", sa.Column(name, sa.BigInteger(), nullable=True))

"""Projects and their API keys; everything that was there belongs to the default project.

Code of the release before goes on: what it inserts without a project belongs to the default one as well.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None
phase = "pre"

LISTED = ("files", "uploads", "jobs", "scans", "models", "endpoints", "base_models")
REQUESTS = ("job_requests", "scan_requests")


def _project() -> sa.Column[str]:
    return sa.Column("project", sa.Text(), nullable=False, server_default="default")


def upgrade() -> None:
    """Create the tables, give every resource its project, and make unique per project what its users name."""
    _create_tables()
    for table in ("files", "uploads", "jobs", "scans", "models"):
        op.add_column(table, _project())
    with op.batch_alter_table("base_models") as base_models:
        base_models.add_column(_project())
        base_models.add_column(sa.Column("key", sa.Text(), nullable=True))
        base_models.drop_constraint("pk_base_models", type_="primary")
        base_models.create_primary_key("pk_base_models", ["project", "id"])
        base_models.create_unique_constraint("uq_base_models_key", ["key"])
    op.execute("UPDATE base_models SET key = id")
    for table in REQUESTS:
        with op.batch_alter_table(table) as requests:
            requests.add_column(_project())
            requests.drop_constraint(f"pk_{table}", type_="primary")
            requests.create_primary_key(f"pk_{table}", ["project", "key"])
    with op.batch_alter_table("endpoints") as endpoints:
        endpoints.add_column(_project())
        endpoints.drop_constraint("uq_endpoints_active_model_id", type_="unique")
        endpoints.create_unique_constraint(
            "uq_endpoints_project_active_model_id", ["project", "active_model_id"]
        )
    for table in LISTED:
        op.create_index(f"ix_{table}_project_created_at_id", table, ["project", "created_at", "id"])


def _create_tables() -> None:
    projects = op.create_table(
        "projects",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("archived_at", sa.BigInteger(), nullable=True),
        sa.Column("erase", sa.Boolean(), nullable=False),
        sa.Column("erased_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_projects"),
    )
    op.bulk_insert(projects, [{"id": "default", "name": "Default", "created_at": 0, "erase": False}])
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("secret_sha256", sa.Text(), nullable=False),
        sa.Column("scopes", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.Column("last_used_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["project"], ["projects.id"], name="fk_api_keys_project"),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
    )
    op.create_index("ix_api_keys_project_created_at_id", "api_keys", ["project", "created_at", "id"])

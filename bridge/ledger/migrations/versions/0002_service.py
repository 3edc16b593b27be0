"""What a service needs: known deliveries, shared readings, leases, and jobs whose origin is unknown."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the tables, columns and indexes."""
    with op.batch_alter_table("jobs") as jobs:
        jobs.alter_column("fork", existing_type=sa.Boolean(), nullable=True)
        jobs.add_column(sa.Column("retried_at", sa.Float, nullable=False, server_default="0"))
    op.drop_index("submissions_state_since", "submissions")
    op.create_index("submissions_state", "submissions", ["state", "endpoint", "since"])
    op.create_index("submissions_since", "submissions", ["since"])
    op.create_table(
        "deliveries",
        sa.Column("guid", sa.Text, primary_key=True),
        sa.Column("at", sa.Float, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("deliveries_at", "deliveries", ["at"])
    op.create_table(
        "looks",
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("value", sa.JSON, nullable=False),
    )
    op.create_table(
        "turns",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("until", sa.Float, nullable=False),
    )

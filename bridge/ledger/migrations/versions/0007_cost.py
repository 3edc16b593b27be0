"""Prices with the time of each reading, raised budgets, and how long a worker took to start."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the tables and the column."""
    op.add_column("submissions", sa.Column("boot", sa.Float))
    op.create_table(
        "prices",
        sa.Column("endpoint", sa.Text, primary_key=True),
        sa.Column("at", sa.Float, primary_key=True),
        sa.Column("read_at", sa.Float, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("usd_per_hour", sa.JSON, nullable=False),
    )
    op.create_table(
        "budget_raises",
        sa.Column("route", sa.Text, primary_key=True),
        sa.Column("at", sa.Float, primary_key=True),
        sa.Column("usd", sa.Float, nullable=False),
        sa.Column("until", sa.Float, nullable=False),
        sa.Column("by", sa.Text, nullable=False),
    )

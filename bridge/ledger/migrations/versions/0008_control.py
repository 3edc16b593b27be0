"""Why jobs have waited, and which routes are paused."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Create both tables. What a known job has waited for before is not known."""
    op.create_table(
        "waits",
        sa.Column("job_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("route", sa.Text),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "pauses",
        sa.Column("route", sa.Text, primary_key=True),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("paused_by", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
        sqlite_with_rowid=False,
    )

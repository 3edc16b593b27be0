"""Completed jobs, the newest first: the dashboard lists them."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0005"


def upgrade() -> None:
    """Add the index."""
    completed = sa.text("status = 'completed'")
    op.create_index("jobs_completed", "jobs", ["seen_at"], sqlite_where=completed, postgresql_where=completed)

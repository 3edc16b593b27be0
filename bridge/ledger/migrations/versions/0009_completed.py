"""Completed jobs, the newest first, and the runners that took a job: the dashboard and `explain` look them up."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0005"


def upgrade() -> None:
    """Add the indexes."""
    completed = sa.text("status = 'completed'")
    op.create_index("jobs_completed", "jobs", ["seen_at"], sqlite_where=completed, postgresql_where=completed)
    held = sa.text("held_job_id IS NOT NULL")
    op.create_index("submissions_held", "submissions", ["held_job_id"], sqlite_where=held, postgresql_where=held)

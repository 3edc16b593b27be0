"""What the dashboard lists: completed jobs, the newest first, runners that took a job, and what people did on it."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add the indexes and the table."""
    completed = sa.text("status = 'completed'")
    op.create_index("jobs_completed", "jobs", ["seen_at"], sqlite_where=completed, postgresql_where=completed)
    held = sa.text("held_job_id IS NOT NULL")
    op.create_index("submissions_held", "submissions", ["held_job_id"], sqlite_where=held, postgresql_where=held)
    op.create_table(
        "actions",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("job_id", sa.BigInteger, nullable=False),
    )

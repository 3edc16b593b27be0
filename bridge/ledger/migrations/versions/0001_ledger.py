"""The first ledger: jobs and submissions."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table("meta", sa.Column("born", sa.Float, nullable=False))
    op.create_table(
        "jobs",
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("run_id", sa.BigInteger, nullable=False),
        sa.Column("repository", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("workflow_name", sa.Text),
        sa.Column("labels", sa.JSON, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("conclusion", sa.Text),
        sa.Column("runner_id", sa.BigInteger),
        sa.Column("runner_name", sa.Text),
        sa.Column("runner_group", sa.Text),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("started_at", sa.Float),
        sa.Column("completed_at", sa.Float),
        sa.Column("head_branch", sa.Text),
        sa.Column("html_url", sa.Text),
        sa.Column("public", sa.Boolean, nullable=False),
        sa.Column("fork", sa.Boolean, nullable=False),
        sa.Column("seen_at", sa.Float, nullable=False),
    )
    still_open = sa.text("status != 'completed'")
    op.create_index("jobs_open", "jobs", ["id"], sqlite_where=still_open, postgresql_where=still_open)
    op.create_index("jobs_runner_name", "jobs", ["runner_name"])
    op.create_table(
        "submissions",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("job_id", sa.BigInteger, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("route", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("endpoint", sa.Text, nullable=False),
        sa.Column("credentials", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("since", sa.Float, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("lease_until", sa.Float, nullable=False),
        sa.Column("not_after", sa.Float, nullable=False),
        sa.Column("runner_id", sa.BigInteger),
        sa.Column("request_id", sa.Text),
        sa.Column("started_at", sa.Float),
        sa.Column("held_job_id", sa.BigInteger),
        sa.Column("reason", sa.Text),
        sa.Column("result", sa.Text),
        sa.Column("detail", sa.Text),
        sa.UniqueConstraint("job_id", "generation"),
    )
    op.create_index("submissions_state_since", "submissions", ["state", "since"])

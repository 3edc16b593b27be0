"""The history of submissions, how RunPod executed their requests, and how a job was first seen."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

JOBS = (
    sa.Column("run_attempt", sa.Integer),
    sa.Column("first_seen_at", sa.Float),
    sa.Column("source", sa.Text),
)

SUBMISSIONS = (
    sa.Column("delay", sa.Float),
    sa.Column("execution", sa.Float),
    sa.Column("worker_id", sa.Text),
    sa.Column("gpu_type", sa.Text),
    sa.Column("data_center", sa.Text),
    sa.Column("phases", sa.JSON),
    sa.Column("runner_version", sa.Text),
    sa.Column("error", sa.Text),
)


def upgrade() -> None:
    """Add the columns and the table. The history of a known submission begins with its present state."""
    for column in JOBS:
        op.add_column("jobs", column)
    for column in SUBMISSIONS:
        op.add_column("submissions", column)
    op.create_table(
        "transitions",
        sa.Column("submission", sa.Text, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("from_state", sa.Text),
        sa.Column("to_state", sa.Text, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("detail", sa.Text),
        sqlite_with_rowid=False,
    )
    op.execute(
        "INSERT INTO transitions (submission, number, to_state, at, reason, detail) "
        "SELECT id, 1, state, since, reason, detail FROM submissions"
    )

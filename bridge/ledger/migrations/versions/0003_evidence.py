"""When a job was queued and when a runner took one, by the bridge's own clock."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the columns and the index."""
    with op.batch_alter_table("jobs") as jobs:
        jobs.add_column(sa.Column("queued_since", sa.Float, nullable=False, server_default="0"))
    op.execute("UPDATE jobs SET queued_since = seen_at")
    with op.batch_alter_table("submissions") as submissions:
        submissions.add_column(sa.Column("taken_at", sa.Float))
    op.execute("UPDATE submissions SET taken_at = since WHERE state IN ('busy', 'finished')")
    was_taken = sa.text("taken_at IS NOT NULL")
    op.create_index(
        "submissions_taken",
        "submissions",
        ["taken_at", "route", "target"],
        sqlite_where=was_taken,
        postgresql_where=was_taken,
    )

"""The ledger's tables. migrations/ creates them; a test checks that the two agree."""

import sqlalchemy as sa

metadata = sa.MetaData()

meta = sa.Table("meta", metadata, sa.Column("born", sa.Float, nullable=False))

jobs = sa.Table(
    "jobs",
    metadata,
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
    sa.Column("fork", sa.Boolean),
    sa.Column("seen_at", sa.Float, nullable=False),
    sa.Column("retried_at", sa.Float, nullable=False, server_default="0"),
    sa.Column("queued_since", sa.Float, nullable=False, server_default="0"),  # by the bridge's clock
    sa.Column("run_attempt", sa.Integer),
    sa.Column("first_seen_at", sa.Float),
    sa.Column("source", sa.Text),  # one of bridge.core.model.Source: how it was first seen
    sa.Index(
        "jobs_open",
        "id",
        sqlite_where=sa.text("status != 'completed'"),
        postgresql_where=sa.text("status != 'completed'"),
    ),
    sa.Index("jobs_runner_name", "runner_name"),
    sa.Index(
        "jobs_completed",
        "seen_at",
        sqlite_where=sa.text("status = 'completed'"),
        postgresql_where=sa.text("status = 'completed'"),
    ),
)

submissions = sa.Table(
    "submissions",
    metadata,
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
    sa.Column("taken_at", sa.Float),
    # how RunPod executed the request: see bridge.core.history.Execution
    sa.Column("delay", sa.Float),
    sa.Column("execution", sa.Float),
    sa.Column("worker_id", sa.Text),
    sa.Column("gpu_type", sa.Text),
    sa.Column("data_center", sa.Text),
    sa.Column("gpu_usage", sa.JSON(none_as_null=True)),
    sa.Column("phases", sa.JSON(none_as_null=True)),
    sa.Column("runner_version", sa.Text),
    sa.Column("error", sa.Text),
    sa.Column("boot", sa.Float),
    sa.UniqueConstraint("job_id", "generation"),
    sa.Index("submissions_state", "state", "endpoint", "since"),
    sa.Index("submissions_since", "since"),
    sa.Index(
        "submissions_held",
        "held_job_id",
        sqlite_where=sa.text("held_job_id IS NOT NULL"),
        postgresql_where=sa.text("held_job_id IS NOT NULL"),
    ),
    sa.Index(
        "submissions_taken",
        "taken_at",
        "route",
        "target",
        sqlite_where=sa.text("taken_at IS NOT NULL"),
        postgresql_where=sa.text("taken_at IS NOT NULL"),
    ),
)

transitions = sa.Table(
    "transitions",
    metadata,
    sa.Column("submission", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),  # from 1, for each submission
    sa.Column("from_state", sa.Text),
    sa.Column("to_state", sa.Text, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("detail", sa.Text),
    sqlite_with_rowid=False,  # so the key is stored once, not in the table and in an index
)
"""Only inserted, in the same transaction as the submission's state, and deleted with the submission."""

reruns = sa.Table(
    "reruns",
    metadata,
    sa.Column("job_id", sa.BigInteger, primary_key=True, autoincrement=False),  # of the job that lost its worker
    sa.Column("run_id", sa.BigInteger, nullable=False),
    sa.Column("name", sa.Text, nullable=False),  # of the job, with the values of its matrix
    sa.Column("route", sa.Text, nullable=False),
    sa.Column("run_attempt", sa.Integer, nullable=False),  # before the re-run; 0 if it was not read
    sa.Column("state", sa.Text, nullable=False),  # one of bridge.core.lost.RerunState
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("until", sa.Float, nullable=False),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Index("reruns_run_id", "run_id"),
)
"""One row for each failed job of a route that re-runs jobs which lost their workers."""

deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("guid", sa.Text, primary_key=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Index("deliveries_at", "at"),
    sqlite_with_rowid=False,  # so the guid is stored once, not in the table and in an index
)

readings = sa.Table(
    "readings",
    metadata,
    sa.Column("kind", sa.Text, primary_key=True),  # one of bridge.ledger.readings.ReadingKind
    sa.Column("key", sa.Text, primary_key=True),  # see ReadingKind
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("value", sa.JSON, nullable=False),
)

outbound = sa.Table(
    "outbound",
    metadata,
    sa.Column("kind", sa.Text, primary_key=True),  # a kind of bridge.core.notices, or bridge.core.spans.TRACE
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("at", sa.Float, nullable=False),
    sqlite_with_rowid=False,  # so the key is stored once, not in the table and in an index
)
"""What was sent to people and to a collector of traces. A row is written before the message is sent."""
actions = sa.Table(
    "actions",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("who", sa.Text, nullable=False),  # a GitHub login after @, or how they came
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("job_id", sa.BigInteger, nullable=False),
)
"""What people did on the dashboard."""

leader_leases = sa.Table(
    "leader_leases",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("holder", sa.Text, nullable=False),
    sa.Column("until", sa.Float, nullable=False),
)

waits = sa.Table(
    "waits",
    metadata,
    sa.Column("job_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),  # from 1, for each job
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),  # one of bridge.core.actions.SkipKind
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("route", sa.Text),
    sqlite_with_rowid=False,
)
"""Why each job has waited so far, see bridge.core.waits. Only inserted, and deleted with the job."""

pauses = sa.Table(
    "pauses",
    metadata,
    sa.Column("route", sa.Text, primary_key=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("paused_by", sa.Text, nullable=False),
    sa.Column("reason", sa.Text),
    sqlite_with_rowid=False,
)
prices = sa.Table(
    "prices",
    metadata,
    sa.Column("endpoint", sa.Text, primary_key=True),
    sa.Column("at", sa.Float, primary_key=True),  # when this price was first read
    sa.Column("read_at", sa.Float, nullable=False),  # when it was last read
    sa.Column("source", sa.Text, nullable=False),  # one of bridge.core.prices.PriceSource
    sa.Column("usd_per_hour", sa.JSON, nullable=False),  # by GPU type or CPU flavor
)

budget_raises = sa.Table(
    "budget_raises",
    metadata,
    sa.Column("route", sa.Text, primary_key=True),  # empty for the budget of all routes
    sa.Column("at", sa.Float, primary_key=True),
    sa.Column("usd", sa.Float, nullable=False),
    sa.Column("until", sa.Float, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
)
"""Only inserted: the newest of a route counts, and the others say who raised its budget earlier."""

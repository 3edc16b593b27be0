"""Deletes what the ledger need not keep any longer."""

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bridge.core.model import JobStatus
from bridge.ledger import statements as st
from bridge.ledger.tables import actions, deliveries, jobs, outbound, reruns, submissions, transitions, waits

DELIVERIES_KEPT = 4 * 86_400.0
"""s that guids of deliveries are kept; GitHub redelivers for three days."""

RERUNS_KEPT = 31 * 86_400.0
"""s that re-runs are counted at least: GitHub re-runs jobs of a run for 30 days."""


def prune(connection: Connection, before: float, now: float) -> None:
    """Delete what ended before a time. Submissions are kept as long as their job is open.

    Args:
        connection: in a write transaction.
        before: Unix seconds.
        now: Unix seconds.
    """
    open_jobs = sa.select(jobs.c.id).where(jobs.c.status != JobStatus.COMPLETED)
    ended = ~st.IS_OPEN & (submissions.c.since < before) & submissions.c.job_id.not_in(open_jobs)
    of_ended = transitions.c.submission.in_(sa.select(submissions.c.id).where(ended))
    connection.execute(sa.delete(transitions).where(of_ended))
    connection.execute(sa.delete(submissions).where(ended))
    held = sa.select(submissions.c.name).where(st.IS_OPEN)
    done = (jobs.c.status == JobStatus.COMPLETED) & (jobs.c.seen_at < before)
    # NOT IN is never true beside NULL, and a job that never ran has no runner_name.
    unheld = sa.func.coalesce(jobs.c.runner_name, "").not_in(held)
    connection.execute(sa.delete(jobs).where(done & unheld))
    connection.execute(sa.delete(waits).where(waits.c.job_id.not_in(sa.select(jobs.c.id))))  # forgotten jobs, too
    connection.execute(sa.delete(outbound).where(outbound.c.at < before))
    connection.execute(sa.delete(actions).where(actions.c.at < before))
    connection.execute(sa.delete(deliveries).where(deliveries.c.at < min(before, now - DELIVERIES_KEPT)))
    connection.execute(sa.delete(reruns).where(reruns.c.at < min(before, now - RERUNS_KEPT)))

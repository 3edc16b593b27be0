"""What the dashboard shows beside the plan: jobs that have ended, how long jobs waited, and what people did on it."""

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bridge.core.history import JobRecord, Waits
from bridge.core.model import JobStatus
from bridge.ledger import history
from bridge.ledger import statements as st
from bridge.ledger.tables import actions, jobs, submissions

_COMPLETED: st.Condition = jobs.c.status == sa.literal_column(f"'{JobStatus.COMPLETED}'")
"""As the index `jobs_completed` has it: SQLite does not use the index if the value is a parameter."""


def _waits() -> sa.Select[Any]:
    """By route, how long the jobs waited that runners took after `since`."""
    s, waited = submissions.c, jobs.c.started_at - jobs.c.created_at
    taken = (
        sa.select(
            s.route,
            waited.label("waited"),
            sa.func.row_number().over(partition_by=s.route, order_by=waited).label("rank"),
            sa.func.count().over(partition_by=s.route).label("total"),
        )
        .join_from(submissions, jobs, jobs.c.id == s.held_job_id)
        .where(s.taken_at > sa.bindparam("since"), jobs.c.started_at.is_not(None))
        .subquery()
    ).c
    shares = [sa.func.min(sa.case((taken.rank * 100 >= taken.total * share, taken.waited))) for share in (50, 95)]
    return sa.select(taken.route, sa.func.max(taken.total), *shares).group_by(taken.route)


_WAITS = _waits()


class Overview:
    """What the dashboard shows beside the plan.

    Args:
        connection: in a transaction.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def finished(
        self, *, since: float, repository: str | None, route: str | None, limit: int, offset: int
    ) -> tuple[int, ...]:
        """The ids of jobs that have ended, the newest first.

        Args:
            since: Unix seconds; only jobs that were seen to end later.
            repository: owner/name; None for all.
            route: of their runners; None for all.
            limit: the most that are returned.
            offset: how many of the newest are left out.
        """
        wanted = sa.select(jobs.c.id).where(_ended(since, repository, route))
        ordered = wanted.order_by(jobs.c.seen_at.desc(), jobs.c.id.desc()).limit(limit).offset(offset)
        return tuple(self._connection.execute(ordered).scalars())

    def count_finished(self, *, since: float, repository: str | None, route: str | None) -> int:
        """How many jobs `finished` would return without a limit."""
        count = sa.select(sa.func.count()).select_from(jobs).where(_ended(since, repository, route))
        return int(self._connection.execute(count).scalar_one())

    def records(self, job_ids: Collection[int]) -> tuple[JobRecord, ...]:
        """What is known of these jobs, in the order of their ids."""
        return history.of_jobs(self._connection, job_ids)

    def waits(self, since: float) -> dict[str, Waits]:
        """By route, how long the jobs waited that runners took after `since` (Unix seconds)."""
        rows = self._connection.execute(_WAITS, {"since": since})
        return {route: Waits(jobs=total, p50=max(0.0, half), p95=max(0.0, most)) for route, total, half, most in rows}

    def record(self, *, at: float, who: str, action: str, job_id: int) -> None:
        """Write down what a person did, in a write transaction.

        Args:
            at: Unix seconds.
            who: the person.
            action: what they did.
            job_id: of the job that they did it to.
        """
        self._connection.execute(sa.insert(actions).values(at=at, who=who, action=action, job_id=job_id))

    def recorded(self) -> tuple[tuple[float, str, str, int], ...]:
        """What people did, the newest first: Unix seconds, who, what, and the id of the job."""
        columns = (actions.c.at, actions.c.who, actions.c.action, actions.c.job_id)
        return tuple(map(tuple, self._connection.execute(sa.select(*columns).order_by(actions.c.id.desc()))))


def _ended(since: float, repository: str | None, route: str | None) -> st.Condition:
    wanted = _COMPLETED & (jobs.c.seen_at > since)
    if repository is not None:
        wanted &= sa.func.lower(jobs.c.repository) == repository.lower()
    if route is not None:
        wanted &= jobs.c.runner_name.in_(sa.select(submissions.c.name).where(submissions.c.route == route))
    return wanted

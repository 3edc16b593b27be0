"""Jobs that may have lost their workers, and what was decided about them."""

from collections.abc import Collection, Iterable
from dataclasses import asdict, fields
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bridge.core.lost import OPEN_RERUNS, LostJob, Rerun, RerunAnswer, RerunRecord, RerunState
from bridge.core.model import JobStatus
from bridge.core.submissions import State
from bridge.ledger import statements as st
from bridge.ledger.rows import job_of, submission_of
from bridge.ledger.tables import jobs, reruns, submissions

FIELDS = tuple(f.name for f in fields(RerunRecord))
_COLUMNS = [reruns.c[name] for name in FIELDS]

_MAY_HAVE_LOST = (State.FINISHED, State.FAILED, State.LOST, State.CANCELLED)
"""Ends of a submission whose job GitHub may fail because its worker is gone."""


def _lost() -> sa.Select[Any]:
    s = submissions.c
    failed = (jobs.c.status == JobStatus.COMPLETED) & (jobs.c.conclusion == "failure")
    ended = s.state.in_(_MAY_HAVE_LOST) & (s.since > sa.bindparam("since"))
    # A worker's own `Succeeded` needs no second look.
    unsure = sa.func.coalesce(s.result, "failure") == "failure"
    of_routes = s.route.in_(sa.bindparam("routes", expanding=True))
    undecided = reruns.c.job_id.is_(None) | reruns.c.state.in_(OPEN_RERUNS)
    return (
        sa.select(s.error, *st.SUBMISSION, *st.JOB)
        .join_from(submissions, jobs, jobs.c.runner_name == s.name)
        .outerjoin(reruns, reruns.c.job_id == jobs.c.id)
        .where(ended, of_routes, unsure, failed, undecided)
    )


LOST = _lost()
OF_RUNS = sa.select(*_COLUMNS).where(reruns.c.run_id.in_(sa.bindparam("runs", expanding=True)))
OF_JOBS = sa.select(*_COLUMNS).where(reruns.c.job_id.in_(sa.bindparam("jobs", expanding=True)))


def record_of(row: Any) -> RerunRecord:
    """The record that a row of `_COLUMNS` holds."""
    values = dict(zip(FIELDS, row, strict=True))
    return RerunRecord(**{**values, "state": RerunState(values["state"])})


def of_jobs(connection: Connection, job_ids: Collection[int]) -> dict[int, RerunRecord]:
    """By job id, what was decided about it."""
    found = map(record_of, connection.execute(OF_JOBS, {"jobs": list(job_ids)}))
    return {record.job_id: record for record in found}


class Reruns:
    """The part of a transaction that is about jobs that may have lost their workers."""

    _connection: Connection

    def lost_jobs(self, routes: Collection[str], since: float) -> tuple[LostJob, ...]:
        """Failed jobs that ran on our runners and are not finally decided about.

        Args:
            routes: names of those that re-run such jobs.
            since: Unix seconds; only jobs whose submissions ended later.
        """
        if not routes:
            return ()
        width = 1 + len(st.SUBMISSION)
        rows = self._connection.execute(LOST, {"routes": list(routes), "since": since}).all()
        return tuple(
            LostJob(error=row[0], submission=submission_of(row[1:width]), job=job_of(row[width:])) for row in rows
        )

    def reruns_of(self, runs: Collection[int]) -> tuple[RerunRecord, ...]:
        """What was decided about jobs of these runs, in all their attempts."""
        return tuple(map(record_of, self._connection.execute(OF_RUNS, {"runs": list(runs)}))) if runs else ()

    def write_reruns(self, decided: Iterable[Rerun], now: float, until: float) -> None:
        """Write down what was decided, except what is decided later.

        Args:
            decided: about jobs that may have lost their workers.
            now: Unix seconds.
            until: Unix seconds, until when this dispatcher asks GitHub.
        """
        rows = [
            {
                "job_id": each.job.id,
                "run_id": each.job.run_id,
                "name": each.job.name,
                "route": each.route,
                "run_attempt": each.run_attempt,
                "state": each.state,
                "at": now,
                "until": until if each.state is RerunState.ASKED else now,
                "tries": each.tries,
                "why": each.why,
            }
            for each in decided
            if each.state is not None
        ]
        if rows:
            insert = st.INSERT[self._connection.dialect.name](reruns)
            values = {name: insert.excluded[name] for name in FIELDS if name != "job_id"}
            self._connection.execute(insert.on_conflict_do_update(index_elements=["job_id"], set_=values), rows)

    def answer_rerun(self, asked: Rerun, answer: RerunAnswer, now: float) -> bool:
        """Write down how GitHub answered, unless another dispatcher has taken over.

        Args:
            asked: what GitHub was asked for.
            answer: GitHub's.
            now: Unix seconds.

        Returns:
            Whether it was written.
        """
        r = reruns.c
        unchanged = (r.job_id == asked.job.id) & (r.state == RerunState.ASKED) & (r.tries == asked.tries)
        values = {**asdict(answer), "at": now}
        return self._connection.execute(sa.update(reruns).where(unchanged).values(values)).rowcount == 1

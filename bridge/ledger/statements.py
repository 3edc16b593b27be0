"""The statements of passes and deliveries, built once: building a statement costs more than running it."""

from collections.abc import Callable
from dataclasses import fields
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from bridge.core.history import Execution
from bridge.core.model import JobStatus, WorkflowJob
from bridge.core.submissions import (
    BREAKER_REASONS,
    FAILURE_STATES,
    FREE_REASONS,
    IDLE_REASONS,
    IDLE_STATES,
    LEASED_STATES,
    OPEN_STATES,
    PROOF_STATES,
    State,
)
from bridge.core.worker import Reason
from bridge.ledger.readings import ReadingKind
from bridge.ledger.tables import deliveries, jobs, meta, pauses, readings, submissions, transitions

Condition = sa.ColumnElement[bool]

INSERT: dict[str, Callable[[sa.Table], Any]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
"""By dialect, the insert that may find a row of the same key."""

IS_OPEN: Condition = submissions.c.state.in_(OPEN_STATES)

_RANK = {JobStatus.QUEUED: 1, JobStatus.IN_PROGRESS: 2, JobStatus.COMPLETED: 3}
ANSWERED_STATES = frozenset(State) - LEASED_STATES - {State.UNKNOWN, State.LOST, State.RELEASED}
"""States of a submission whose request may have an id from RunPod."""

_KEPT = frozenset({"id", "fork", "retried_at", "queued_since", "first_seen_at", "source"})
"""Columns of a known job that a new sight of it does not simply replace."""

_NOT_COMPLETED: Condition = jobs.c.status != sa.literal_column(f"'{JobStatus.COMPLETED}'")
"""As the index `jobs_open` has it: SQLite does not use the index if the value is a parameter."""


def _may_have_taken() -> Condition:
    """Ended after `since`, and may have taken a job that is not known to be completed."""
    s = submissions.c
    over = sa.select(jobs.c.id).where(jobs.c.status == JobStatus.COMPLETED)
    known = over.where(jobs.c.id == s.held_job_id).exists() | over.where(jobs.c.runner_name == s.name).exists()
    return ~IS_OPEN & (s.since > sa.bindparam("since")) & ~known


def _held_by_name() -> sa.ScalarSelect[int]:
    """The job that a submission's runner took, as GitHub says."""
    taken = jobs.alias("taken")
    return sa.select(sa.func.max(taken.c.id)).where(taken.c.runner_name == submissions.c.name).scalar_subquery()


def _was_idle() -> Condition:
    """Its runner listened, and ended without a job, whatever state and reason RunPod or GitHub gave for that end."""
    s = submissions.c
    without_a_job = s.taken_at.is_(None) & s.held_job_id.is_(None)
    for_that = s.reason.is_(None) | s.reason.in_(IDLE_REASONS)
    listened = (s.state == State.NO_JOB) | s.started_at.is_not(None)
    return s.state.in_(IDLE_STATES) & without_a_job & for_that & listened


def _idle_runners() -> sa.Select[Any]:
    """Runners that ended without a job after `since`."""
    s = submissions.c
    began = sa.func.coalesce(s.started_at, s.since - sa.bindparam("listened"))
    return sa.select(s.route, s.target, began.label("began"), s.since.label("ended")).where(
        _was_idle() & (s.since > sa.bindparam("since"))
    )


def _taken_jobs() -> sa.Select[Any]:
    """Jobs that runners took after `since`, newest first, with the time at which they were queued."""
    s = submissions.c
    return (
        sa.select(s.route, s.target, s.taken_at, jobs.c.queued_since)
        .join_from(submissions, jobs, jobs.c.id == s.held_job_id)
        .where(s.taken_at > sa.bindparam("since"))
        .order_by(s.taken_at.desc())
    )


def _last_taken() -> sa.Select[Any]:
    s = submissions.c
    newest = sa.func.max(s.taken_at).label("at")
    return sa.select(s.route, s.target, newest).where(s.taken_at > sa.bindparam("since")).group_by(s.route, s.target)


def _runner_uses() -> sa.Select[Any]:
    s = submissions.c
    return (
        sa.select(jobs.c.run_id, s.route, s.target, s.taken_at, sa.case((~IS_OPEN, s.since)).label("ended"))
        .join_from(submissions, jobs, jobs.c.id == s.held_job_id)
        .where(s.taken_at.is_not(None), jobs.c.run_id.in_(sa.bindparam("runs", expanding=True)))
    )


def _history() -> sa.Select[Any]:
    s = submissions.c
    reason_free = sa.func.coalesce(s.reason, "").in_(FREE_REASONS)
    counts = s.state.in_(FAILURE_STATES) & ~reason_free & ~_was_idle() & (s.since > jobs.c.retried_at)
    claimed = sa.case((s.created_at > jobs.c.retried_at, s.created_at))
    # The end of a runner that took another job does not matter for the job it was asked for.
    held = sa.func.coalesce(s.held_job_id, _held_by_name())
    # Nor does that of a runner whose request moved to another endpoint: GitHub has agreed that it held no job.
    moved = sa.func.coalesce(s.reason, "") == Reason.STARVED
    ended = sa.case((IS_OPEN | (held != s.job_id) | moved, 0.0), else_=s.since)
    return (
        sa.select(
            s.job_id,
            sa.func.max(s.generation).label("generation"),
            sa.func.sum(sa.case((counts, 1), else_=0)).label("attempts"),
            sa.func.sum(sa.case((moved, 1), else_=0)).label("moves"),
            sa.func.coalesce(sa.func.min(claimed), 0.0).label("first_claim"),
            sa.func.max(s.created_at).label("last_claim"),
            sa.func.max(ended).label("last_end"),
        )
        .join_from(submissions, jobs, s.job_id == jobs.c.id)
        .where(s.job_id.in_(sa.select(jobs.c.id).where(_NOT_COMPLETED)))
        .group_by(s.job_id)
    )


def _next_number() -> sa.ScalarSelect[int]:
    """The number of a submission's next row in its history."""
    last = sa.func.coalesce(sa.func.max(transitions.c.number), 0)
    return sa.select(last + 1).where(transitions.c.submission == sa.bindparam("of")).scalar_subquery()


def _streaks() -> sa.Select[Any]:
    """Workers that failed before they took a job. A worker that took one has proved that its endpoint works."""
    s, proof = submissions.c, submissions.alias("proof").c
    took_a_job = s.taken_at.is_not(None) | s.held_job_id.is_not(None) | _held_by_name().is_not(None)
    of_endpoint = sa.exists().where(proof.endpoint == s.endpoint)
    # Two of them: SQLite does not use its indexes for all parts of an OR within one.
    works = of_endpoint.where(proof.state.in_(PROOF_STATES), proof.since >= s.since) | of_endpoint.where(
        proof.taken_at >= s.since
    )
    return (
        sa.select(
            s.endpoint,
            sa.func.count().label("failures"),
            sa.func.min(s.since).label("first"),
            sa.func.max(s.since).label("last"),
            sa.func.max(s.reason).label("reason"),
        )
        .where(s.state == State.FAILED, s.reason.in_(BREAKER_REASONS), ~took_a_job, ~works)
        .group_by(s.endpoint)
    )


def _unanswered() -> sa.Select[Any]:
    """Requests without an answer and without a trace, since RunPod last answered one of the same endpoint."""
    s, later = submissions.c, submissions.alias("later").c
    answered = sa.exists().where(
        later.state.in_(ANSWERED_STATES),
        later.endpoint == s.endpoint,
        later.since >= s.created_at,  # implied by the next condition; the index needs it
        later.created_at >= s.created_at,
        later.request_id.is_not(None),
    )
    without = s.state.in_([State.UNKNOWN, State.LOST]) & s.request_id.is_(None) & s.started_at.is_(None)
    return sa.select(s.endpoint, s.created_at).where(without, ~answered)


JOB_FIELDS = tuple(f.name for f in fields(WorkflowJob))
JOB = [sa.cast(jobs.c[name], sa.Text) if name == "labels" else jobs.c[name] for name in JOB_FIELDS]
"""A job's columns, its labels as JSON text."""

BORN = sa.select(meta.c.born)
PAUSES = sa.select(pauses.c.route, pauses.c.at, pauses.c.paused_by, pauses.c.reason).order_by(pauses.c.route)
OPEN_JOBS = sa.select(jobs.c.seen_at, *JOB).where(_NOT_COMPLETED)
HELD_JOBS = sa.select(jobs.c.seen_at, *JOB).where(jobs.c.runner_name.in_(sa.select(submissions.c.name).where(IS_OPEN)))
REPOSITORIES_THAT_WAIT = (
    sa.select(jobs.c.repository).distinct().where(_NOT_COMPLETED & (jobs.c.status == JobStatus.QUEUED))
)
READINGS = sa.select(readings.c.kind, readings.c.key, readings.c.at, sa.cast(readings.c.value, sa.Text))
RUNNERS_READ_AT = sa.select(readings.c.key, readings.c.at).where(readings.c.kind == ReadingKind.RUNNERS)
LEARN_FORK = (
    sa.update(jobs).where((jobs.c.run_id == sa.bindparam("run")) & _NOT_COMPLETED).values(fork=sa.bindparam("is_fork"))
)
"""Of open jobs only: it does not matter for others, and an index finds these."""
EXECUTION_FIELDS = tuple(f.name for f in fields(Execution))
SUBMISSION_FIELDS = tuple(name for name in submissions.c.keys() if name not in EXECUTION_FIELDS)  # noqa: SIM118
SUBMISSION = [submissions.c[name] for name in SUBMISSION_FIELDS]
"""A submission's columns, without those that no plan needs."""

OPEN = sa.select(*SUBMISSION).where(IS_OPEN)
ENDED = sa.select(*SUBMISSION).where(_may_have_taken())
NAMED = sa.select(*SUBMISSION).where(submissions.c.name.in_(sa.bindparam("names", expanding=True)))
REPORTED = sa.select(*SUBMISSION).where(
    submissions.c.id.in_(sa.bindparam("ids", expanding=True)) & (IS_OPEN | submissions.c.execution.is_(None))
)
"""Submissions whose requests have ended, as RunPod reports, and whose answers were not read since."""

ADD_TRANSITION = sa.insert(transitions).values(submission=sa.bindparam("of"), number=_next_number())
HISTORY = _history()
IDLE_RUNNERS = _idle_runners()
TAKEN_JOBS = _taken_jobs()
LAST_TAKEN = _last_taken()
RUNNER_USES = _runner_uses()
QUEUED_SINCE = sa.select(
    jobs.c.id,
    sa.case((jobs.c.retried_at > jobs.c.queued_since, jobs.c.retried_at), else_=jobs.c.queued_since).label("at"),
).where(_NOT_COMPLETED)
STREAKS = _streaks()
DOUBTED = 0.0
"""`seen_at` of a job that must be looked up, because the last event contradicts what is known of it."""

DOUBT_JOBS = (
    sa.update(jobs)
    .where(jobs.c.id.in_(sa.bindparam("ids", expanding=True)) & (jobs.c.status == JobStatus.IN_PROGRESS))
    .values(seen_at=DOUBTED)
)
_ORIGIN_UNKNOWN = (jobs.c.status == JobStatus.QUEUED) & jobs.c.fork.is_(None)
_IS_DOUBTED = (jobs.c.status == JobStatus.IN_PROGRESS) & (jobs.c.seen_at == DOUBTED)
JOBS_TO_LOOK_UP = sa.select(*JOB).where(_NOT_COMPLETED & (_ORIGIN_UNKNOWN | _IS_DOUBTED))
FORGET_JOBS = sa.delete(jobs).where(
    jobs.c.id.in_(sa.bindparam("ids", expanding=True)),
    # NOT IN is never true beside NULL, and a job that never ran has no runner_name.
    sa.func.coalesce(jobs.c.runner_name, "").not_in(sa.select(submissions.c.name).where(IS_OPEN)),
)
UNANSWERED = _unanswered()
KNOWN_DELIVERIES = sa.select(deliveries.c.guid).where(deliveries.c.guid.in_(sa.bindparam("guids", expanding=True)))


@cache
def keep_deliveries(dialect: str) -> Any:
    """Write deliveries that are not known yet, and return their guids."""
    return INSERT[dialect](deliveries).on_conflict_do_nothing().returning(deliveries.c.guid)


@cache
def keep_jobs(dialect: str, *, forward_only: bool) -> Any:
    """Write jobs over what is known: only later states, or all that was seen later."""
    insert = INSERT[dialect](jobs)
    new = insert.excluded
    replaced = [c.name for c in jobs.c if c.name not in _KEPT]
    values = {name: new[name] for name in replaced}
    # While a job waits, for example for an environment's approval, no runner can take it.
    is_queued = (new.status == JobStatus.QUEUED) & (jobs.c.status != JobStatus.QUEUED)
    values["queued_since"] = sa.case((is_queued, new.queued_since), else_=jobs.c.queued_since)
    # Neither an event nor the look-up of a single job says whether its run comes from a fork.
    values["fork"] = sa.func.coalesce(new.fork, jobs.c.fork)
    where = _is_progress(new) if forward_only else jobs.c.seen_at <= new.seen_at
    return insert.on_conflict_do_update(index_elements=["id"], set_=values, where=where)


@cache
def advancing(names: tuple[str, ...]) -> sa.Update:
    """Write these columns, given as `new_{name}`, of the submission `of` if its state is `was`."""
    values: dict[str, Any] = {name: sa.bindparam(f"new_{name}", type_=submissions.c[name].type) for name in names}
    if "started_at" in values:
        values["started_at"] = sa.func.coalesce(submissions.c.started_at, values["started_at"])
    unchanged = (submissions.c.id == sa.bindparam("of")) & (submissions.c.state == sa.bindparam("was"))
    return sa.update(submissions).where(unchanged).values(values)


def _is_progress(new: Any) -> Condition:
    """Whether an event shows a later state: events can be late, repeated or in the wrong order.

    A `queued` of a job in progress does not, but causes a look-up: see DOUBT_JOBS.
    """

    def rank(status: Any) -> sa.ColumnElement[int]:
        return sa.case({str(s): r for s, r in _RANK.items()}, value=status, else_=0)

    forward = rank(new.status) > rank(jobs.c.status)
    # GitHub queues a job again if its runner did not pick it up; then another runner takes it.
    taken_anew = (new.status == JobStatus.IN_PROGRESS) & (jobs.c.status == JobStatus.IN_PROGRESS)
    return sa.or_(forward, sa.and_(taken_anew, new.started_at > jobs.c.started_at))

"""The ledger within one transaction: what is read, and what is written."""

import time
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, fields
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, RowMapping

from bridge.ledger.tables import deliveries, jobs, looks, meta, submissions, turns
from bridge.model import (
    ATTEMPT_STATES,
    BREAKER_REASONS,
    FREE_REASONS,
    LEASED_STATES,
    OPEN_STATES,
    PROOF_STATES,
    Claim,
    Credentials,
    Event,
    JobHistory,
    JobStatus,
    Look,
    LookKind,
    Move,
    Pool,
    Reason,
    Route,
    State,
    Streak,
    Submission,
    WorkflowJob,
)

CLAIM_LEASE = 60.0
"""s that a dispatcher may take from one record to the next, from a claim to its request."""

DELIVERIES_KEPT = 4 * 86_400.0
"""s; GitHub redelivers for three days."""

_JOB_FIELDS = tuple(f.name for f in fields(WorkflowJob))
_RANK = {JobStatus.QUEUED: 1, JobStatus.IN_PROGRESS: 2, JobStatus.COMPLETED: 3}
_INSERT = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


class Books:
    """The ledger within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def born(self) -> float:
        """Unix seconds when this ledger was made."""
        return float(self._connection.execute(sa.select(meta.c.born)).scalar_one())

    # --- jobs ---

    def merge(self, seen: Iterable[WorkflowJob], at: float) -> None:
        """Write what a look-up begun `at` (Unix seconds) told of jobs, unless something newer is known."""
        rows = [{**vars(job), "seen_at": at} for job in {job.id: job for job in seen}.values()]
        self._upsert_jobs(rows, lambda new: jobs.c.seen_at <= new.seen_at)

    def hear(self, events: Iterable[Event]) -> int:
        """Write what deliveries told of jobs: forward only, and each delivery once.

        Returns:
            How many were new.
        """
        told = {event.guid: event for event in events}
        if not told:
            return 0
        known = self.known_deliveries(told)
        fresh = [event for guid, event in told.items() if guid not in known]
        if fresh:
            rows = [{"guid": event.guid, "at": event.at} for event in fresh]
            self._connection.execute(self._insert(deliveries).on_conflict_do_nothing(), rows)
        self._upsert_jobs([{**vars(e.job), "seen_at": e.at} for e in fresh if e.job], _is_progress)
        return len(fresh)

    def known_deliveries(self, guids: Collection[str]) -> frozenset[str]:
        """Those of `guids` that were written before."""
        query = sa.select(deliveries.c.guid).where(deliveries.c.guid.in_(guids))
        return frozenset(self._connection.execute(query).scalars())

    def _upsert_jobs(self, rows: list[dict[str, Any]], replaces: Any) -> None:
        if not rows:
            return
        insert = self._insert(jobs)
        new = insert.excluded
        values = {name: new[name] for name in rows[0] if name not in ("id", "public", "fork")}
        # An event does not tell of forks, and a look at a single job tells of neither.
        values["public"] = sa.or_(new.public, jobs.c.public)
        values["fork"] = sa.func.coalesce(new.fork, jobs.c.fork)
        self._connection.execute(
            insert.on_conflict_do_update(index_elements=["id"], set_=values, where=replaces(new)), rows
        )

    def learn_forks(self, forks: Mapping[int, bool]) -> None:
        """Write by run id whether a run comes from a fork."""
        for run_id, fork in forks.items():
            self._connection.execute(sa.update(jobs).where(jobs.c.run_id == run_id).values(fork=fork))

    def jobs(self) -> dict[int, tuple[WorkflowJob, float]]:
        """Jobs not completed and those whose runner is of an open submission, with when they were seen."""
        open_names = sa.select(submissions.c.name).where(_is_open())
        relevant = (jobs.c.status != JobStatus.COMPLETED) | jobs.c.runner_name.in_(open_names)
        rows = self._connection.execute(sa.select(jobs).where(relevant)).mappings()
        return {row["id"]: (_job(row), row["seen_at"]) for row in rows}

    def jobs_of_unknown_origin(self) -> tuple[WorkflowJob, ...]:
        """Queued jobs of whose runs it is not known whether they come from forks."""
        wanted = (jobs.c.status == JobStatus.QUEUED) & (jobs.c.status != JobStatus.COMPLETED) & jobs.c.fork.is_(None)
        return tuple(map(_job, self._connection.execute(sa.select(jobs).where(wanted)).mappings()))

    def retry(self, job_id: int, now: float) -> bool:
        """Forget a job's failed attempts; whether it is known and not completed."""
        known = (jobs.c.id == job_id) & (jobs.c.status != JobStatus.COMPLETED)
        return self._connection.execute(sa.update(jobs).where(known).values(retried_at=now)).rowcount == 1

    # --- submissions ---

    def submissions(self, *, since: float, names: Collection[str]) -> tuple[Submission, ...]:
        """The open submissions, those that changed after `since` (Unix seconds), and those of these names."""
        wanted = _is_open() | (submissions.c.since > since) | submissions.c.name.in_(names)
        return tuple(self._select(wanted))

    def relevant(self, *, since: float, names: Collection[str]) -> tuple[Submission, ...]:
        """The open submissions, those of these names, and those that ended after `since` (Unix seconds).

        Of the last, those that may have taken a job which is not known to be completed.
        """
        s = submissions.c
        over = sa.select(jobs.c.id).where(jobs.c.status == JobStatus.COMPLETED)
        known = over.where(jobs.c.id == s.held_job_id).exists() | over.where(jobs.c.runner_name == s.name).exists()
        # One statement each: SQLite does not use its indexes for all parts of such an OR.
        parts = [_is_open(), (s.since > since) & ~known]
        if names:
            parts.append(s.name.in_(names))
        return tuple({row.id: row for part in parts for row in self._select(part)}.values())

    def open_submissions(self) -> tuple[Submission, ...]:
        """Those that count against a route's max_workers."""
        return tuple(self._select(_is_open()))

    def history(self) -> Mapping[int, JobHistory]:
        """What came of earlier submissions for each job that is not completed."""
        s = submissions.c
        reason_free = sa.func.coalesce(s.reason, "").in_(FREE_REASONS)
        counts = s.state.in_(ATTEMPT_STATES) & ~reason_free & (s.since > jobs.c.retried_at)
        attempt = sa.case((counts, 1), else_=0)
        # A runner that took another job tells nothing of its own.
        held = sa.func.coalesce(s.held_job_id, self._held_by_name())
        ended = sa.case((s.state.in_(OPEN_STATES) | (held != s.job_id), 0.0), else_=s.since)
        query = (
            sa.select(
                s.job_id,
                sa.func.max(s.generation).label("generation"),
                sa.func.sum(attempt).label("attempts"),
                sa.func.max(s.created_at).label("last_claim"),
                sa.func.max(ended).label("last_end"),
            )
            .join_from(submissions, jobs, s.job_id == jobs.c.id)
            .where(jobs.c.status != JobStatus.COMPLETED)
            .group_by(s.job_id)
        )
        rows = self._connection.execute(query).mappings()
        return {row["job_id"]: JobHistory(**{k: v for k, v in row.items() if k != "job_id"}) for row in rows}

    def streaks(self) -> Mapping[str, Streak]:
        """By endpoint, the workers that broke down since one last did its work."""
        s, proof = submissions.c, submissions.alias("proof").c
        works = sa.exists().where(proof.state.in_(PROOF_STATES), proof.endpoint == s.endpoint, proof.since >= s.since)
        query = (
            sa.select(
                s.endpoint,
                sa.func.count().label("failures"),
                sa.func.min(s.since).label("first"),
                sa.func.max(s.since).label("last"),
                sa.func.max(s.reason).label("reason"),
            )
            .where(s.state == State.FAILED, s.reason.in_(BREAKER_REASONS), ~works)
            .group_by(s.endpoint)
        )
        rows = self._connection.execute(query).mappings()
        return {row["endpoint"]: Streak(**{k: v for k, v in row.items() if k != "endpoint"}) for row in rows}

    def claim(self, claim: Claim, route: Route, now: float) -> Submission:
        """Write a claim; its name can never be claimed again."""
        submission = Submission(
            id=uuid.uuid4().hex,
            name=claim.name,
            job_id=claim.job_id,
            generation=claim.generation,
            pool=claim.pool,
            endpoint=route.endpoint,
            credentials=route.credentials,
            state=State.CLAIMED,
            since=now,
            created_at=now,
            lease_until=now + CLAIM_LEASE,
            not_after=now + route.queue_timeout,
        )
        self._connection.execute(sa.insert(submissions), _row(submission))
        return submission

    def record(self, move: Move, at: float) -> bool:
        """Write what was seen of a submission at `at` (Unix seconds)."""
        values = {
            "reason": move.reason,
            "held_job_id": move.held_job_id,
            "result": move.result,
            "detail": move.detail,
        }
        told = {k: v for k, v in values.items() if v is not None}
        return self.advance(move.submission, move.to, since=at, **told)

    def advance(self, submission: Submission, to: State, **values: Any) -> bool:
        """See `Ledger.advance`."""
        values = {"since": time.time(), **values, "state": to}
        if to in LEASED_STATES:
            values["lease_until"] = values["since"] + CLAIM_LEASE
        if to is State.STARTED:
            values["started_at"] = values["since"]
        given = {f"new_{name}": value for name, value in values.items()}
        parameters = {"of": submission.id, "was": submission.state, **given}
        return self._connection.execute(_advancing(tuple(values)), parameters).rowcount == 1

    # --- what dispatchers share ---

    def note(self, seen: Iterable[Look]) -> None:
        """Write what a look outside showed, in place of the one before."""
        rows = [asdict(look) for look in seen]
        if rows:
            insert = self._insert(looks)
            values = {"at": insert.excluded.at, "value": insert.excluded.value}
            newer = looks.c.at <= insert.excluded.at
            conflict = insert.on_conflict_do_update(index_elements=["kind", "key"], set_=values, where=newer)
            self._connection.execute(conflict, rows)

    def looks(self) -> tuple[Look, ...]:
        """What the last looks outside showed."""
        rows = self._connection.execute(sa.select(looks)).mappings()
        return tuple(Look(**{**row, "kind": LookKind(row["kind"])}) for row in rows)

    def take_turn(self, name: str, holder: str, now: float, until: float) -> bool:
        """Take or keep a turn that one dispatcher at a time has; whether it is `holder`'s until `until`."""
        insert = self._insert(turns).values(name=name, holder=holder, until=until)
        free = (turns.c.holder == holder) | (turns.c.until < now)
        values = {"holder": insert.excluded.holder, "until": insert.excluded.until}
        taken = insert.on_conflict_do_update(index_elements=["name"], set_=values, where=free)
        return self._connection.execute(taken.returning(turns.c.holder)).first() is not None

    def prune(self, before: float, now: float) -> None:
        """Forget what ended before `before` (Unix seconds); a job's names are kept as long as it is open."""
        open_jobs = sa.select(jobs.c.id).where(jobs.c.status != JobStatus.COMPLETED)
        ended = ~_is_open() & (submissions.c.since < before) & submissions.c.job_id.not_in(open_jobs)
        self._connection.execute(sa.delete(submissions).where(ended))
        held = sa.select(submissions.c.name).where(_is_open())
        done = (jobs.c.status == JobStatus.COMPLETED) & (jobs.c.seen_at < before)
        # NOT IN is never true beside NULL, and a job that never ran has no runner_name.
        unheld = sa.func.coalesce(jobs.c.runner_name, "").not_in(held)
        self._connection.execute(sa.delete(jobs).where(done & unheld))
        self._connection.execute(sa.delete(deliveries).where(deliveries.c.at < min(before, now - DELIVERIES_KEPT)))

    def _held_by_name(self) -> sa.ScalarSelect[int]:
        """The job that GitHub says a submission's runner took."""
        taken = jobs.alias("taken")
        return sa.select(sa.func.max(taken.c.id)).where(taken.c.runner_name == submissions.c.name).scalar_subquery()

    def _select(self, where: sa.ColumnElement[bool]) -> Iterator[Submission]:
        rows = self._connection.execute(sa.select(submissions).where(where)).mappings()
        return (_submission(row) for row in rows)

    def _insert(self, table: sa.Table) -> Any:
        return _INSERT[self._connection.dialect.name](table)


@cache
def _advancing(names: tuple[str, ...]) -> sa.Update:
    """The statement that writes these columns of a submission in a known state; to build it costs more than to run it."""
    values: dict[str, Any] = {name: sa.bindparam(f"new_{name}", type_=submissions.c[name].type) for name in names}
    if "started_at" in values:
        values["started_at"] = sa.func.coalesce(submissions.c.started_at, values["started_at"])
    unchanged = (submissions.c.id == sa.bindparam("of")) & (submissions.c.state == sa.bindparam("was"))
    return sa.update(submissions).where(unchanged).values(values)


def _is_open() -> sa.ColumnElement[bool]:
    return submissions.c.state.in_(OPEN_STATES)


def _is_progress(new: Any) -> sa.ColumnElement[bool]:
    """Whether an event tells of a later state: events come late, doubled and out of order."""

    def rank(status: Any) -> sa.ColumnElement[int]:
        return sa.case({str(s): r for s, r in _RANK.items()}, value=status, else_=0)

    forward = rank(new.status) > rank(jobs.c.status)
    # GitHub queues a job again whose runner died; then another takes it.
    taken_anew = (new.status == JobStatus.IN_PROGRESS) & (jobs.c.status == JobStatus.IN_PROGRESS)
    return sa.or_(forward, sa.and_(taken_anew, new.started_at > jobs.c.started_at))


def _job(row: RowMapping) -> WorkflowJob:
    values = {name: row[name] for name in _JOB_FIELDS}
    return WorkflowJob(**{**values, "labels": tuple(row["labels"]), "status": JobStatus(row["status"])})


def _submission(row: RowMapping) -> Submission:
    values: dict[str, Any] = dict(row)
    pool = Pool(values.pop("route"), values.pop("target"))
    values["credentials"] = Credentials(values["credentials"])
    values["state"] = State(values["state"])
    values["reason"] = Reason(values["reason"]) if values["reason"] else None
    return Submission(pool=pool, **values)


def _row(submission: Submission) -> dict[str, Any]:
    values = {f.name: getattr(submission, f.name) for f in fields(submission) if f.name != "pool"}
    return {**values, "route": submission.pool.route, "target": submission.pool.target}

"""The ledger within one transaction."""

import math
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Self, Unpack

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bridge.core.actions import Claim, Transition
from bridge.core.history import Execution, JobRecord
from bridge.core.model import Event, JobStatus, Source, WorkflowJob
from bridge.core.readings import Readings
from bridge.core.reference import Reference
from bridge.core.scope import Route
from bridge.core.submissions import (
    LEASED_STATES,
    Changes,
    IdleRunner,
    JobHistory,
    Pool,
    RunnerUse,
    Starvation,
    State,
    Streak,
    Submission,
    target_of_repository,
)
from bridge.core.timing import Timing
from bridge.ledger import history, placement, retention
from bridge.ledger import statements as st
from bridge.ledger.control import Control
from bridge.ledger.costs import Costs
from bridge.ledger.outbound import Outbound
from bridge.ledger.overview import Overview
from bridge.ledger.readings import ReadingKind, rows_of
from bridge.ledger.reruns import Reruns
from bridge.ledger.rows import LastRead, job_of, row_of_job, row_of_submission, step_row, submission_of
from bridge.ledger.tables import jobs, leader_leases, readings, submissions


class Transaction(Control, Outbound, Reruns):
    """The ledger within one transaction. As a context manager, it writes the history of its submissions at the end.

    Args:
        connection: in a transaction.
        last_read: shared by all transactions of this process.
        clock: Unix seconds.
        new_id: makes an id that no submission has, 32 hex digits.
        claim_lease: s that a dispatcher has from one record of a submission to the next.
    """

    def __init__(
        self,
        connection: Connection,
        last_read: LastRead,
        clock: Callable[[], float],
        new_id: Callable[[], str],
        claim_lease: float = Timing().claim_lease,
    ) -> None:
        super().__init__(connection)
        self._last_read = last_read
        self._clock = clock
        self._claim_lease = claim_lease
        self._new_id = new_id
        self._steps: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        # All rows at once take a quarter of the time.
        if self._steps and error is None:
            self._connection.execute(st.ADD_TRANSITION, self._steps)

    @property
    def costs(self) -> Costs:
        """What is about money."""
        return Costs(self._connection)

    def born(self) -> float:
        """Unix seconds when this ledger was made."""
        if self._last_read.born is None:
            self._last_read.born = float(self._connection.execute(st.BORN).scalar_one())
        return self._last_read.born

    # --- jobs ---

    def merge(self, seen: Iterable[WorkflowJob], at: float) -> None:
        """Write jobs as a reading that began `at` (Unix seconds) saw them, unless something newer is known."""
        rows = [row_of_job(job, at, Source.POLL) for job in {job.id: job for job in seen}.values()]
        self._keep_jobs(rows, forward_only=False)

    def hear(self, events: Iterable[Event]) -> int:
        """Write what deliveries say of jobs: each delivery once, and only later states of a job.

        A `queued` of a job in progress is late, or GitHub has queued the job again: `jobs_to_look_up` lists it then.

        Returns:
            How many were new.
        """
        by_guid = {event.guid: event for event in events}
        if not by_guid:
            return 0
        rows = [{"guid": event.guid, "at": event.at} for event in by_guid.values()]
        kept = set(self._connection.execute(st.keep_deliveries(self._connection.dialect.name), rows).scalars())
        fresh = [event for guid, event in by_guid.items() if guid in kept]
        if queued := [e.job.id for e in fresh if e.job and e.job.status is JobStatus.QUEUED]:
            self._connection.execute(st.DOUBT_JOBS, {"ids": queued})
        self._keep_jobs([row_of_job(e.job, e.at, e.source) for e in fresh if e.job], forward_only=True)
        return len(fresh)

    def known_deliveries(self, guids: Collection[str]) -> frozenset[str]:
        """The deliveries among `guids` that were written before."""
        return frozenset(self._connection.execute(st.KNOWN_DELIVERIES, {"guids": list(guids)}).scalars())

    def _keep_jobs(self, rows: list[dict[str, Any]], *, forward_only: bool) -> None:
        if rows:
            self._connection.execute(st.keep_jobs(self._connection.dialect.name, forward_only=forward_only), rows)

    def learn_forks(self, forks: Mapping[int, bool]) -> None:
        """Write by run id whether a run comes from a fork."""
        if forks:
            rows = [{"run": run_id, "is_fork": fork} for run_id, fork in forks.items()]
            self._connection.execute(st.LEARN_FORK, rows)

    def rename(self, repository: str, to: str) -> None:
        """Change the name of a repository in jobs and submissions.

        Args:
            repository: an earlier owner/name, in lower case.
            to: the current one.
        """
        known = sa.func.lower(jobs.c.repository) == repository
        self._connection.execute(sa.update(jobs).where(known).values(repository=to))
        old, new = target_of_repository(repository), target_of_repository(to)
        self._connection.execute(sa.update(submissions).where(submissions.c.target == old).values(target=new))
        self._connection.execute(
            sa.delete(readings).where(readings.c.kind == ReadingKind.RUNNERS, readings.c.key == old)
        )

    def forget_jobs(self, job_ids: Collection[int]) -> None:
        """Forget jobs, except those that run on an open submission's runner."""
        if job_ids:
            self._connection.execute(st.FORGET_JOBS, {"ids": list(job_ids)})

    def jobs(self) -> dict[int, tuple[WorkflowJob, float]]:
        """Jobs that are not completed or run on an open submission's runner, each with when it was seen.

        Returns:
            By id, the job and Unix seconds.
        """
        # Two statements, for the reason given in `relevant`.
        return self._last_read.jobs([*self._all(st.OPEN_JOBS), *self._all(st.HELD_JOBS)])

    def jobs_to_look_up(self) -> tuple[WorkflowJob, ...]:
        """Jobs that GitHub is to be asked about.

        These are queued ones for which it is unknown whether their runs come from forks, and those in progress that a
        later event says are queued.
        """
        return tuple(map(job_of, self._all(st.JOBS_TO_LOOK_UP)))

    def repositories_that_wait(self) -> frozenset[str]:
        """The repositories of queued jobs."""
        return frozenset(self._connection.execute(st.REPOSITORIES_THAT_WAIT).scalars())

    # --- submissions ---

    def submissions(self, *, since: float, names: Collection[str]) -> tuple[Submission, ...]:
        """The open submissions, those that changed after `since` (Unix seconds), and those of these names."""
        wanted = st.IS_OPEN | (submissions.c.since > since) | submissions.c.name.in_(names)
        return tuple(map(submission_of, self._all(sa.select(*st.SUBMISSION).where(wanted))))

    def relevant(self, *, since: float, names: Collection[str]) -> tuple[Submission, ...]:
        """Submissions that matter for a plan.

        These are the open ones, those of these names, and those that ended after `since` (Unix seconds) and may have
        taken a job that is not known to be completed.
        """
        # One statement each: SQLite does not use its indexes for all parts of an OR.
        rows = [*self._all(st.OPEN), *self._all(st.ENDED, since=since)]
        if names:
            rows += self._all(st.NAMED, names=list(names))
        return tuple(self._last_read.submissions(rows).values())

    def open_submissions(self) -> tuple[Submission, ...]:
        """Submissions that count against a route's max_workers."""
        return tuple(map(submission_of, self._all(st.OPEN)))

    def reported(self, ids: Collection[str]) -> tuple[Submission, ...]:
        """The submissions of these ids, except those whose end and execution are known."""
        return tuple(map(submission_of, self._all(st.REPORTED, ids=list(ids)))) if ids else ()

    def history(self) -> Mapping[int, JobHistory]:
        """What became of earlier submissions for each job that is not completed."""
        return {
            job_id: JobHistory(
                generation=generation,
                attempts=attempts,
                moves=moves,
                first_claim=first_claim,
                last_claim=last_claim,
                last_end=last_end,
            )
            for job_id, generation, attempts, moves, first_claim, last_claim, last_end in self._all(st.HISTORY)
        }

    def idle_runners(self, since: float, listened: float) -> tuple[IdleRunner, ...]:
        """Runners that ended without a job.

        Args:
            since: Unix seconds; only runners that ended later.
            listened: s that a job must have been queued before a runner ended, so that the job refutes it by running
                later.
        """
        rows = self._connection.execute(st.IDLE_RUNNERS, {"since": since, "listened": listened}).all()
        taken = self._connection.execute(st.TAKEN_JOBS, {"since": since}).all() if rows else ()
        # Both lists are read once, newest first: a query for the jobs of each runner would take their product.
        left, queued_first = deque(taken), dict[tuple[str, str], float]()
        found = []
        for row in sorted(rows, key=lambda row: row.ended, reverse=True):
            while left and left[0].taken_at > row.ended:
                job = left.popleft()
                pool = (job.route, job.target)
                queued_first[pool] = min(job.queued_since, queued_first.get(pool, math.inf))
            refuted = queued_first.get((row.route, row.target), math.inf) <= row.ended - listened
            found.append(
                IdleRunner(pool=Pool(row.route, row.target), began=row.began, ended=row.ended, refuted=refuted)
            )
        return tuple(found)

    def last_taken(self, since: float) -> Mapping[Pool, float]:
        """By pool, Unix seconds when a runner last took a job, if that was after `since` (Unix seconds)."""
        rows = self._connection.execute(st.LAST_TAKEN, {"since": since})
        return {Pool(route, target): at for route, target, at in rows}

    def runner_uses(self, runs: Collection[int]) -> tuple[RunnerUse, ...]:
        """Jobs of these runs that our runners took."""
        rows = self._connection.execute(st.RUNNER_USES, {"runs": list(runs)})
        return tuple(
            RunnerUse(run_id=run_id, pool=Pool(route, target), began=began, ended=ended)
            for run_id, route, target, began, ended in rows
        )

    def queued_since(self) -> Mapping[int, float]:
        """By id of each job that is not completed, Unix seconds when it was queued or last retried by hand."""
        return {row.id: row.at for row in self._connection.execute(st.QUEUED_SINCE)}

    def streaks(self) -> Mapping[str, Streak]:
        """By endpoint, the workers that failed since one last worked."""
        return placement.streaks(self._connection)

    def starvations(self, after: float) -> Mapping[str, Starvation]:
        """By endpoint, the requests that left it after a time (Unix seconds) because it had no capacity."""
        return placement.starvations(self._connection, after)

    def unanswered(self) -> Mapping[str, tuple[float, ...]]:
        """By endpoint, Unix seconds of the requests that RunPod did not answer since it last answered one."""
        return placement.unanswered(self._connection)

    def claim(self, claims: Collection[tuple[Claim, Route]], now: float) -> tuple[Submission, ...]:
        """Write claims; their names can never be claimed again.

        Args:
            claims: each with its route.
            now: Unix seconds.
        """
        claimed = tuple(
            Submission(
                id=self._new_id(),
                name=claim.name,
                job_id=claim.job_id,
                generation=claim.generation,
                pool=claim.pool,
                endpoint=claim.endpoint,
                credentials=route.credentials,
                state=State.CLAIMED,
                since=now,
                created_at=now,
                lease_until=now + self._claim_lease,
                not_after=now + route.queue_timeout,
            )
            for claim, route in claims
        )
        if claimed:
            self._connection.execute(sa.insert(submissions), list(map(row_of_submission, claimed)))
            why = [claim.placed or None for claim, _ in claims]
            steps = zip(claimed, why, strict=True)
            self._steps += [step_row(s.id, None, s.state, now, detail=detail) for s, detail in steps]
        return claimed

    def record(self, transition: Transition, at: float) -> bool:
        """Write a transition that was seen at `at` (Unix seconds)."""
        changes: Changes = {"since": at}
        if transition.reason is not None:
            changes["reason"] = transition.reason
        if transition.held_job_id is not None:
            changes["held_job_id"] = transition.held_job_id
        if transition.result is not None:
            changes["result"] = transition.result
        if transition.detail is not None:
            changes["detail"] = transition.detail
        return self.advance(transition.submission, transition.to, **changes)

    def advance(self, submission: Submission, to: State, **changes: Unpack[Changes]) -> bool:
        """See `Ledger.advance`."""
        values: dict[str, Any] = {"since": self._clock(), **changes, "state": to}
        if to in LEASED_STATES:
            values["lease_until"] = values["since"] + self._claim_lease
        if to is State.STARTED:
            values["started_at"] = values["since"]
        took_a_job = to in (State.BUSY, State.FINISHED) or values.get("held_job_id") is not None
        if took_a_job and submission.taken_at is None:
            values["taken_at"] = values["since"]
        if to is State.STARTED and submission.taken_at is not None:
            # GitHub withdrew its job before the runner picked it up.
            values |= {"taken_at": None, "held_job_id": None}
        given = {f"new_{name}": value for name, value in values.items()}
        parameters = {"of": submission.id, "was": submission.state, **given}
        advanced = self._connection.execute(st.advancing(tuple(values)), parameters).rowcount == 1
        if advanced and to is not submission.state:
            why = {key: changes[key] for key in ("reason", "detail") if key in changes}
            self._steps.append(step_row(submission.id, submission.state, to, values["since"], **why))
        return advanced

    def keep_executions(self, executions: Mapping[str, Execution]) -> None:
        """Write what is known, by submission id, of how RunPod executed its request."""
        history.keep(self._connection, executions)

    def runner_versions(self) -> dict[str, str]:
        """See `bridge.ledger.history.runner_versions`."""
        return history.runner_versions(self._connection)

    def named(self, reference: Reference) -> tuple[JobRecord, ...]:
        """What is known of the job that is named, or of each job of the run, in the order of their ids."""
        return history.named(self._connection, reference)

    def overview(self) -> Overview:
        """What the dashboard shows beside the plan."""
        return Overview(self._connection)

    # --- what dispatchers share ---

    def note(self, read: Readings) -> None:
        """Write what was read of GitHub and RunPod, in place of what was read before."""
        if rows := list(rows_of(read)):
            insert = self._insert(readings)
            values = {"at": insert.excluded.at, "value": insert.excluded.value}
            newer = readings.c.at <= insert.excluded.at
            conflict = insert.on_conflict_do_update(index_elements=["kind", "key"], set_=values, where=newer)
            self._connection.execute(conflict, rows)

    def readings(self) -> Readings:
        """What was last read of GitHub and RunPod."""
        return self._last_read.readings(self._all(st.READINGS))

    def runners_read_at(self) -> dict[str, float]:
        """By target, Unix seconds when its runners were last read."""
        return {row.key: row.at for row in self._connection.execute(st.RUNNERS_READ_AT)}

    def take_leader_lease(self, name: str, holder: str, now: float, until: float) -> bool:
        """Take or renew a lease that one dispatcher at a time holds.

        Args:
            name: of the lease.
            holder: of the dispatcher.
            now: Unix seconds.
            until: Unix seconds, when the lease ends.

        Returns:
            Whether `holder` has it until `until`.
        """
        insert = self._insert(leader_leases).values(name=name, holder=holder, until=until)
        free = (leader_leases.c.holder == holder) | (leader_leases.c.until < now)
        values = {"holder": insert.excluded.holder, "until": insert.excluded.until}
        taken = insert.on_conflict_do_update(index_elements=["name"], set_=values, where=free)
        return self._connection.execute(taken.returning(leader_leases.c.holder)).first() is not None

    def prune(self, before: float, now: float) -> None:
        """Delete what ended before `before` (Unix seconds). Submissions are kept as long as their job is open."""
        retention.prune(self._connection, before, now)

    def _all(self, query: sa.Select[Any], **parameters: Any) -> Sequence[Any]:
        """All rows of a query. Reading them at once takes half the time of reading them one by one."""
        return self._connection.execute(query, parameters).all()

    def _insert(self, table: sa.Table) -> Any:
        return st.INSERT[self._connection.dialect.name](table)

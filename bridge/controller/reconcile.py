"""One pass: observe -> plan -> claim -> apply. Level-triggered; how often it runs changes when, never what.

Observing happens outside; reading the ledger, planning and claiming inside one write transaction. So passes
may overlap, in one process or in several: each sees the claims of those before it as supply.
"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

import structlog

from bridge.controller.apply import Applier, GitHubWriter, Records, RunPodWriter
from bridge.controller.missed import DeliveryLogReader
from bridge.controller.observe import Observer
from bridge.controller.observed import GitHubReader, Memory, Observed, RunPodReader
from bridge.core.actions import Claim, Plan, Transition
from bridge.core.breaker import with_unanswered
from bridge.core.model import EndpointHealth, Event, JobStatus, Runner, WorkflowJob
from bridge.core.plan import plan
from bridge.core.refusals import refusals_in
from bridge.core.repositories import Names
from bridge.core.routing import is_served
from bridge.core.scope import Route, Scope
from bridge.core.snapshot import Reading, ReadingKind, Refusal, Snapshot
from bridge.core.submissions import OPEN_STATES, IdleRunner, JobHistory, Pool, RunnerUse, State, Streak, Submission
from bridge.core.timing import Timing

PRUNE_EVERY = 600.0
"""s between two deletions of what ended long ago."""

T = TypeVar("T")
log = structlog.get_logger()


class GitHub(GitHubReader, GitHubWriter, Protocol):
    """GitHub, as a pass uses it."""


class RunPod(RunPodReader, RunPodWriter, Protocol):
    """RunPod, as a pass uses it."""


class Transaction(Protocol):
    """The ledger within one transaction."""

    def born(self) -> float: ...
    def merge(self, seen: Iterable[WorkflowJob], at: float) -> None: ...
    def hear(self, events: Iterable[Event]) -> int: ...
    def learn_forks(self, forks: Mapping[int, bool]) -> None: ...
    def rename(self, repository: str, to: str) -> None: ...
    def forget_jobs(self, job_ids: Collection[int]) -> None: ...
    def known_deliveries(self, guids: Collection[str]) -> frozenset[str]: ...
    def jobs(self) -> dict[int, tuple[WorkflowJob, float]]: ...
    def jobs_of_unknown_origin(self) -> tuple[WorkflowJob, ...]: ...
    def doubted_jobs(self) -> tuple[WorkflowJob, ...]: ...
    def relevant(self, *, since: float, names: Collection[str]) -> tuple[Submission, ...]: ...
    def open_submissions(self) -> tuple[Submission, ...]: ...
    def history(self) -> Mapping[int, JobHistory]: ...
    def streaks(self) -> Mapping[str, Streak]: ...
    def queued_since(self) -> Mapping[int, float]: ...
    def idle_runners(self, since: float, listened: float) -> tuple[IdleRunner, ...]: ...
    def last_taken(self, since: float) -> Mapping[Pool, float]: ...
    def runner_uses(self, runs: Collection[int]) -> tuple[RunnerUse, ...]: ...
    def unanswered(self) -> Mapping[str, tuple[float, ...]]: ...
    def claim(self, claim: Claim, route: Route, now: float) -> Submission: ...
    def record(self, transition: Transition, at: float) -> bool: ...
    def note(self, seen: Iterable[Reading]) -> None: ...
    def readings(self) -> tuple[Reading, ...]: ...
    def repositories_that_wait(self) -> frozenset[str]: ...
    def runners_read_at(self) -> Mapping[str, float]: ...
    def prune(self, before: float, now: float) -> None: ...


class Ledger(Records, Protocol):
    """The ledger, as a pass uses it."""

    async def transact(self, work: Callable[[Transaction], T]) -> T: ...
    async def preview(self, work: Callable[[Transaction], T]) -> T: ...
    async def read(self, work: Callable[[Transaction], T]) -> T: ...


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What a pass decided, and what of its snapshot is told: the rest is not kept while requests are being sent.

    Args:
        plan: what to do.
        jobs: the snapshot's.
        standing: by route and state, how many submissions were open.
        streaks: the snapshot's.
        refusals: the snapshot's.
        claimed: the plan's claims, as they were written.
        seconds: for which nothing else could be written.
    """

    plan: Plan
    jobs: tuple[WorkflowJob, ...] = ()
    standing: Mapping[tuple[str, State], int] = field(default_factory=dict)
    streaks: Mapping[str, Streak] = field(default_factory=dict)
    refusals: Mapping[str, Refusal] = field(default_factory=dict)
    claimed: tuple[Submission, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a pass did.

    Args:
        decision: the plan and what it was made from.
        submitted: requests that RunPod accepted.
        problems: what could not be done, a line each, however often it was met.
        seconds: the pass took.
    """

    decision: Decision
    submitted: tuple[Submission, ...]
    problems: tuple[str, ...]
    seconds: float


class Reconciler:
    """Runs passes.

    Args:
        scope: what the bridge serves.
        github: the client.
        runpod: the client.
        ledger: the memory.
        log: the App's delivery log, None without an App.
        clock: Unix seconds.
    """

    def __init__(  # noqa: PLR0913 - its ports
        self,
        scope: Scope,
        github: GitHub,
        runpod: RunPod,
        ledger: Ledger,
        log: DeliveryLogReader | None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._scope = scope
        self._github = github
        self._runpod = runpod
        self._ledger = ledger
        self._clock = clock
        self._observer = Observer(scope, github, runpod, log, clock=clock)
        self._pruned_at = 0.0
        self._given_up: frozenset[int] = frozenset()  # jobs of which it was said
        self._routes = {route.name: route for route in scope.routes}
        self._warned: set[str] = set()

    def serves(self, job: WorkflowJob) -> bool:
        """Whether a job may be for a runner of ours, or has one."""
        return is_served(job, self._observer.scope)

    async def resync(self) -> Report:
        """Run one pass that looks everything up."""
        began = time.monotonic()
        return await self._carry_out(await self._observe(), began)

    async def event_pass(self, ended: Collection[str] = ()) -> Report:
        """Run one pass on what the ledger has been told by events.

        Args:
            ended: submissions of whose requests RunPod has told that they ended.
        """
        began = time.monotonic()
        jobs, doubted, submissions, waiting, read_at = await self._ledger.read(
            lambda transaction: (
                transaction.jobs_of_unknown_origin(),
                transaction.doubted_jobs(),
                transaction.open_submissions() if ended else (),
                transaction.repositories_that_wait(),
                transaction.runners_read_at(),
            )
        )
        # Before the observation begins: a list that is read for events alone is no reason to delete registrations.
        listed = await self._observer.runners(waiting, read_at)
        seen = await self._observer.observe_some(jobs, [s for s in submissions if s.id in ended], doubted)
        seen = replace(seen, readings=listed.readings, problems=(*listed.problems, *seen.problems))
        return await self._carry_out(seen, began)

    async def preview(self) -> Report:
        """Look and plan as a pass would; nothing is changed, neither outside nor in the ledger."""
        began = time.monotonic()
        seen = await self._observe()
        decision = await self._ledger.preview(lambda transaction: self._decide(transaction, seen))
        problems = tuple(dict.fromkeys([*seen.problems, *_standing(decision)]))
        self._warn(decision.plan)
        return Report(decision=decision, submitted=(), problems=problems, seconds=time.monotonic() - began)

    async def explain(self) -> Decision:
        """Plan on what the ledger holds; nothing is looked up or changed."""
        now = self._clock()
        return await self._ledger.preview(lambda transaction: self._decide(transaction, Observed(began=now, at=now)))

    async def _observe(self) -> Observed:
        return await self._observer.observe_all(await self._memory())

    async def _memory(self) -> Memory:
        jobs, submissions, readings, history = await self._ledger.read(
            lambda transaction: (
                transaction.jobs(),
                transaction.open_submissions(),
                transaction.readings(),
                transaction.history(),
            )
        )
        return Memory(
            jobs=jobs,
            submissions=submissions,
            readings=readings,
            history=history,
            known_deliveries=self._known_deliveries,
        )

    async def _known_deliveries(self, guids: Collection[str]) -> Collection[str]:
        return await self._ledger.read(lambda transaction: transaction.known_deliveries(guids))

    async def _carry_out(self, seen: Observed, began: float) -> Report:
        decision = await self._ledger.transact(lambda transaction: self._claim(transaction, seen))
        self._warn(decision.plan)
        for transition in decision.plan.transitions:
            log.info(f"submission {transition.to}", runner=transition.submission.name, detail=transition.detail)
        self._tell_of_given_up(decision)
        applier = Applier(
            self._github, self._runpod, self._ledger, self._scope, refusals=decision.refusals, clock=self._clock
        )
        await applier.apply(
            [(s, self._routes[s.pool.route]) for s in decision.claimed],
            decision.plan.withdrawals,
            decision.plan.garbage,
        )
        return Report(
            decision=decision,
            submitted=tuple(applier.submitted),
            problems=tuple(dict.fromkeys([*seen.problems, *applier.problems, *_standing(decision)])),
            seconds=time.monotonic() - began,
        )

    def _tell_of_given_up(self, decision: Decision) -> None:
        """Log each job once that gets no more runners."""
        given_up = frozenset(decision.plan.given_up)
        why = {skip.job_id: skip.why for skip in decision.plan.skips}
        for job in decision.jobs:
            if job.id in given_up - self._given_up:
                log.warning(
                    "job given up", job=job.id, repository=job.repository, url=job.html_url, why=why.get(job.id)
                )
        self._given_up = given_up

    def _stale_after(self) -> float:
        """Seconds after which what a look showed counts for nothing."""
        return max(self._scope.timing.list_stale, 3 * self._scope.interval)

    def _warn(self, planned: Plan) -> None:
        """Say each thing once."""
        for line in planned.warnings:
            if line not in self._warned:
                log.warning(line)
        self._warned |= set(planned.warnings)

    def _decide(self, transaction: Transaction, seen: Observed) -> Decision:
        """Write down what was seen and plan, within one write transaction."""
        now = self._clock()
        if seen.names:
            self._observer.follow(seen.names)
        for repository, name in seen.renamed.items():
            transaction.rename(repository, name)
        jobs = self._ours(seen.jobs)
        transaction.hear([replace(event, job=next(iter(self._ours([event.job])), None)) for event in seen.events])
        transaction.merge(jobs, seen.at)
        transaction.forget_jobs(seen.not_ours)
        transaction.learn_forks(seen.forks)
        if seen.readings:
            transaction.note(_after_gap(transaction.readings(), now, self._stale_after()))
        transaction.note(seen.readings)
        snapshot = self._snapshot(transaction, seen, now)
        decided = plan(snapshot, now)
        for transition in decided.transitions:
            transaction.record(transition, seen.at)
        if seen.readings and not self._pruned_at <= now < self._pruned_at + PRUNE_EVERY:
            transaction.prune(now - self._scope.retention, now)
            self._pruned_at = now
        standing = Counter((s.pool.route, s.state) for s in snapshot.submissions if s.state in OPEN_STATES)
        return Decision(
            plan=decided,
            jobs=snapshot.jobs,
            standing=standing,
            streaks=snapshot.streaks,
            refusals=snapshot.refusals,
        )

    def _ours(self, jobs: Iterable[WorkflowJob | None]) -> list[WorkflowJob]:
        """The jobs that are kept, under the current names of their repositories."""
        named = (self._observer.names.of_job(job) for job in jobs if job)
        return [job for job in named if self.serves(job)]

    def _snapshot(self, transaction: Transaction, seen: Observed, now: float) -> Snapshot:
        jobs = transaction.jobs()
        noted = transaction.readings()
        self._follow(noted)
        resumed_at = max((reading.at for reading in noted if reading.kind is ReadingKind.RESUMED), default=0.0)
        stale = self._stale_after()
        readings = [reading for reading in noted if reading.at > now - stale]
        at_runners = [reading for reading in readings if reading.kind is ReadingKind.RUNNERS]
        at_health = [reading for reading in readings if reading.kind is ReadingKind.HEALTH]
        runners = {reading.key: tuple(map(_runner, reading.value)) for reading in at_runners}
        looked_at = max((reading.at for reading in at_runners), default=0.0)
        oldest = min((at for job, at in jobs.values() if job.status is JobStatus.QUEUED), default=looked_at)
        names = [runner.name for listed in runners.values() for runner in listed]
        submissions = transaction.relevant(since=min(looked_at, oldest), names=names)
        born = transaction.born()
        return Snapshot(
            began=seen.began,
            at=seen.at,
            looked_at=looked_at,
            ledger_born=born,
            knows_since=max(born, resumed_at),
            prefix=self._scope.prefix,
            organisation=self._scope.organisation,
            routes=self._observer.scope.routes,
            # Others' jobs are not kept, but shown: a label may be wrong.
            jobs=(*(job for job, _ in jobs.values()), *(job for job in seen.jobs if not self.serves(job))),
            seen_at={job_id: at for job_id, (_, at) in jobs.items()},
            submissions=submissions,
            history=transaction.history(),
            runners=runners,
            runners_at={reading.key: reading.at for reading in at_runners},
            requests=seen.requests,
            health={reading.key: EndpointHealth(**reading.value) for reading in at_health},
            health_at={reading.key: reading.at for reading in at_health},
            missing_since={
                k: v for reading in readings if reading.kind is ReadingKind.MISSING for k, v in reading.value.items()
            },
            streaks=with_unanswered(transaction.streaks(), transaction.unanswered()),
            refusals=refusals_in(noted, self._scope.timing, now),
            timing=self._scope.timing,
            **_evidence(transaction, jobs.values(), submissions, self._scope.timing, now),
        )

    def _follow(self, readings: Iterable[Reading]) -> None:
        """Learn what another dispatcher has seen of the names of repositories."""
        for reading in readings:
            if reading.kind is ReadingKind.NAMES:
                self._observer.follow(Names.of_value(reading.value))

    def _claim(self, transaction: Transaction, seen: Observed) -> Decision:
        """Decide, and write the claims down."""
        began = time.monotonic()
        decision = self._decide(transaction, seen)
        now = self._clock()
        claimed = tuple(transaction.claim(c, self._routes[c.pool.route], now) for c in decision.plan.claims)
        return replace(decision, claimed=claimed, seconds=time.monotonic() - began)


def _standing(decision: Decision) -> list[str]:
    """Refusals met before for which jobs still wait."""
    reasons = [skip.why for skip in decision.plan.skips]
    return [r.why for key, r in decision.refusals.items() if any(why.startswith(f"{key} ") for why in reasons)]


def _evidence(
    transaction: Transaction,
    jobs: Iterable[tuple[WorkflowJob, float]],
    submissions: Iterable[Submission],
    timing: Timing,
    now: float,
) -> dict[str, Any]:
    """What `evidence` and `idle` need, by its name in a snapshot; it is rarely needed, and not read otherwise."""
    idle = transaction.idle_runners(now - timing.evidence_kept, timing.min_listening)
    listening = any(s.state is State.STARTED and s.since < now - timing.min_listening for s in submissions)
    runs = {job.run_id for job, _ in jobs if job.status is JobStatus.QUEUED} if idle else set()
    return {
        "idle": idle,
        "queued_since": transaction.queued_since() if idle or listening else {},
        "last_taken": transaction.last_taken(now - timing.evidence_kept),
        "uses": transaction.runner_uses(runs) if runs else (),
    }


def _after_gap(readings: Iterable[Reading], now: float, stale: float) -> list[Reading]:
    """A note that the ledger goes on after a gap, if there was one: what happened meanwhile it need not know."""
    last = max((reading.at for reading in readings if reading.kind is ReadingKind.RUNNERS), default=0.0)
    return [Reading(kind=ReadingKind.RESUMED, key="", at=now, value=None)] if now > last + stale else []


def _runner(value: Mapping[str, Any]) -> Runner:
    return Runner(**{**value, "labels": tuple(value["labels"])})

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

from bridge.apply import Applier, GitHubHand, Records, RunPodHand
from bridge.decision import (
    OPEN_STATES,
    Claim,
    IdleRunner,
    JobHistory,
    Look,
    LookKind,
    Move,
    Plan,
    Pool,
    RunnerUse,
    Snapshot,
    State,
    Streak,
    Submission,
)
from bridge.evidence import LISTENED, REMEMBERED
from bridge.model import EndpointHealth, Event, JobStatus, Route, Runner, Scope, WorkflowJob
from bridge.observe import DeliveryLogView, GitHubView, Memory, Observation, Observer, RunPodView
from bridge.plan import plan

STALE = 600.0
"""s after which what a look showed counts for nothing."""

T = TypeVar("T")
log = structlog.get_logger()


class GitHub(GitHubView, GitHubHand, Protocol):
    """GitHub, as a pass uses it."""


class RunPod(RunPodView, RunPodHand, Protocol):
    """RunPod, as a pass uses it."""


class Books(Protocol):
    """The ledger within one transaction."""

    def born(self) -> float: ...
    def merge(self, seen: Iterable[WorkflowJob], at: float) -> None: ...
    def hear(self, events: Iterable[Event]) -> int: ...
    def learn_forks(self, forks: Mapping[int, bool]) -> None: ...
    def known_deliveries(self, guids: Collection[str]) -> frozenset[str]: ...
    def jobs(self) -> dict[int, tuple[WorkflowJob, float]]: ...
    def jobs_of_unknown_origin(self) -> tuple[WorkflowJob, ...]: ...
    def relevant(self, *, since: float, names: Collection[str]) -> tuple[Submission, ...]: ...
    def open_submissions(self) -> tuple[Submission, ...]: ...
    def history(self) -> Mapping[int, JobHistory]: ...
    def streaks(self) -> Mapping[str, Streak]: ...
    def queued_since(self) -> Mapping[int, float]: ...
    def idle_runners(self, since: float, listened: float) -> tuple[IdleRunner, ...]: ...
    def last_taken(self, since: float) -> Mapping[Pool, float]: ...
    def runner_uses(self, runs: Collection[int]) -> tuple[RunnerUse, ...]: ...
    def claim(self, claim: Claim, route: Route, now: float) -> Submission: ...
    def record(self, move: Move, at: float) -> bool: ...
    def note(self, seen: Iterable[Look]) -> None: ...
    def looks(self) -> tuple[Look, ...]: ...
    def prune(self, before: float, now: float) -> None: ...


class Ledger(Records, Protocol):
    """The ledger, as a pass uses it."""

    async def transact(self, work: Callable[[Books], T]) -> T: ...
    async def preview(self, work: Callable[[Books], T]) -> T: ...
    async def read(self, work: Callable[[Books], T]) -> T: ...


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What a pass decided, and what of its snapshot is told: the rest is not kept while requests are being sent.

    Args:
        plan: what to do.
        jobs: the snapshot's.
        standing: by route and state, how many submissions were open.
        streaks: the snapshot's.
        claimed: the plan's claims, as they were written.
        seconds: for which nothing else could be written.
    """

    plan: Plan
    jobs: tuple[WorkflowJob, ...] = ()
    standing: Mapping[tuple[str, State], int] = field(default_factory=dict)
    streaks: Mapping[str, Streak] = field(default_factory=dict)
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
        log: DeliveryLogView | None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._scope = scope
        self._github = github
        self._runpod = runpod
        self._ledger = ledger
        self._clock = clock
        self._observer = Observer(scope, github, runpod, log, clock=clock)
        self._routes = {route.name: route for route in scope.routes}
        self._warned: set[str] = set()

    async def run(self) -> Report:
        """Run one pass that looks everything up."""
        began = time.monotonic()
        return await self._carry_out(await self._look(), began)

    async def act(self, nudged: Collection[str] = ()) -> Report:
        """Run one pass on what the ledger has been told by events.

        Args:
            nudged: submissions of whose requests RunPod has told that they ended.
        """
        began = time.monotonic()
        jobs, submissions = await self._ledger.read(
            lambda books: (books.jobs_of_unknown_origin(), books.open_submissions() if nudged else ())
        )
        seen = await self._observer.glance(jobs, [s for s in submissions if s.id in nudged])
        return await self._carry_out(seen, began)

    async def preview(self) -> Report:
        """Look and plan as a pass would; nothing is changed, neither outside nor in the ledger."""
        began = time.monotonic()
        seen = await self._look()
        decision = await self._ledger.preview(lambda books: self._decide(books, seen))
        self._warn(decision.plan)
        return Report(decision=decision, submitted=(), problems=seen.problems, seconds=time.monotonic() - began)

    async def explain(self) -> Decision:
        """Plan on what the ledger holds; nothing is looked up or changed."""
        now = self._clock()
        return await self._ledger.preview(lambda books: self._decide(books, Observation(began=now, at=now)))

    async def _look(self) -> Observation:
        return await self._observer.look(await self._memory())

    async def _memory(self) -> Memory:
        jobs, submissions, looks, history = await self._ledger.read(
            lambda books: (books.jobs(), books.open_submissions(), books.looks(), books.history())
        )
        return Memory(
            jobs=jobs,
            submissions=submissions,
            looks=looks,
            history=history,
            known_deliveries=self._known_deliveries,
        )

    async def _known_deliveries(self, guids: Collection[str]) -> Collection[str]:
        return await self._ledger.read(lambda books: books.known_deliveries(guids))

    async def _carry_out(self, seen: Observation, began: float) -> Report:
        decision = await self._ledger.transact(lambda books: self._claim(books, seen))
        self._warn(decision.plan)
        for move in decision.plan.moves:
            log.info(f"submission {move.to}", runner=move.submission.name, detail=move.detail)
        applier = Applier(self._github, self._runpod, self._ledger, self._scope, clock=self._clock)
        await applier.apply(
            [(s, self._routes[s.pool.route]) for s in decision.claimed],
            decision.plan.withdrawals,
            decision.plan.sweeps,
        )
        return Report(
            decision=decision,
            submitted=tuple(applier.submitted),
            problems=tuple(dict.fromkeys([*seen.problems, *applier.problems])),
            seconds=time.monotonic() - began,
        )

    def _warn(self, planned: Plan) -> None:
        """Say each thing once."""
        for line in planned.warnings:
            if line not in self._warned:
                log.warning(line)
        self._warned |= set(planned.warnings)

    def _decide(self, books: Books, seen: Observation) -> Decision:
        """Write down what was seen and plan, within one write transaction."""
        now = self._clock()
        books.hear(seen.events)
        books.merge(seen.jobs, seen.at)
        books.learn_forks(seen.forks)
        if seen.looks:
            books.note(_after_gap(books.looks(), now))
        books.note(seen.looks)
        snapshot = self._snapshot(books, seen, now)
        decided = plan(snapshot, now)
        for move in decided.moves:
            books.record(move, seen.at)
        if seen.looks:
            books.prune(now - self._scope.retention, now)
        standing = Counter((s.pool.route, s.state) for s in snapshot.submissions if s.state in OPEN_STATES)
        return Decision(plan=decided, jobs=snapshot.jobs, standing=standing, streaks=snapshot.streaks)

    def _snapshot(self, books: Books, seen: Observation, now: float) -> Snapshot:
        jobs = books.jobs()
        known = books.looks()
        resumed_at = max((look.at for look in known if look.kind is LookKind.RESUMED), default=0.0)
        looks = [look for look in known if look.at > now - STALE]
        at_runners = [look for look in looks if look.kind is LookKind.RUNNERS]
        runners = {look.key: tuple(map(_runner, look.value)) for look in at_runners}
        looked_at = max((look.at for look in at_runners), default=0.0)
        oldest = min((at for job, at in jobs.values() if job.status is JobStatus.QUEUED), default=looked_at)
        names = [runner.name for listed in runners.values() for runner in listed]
        idle = books.idle_runners(now - REMEMBERED, LISTENED)
        runs = {job.run_id for job, _ in jobs.values() if job.status is JobStatus.QUEUED} if idle else ()
        submissions = books.relevant(since=min(looked_at, oldest), names=names)
        listening = any(s.state is State.STARTED and s.since < now - LISTENED for s in submissions)
        return Snapshot(
            began=seen.began,
            at=seen.at,
            looked_at=looked_at,
            ledger_born=max(books.born(), resumed_at),
            prefix=self._scope.prefix,
            organisation=self._scope.organisation,
            routes=self._scope.routes,
            jobs=tuple(job for job, _ in jobs.values()),
            seen_at={job_id: at for job_id, (_, at) in jobs.items()},
            submissions=submissions,
            history=books.history(),
            runners=runners,
            runners_at={look.key: look.at for look in at_runners},
            requests=seen.requests,
            health={look.key: EndpointHealth(**look.value) for look in looks if look.kind is LookKind.HEALTH},
            streaks=books.streaks(),
            queued_since=books.queued_since() if idle or listening else {},
            idle=idle,
            last_taken=books.last_taken(now - REMEMBERED),
            uses=books.runner_uses(runs) if runs else (),
        )

    def _claim(self, books: Books, seen: Observation) -> Decision:
        """Decide, and write the claims down."""
        began = time.monotonic()
        decision = self._decide(books, seen)
        now = self._clock()
        claimed = tuple(books.claim(c, self._routes[c.pool.route], now) for c in decision.plan.claims)
        return replace(decision, claimed=claimed, seconds=time.monotonic() - began)


def _after_gap(looks: Iterable[Look], now: float) -> list[Look]:
    """A note that the ledger goes on after a gap, if there was one: what happened meanwhile it need not know."""
    last = max((look.at for look in looks if look.kind is LookKind.RUNNERS), default=0.0)
    return [Look(kind=LookKind.RESUMED, key="", at=now, value=None)] if now > last + STALE else []


def _runner(value: Mapping[str, Any]) -> Runner:
    return Runner(**{**value, "labels": tuple(value["labels"])})

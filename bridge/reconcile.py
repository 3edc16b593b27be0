"""One pass: observe -> plan -> claim -> apply. Level-triggered; how often it runs changes when, never what.

Observing happens outside; reading the ledger, planning and claiming inside one write transaction. So passes
may overlap, in one process or in several: each sees the claims of those before it as supply.
"""

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

import structlog

from bridge.apply import Applier, GitHubHand, Records, RunPodHand
from bridge.model import Claim, JobHistory, Move, Plan, Route, Snapshot, Submission, WorkflowJob
from bridge.observe import GitHubView, Observation, RunPodView, Scope, observe
from bridge.plan import plan

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
    def jobs(self) -> dict[int, tuple[WorkflowJob, float]]: ...
    def submissions(self, *, since: float, names: Collection[str]) -> tuple[Submission, ...]: ...
    def open_submissions(self) -> tuple[Submission, ...]: ...
    def history(self) -> Mapping[int, JobHistory]: ...
    def claim(self, claim: Claim, route: Route, now: float) -> Submission: ...
    def record(self, move: Move, at: float) -> bool: ...


class Ledger(Records, Protocol):
    """The ledger, as a pass uses it."""

    async def transact(self, work: Callable[[Books], T]) -> T: ...
    async def preview(self, work: Callable[[Books], T]) -> T: ...
    async def read(self, work: Callable[[Books], T]) -> T: ...


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What a pass decided, and on what."""

    snapshot: Snapshot
    plan: Plan
    claimed: tuple[Submission, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a pass did.

    Args:
        decision: the plan and what it was made from.
        submitted: requests that RunPod accepted.
        problems: what could not be done, a line each.
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
        web_url: GitHub's, such as `https://github.com`.
    """

    def __init__(self, scope: Scope, github: GitHub, runpod: RunPod, ledger: Ledger, *, web_url: str) -> None:
        self._scope = scope
        self._github = github
        self._runpod = runpod
        self._ledger = ledger
        self._web_url = web_url

    async def run(self) -> Report:
        """Run one pass."""
        began = time.monotonic()
        seen = await self._observe()
        decision = await self._ledger.transact(lambda books: self._claim(books, self._decide(books, seen)))
        for move in decision.plan.moves:
            log.info(f"submission {move.to}", runner=move.submission.name, detail=move.detail)
        applier = Applier(self._github, self._runpod, self._ledger, web_url=self._web_url, prefix=self._scope.prefix)
        routes = {route.name: route for route in self._scope.routes}
        await applier.apply(
            [(s, routes[s.pool.route]) for s in decision.claimed],
            decision.plan.withdrawals,
            decision.plan.sweeps,
        )
        return Report(
            decision=decision,
            submitted=tuple(applier.submitted),
            problems=(*seen.problems, *applier.problems),
            seconds=time.monotonic() - began,
        )

    async def preview(self) -> Report:
        """Look and plan as a pass would; nothing is changed, neither outside nor in the ledger."""
        began = time.monotonic()
        seen = await self._observe()
        decision = await self._ledger.preview(lambda books: self._decide(books, seen))
        return Report(decision=decision, submitted=(), problems=seen.problems, seconds=time.monotonic() - began)

    async def _observe(self) -> Observation:
        known, submissions = await self._ledger.read(lambda books: (books.jobs(), books.open_submissions()))
        return await observe(
            self._scope,
            self._github,
            self._runpod,
            submissions=submissions,
            known=[job for job, _ in known.values()],
        )

    def _decide(self, books: Books, seen: Observation) -> Decision:
        """Read the ledger and plan, within one write transaction."""
        books.merge(seen.jobs, seen.jobs_at)
        jobs = books.jobs()
        names = [runner.name for runners in seen.runners.values() for runner in runners]
        snapshot = Snapshot(
            looked_at=seen.looked_at,
            ledger_born=books.born(),
            prefix=self._scope.prefix,
            organisation=self._scope.organisation,
            routes=self._scope.routes,
            jobs=tuple(job for job, _ in jobs.values()),
            seen_at={job_id: at for job_id, (_, at) in jobs.items()},
            submissions=books.submissions(since=seen.looked_at, names=names),
            history=books.history(),
            runners=seen.runners,
            requests=seen.requests,
            health=seen.health,
        )
        decided = plan(snapshot, time.time())
        for move in decided.moves:
            books.record(move, seen.looked_at)
        return Decision(snapshot=snapshot, plan=decided)

    def _claim(self, books: Books, decision: Decision) -> Decision:
        routes = {route.name: route for route in self._scope.routes}
        now = time.time()
        claimed = tuple(books.claim(c, routes[c.pool.route], now) for c in decision.plan.claims)
        return Decision(snapshot=decision.snapshot, plan=decision.plan, claimed=claimed)

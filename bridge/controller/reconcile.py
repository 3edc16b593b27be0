"""One pass: observe, plan, claim, apply. When a pass runs does not change what it does.

Observing happens outside; reading the ledger, planning and claiming happen within one write transaction. So passes
may overlap, in one process or in several: each counts the claims of those before it as supply.
"""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace

import structlog

from bridge.controller.apply import Applier
from bridge.controller.cancel import cancel
from bridge.controller.lost import Reruns, log_reruns, look_up, rerunning
from bridge.controller.observe import Observer, stale_after
from bridge.controller.observed import Memory, Observed
from bridge.controller.ports import DeliveryLog, GitHub, Ledger, RunPod, Transaction
from bridge.controller.report import Decision, Report, standing_problems
from bridge.controller.snapshot import build
from bridge.core.actions import Plan
from bridge.core.cost import cost_of
from bridge.core.history import Wait, execution_of
from bridge.core.lost import OPEN_RERUNS
from bridge.core.model import JobStatus, WorkflowJob
from bridge.core.notices import waiting_since
from bridge.core.plan import plan
from bridge.core.prices import with_settings
from bridge.core.readings import Readings, Timed
from bridge.core.rerun import LOST_KEPT
from bridge.core.routing import is_kept
from bridge.core.scope import Scope
from bridge.core.submissions import OPEN_STATES, Submission
from bridge.core.waits import to_keep, waits_of

PRUNE_EVERY = 600.0
"""s between two deletions of what ended long ago."""

UNTOLD_FOR = 600.0
"""s after a submission's end in which RunPod is asked how its request was executed: it may answer late."""

MOST_UNTOLD = 20
"""Submissions that one resync asks about for this reason."""

_NOTHING = Readings()

log = structlog.get_logger()


class Reconciler:
    """Runs passes.

    Args:
        scope: what the bridge serves.
        github: the client.
        runpod: the client.
        ledger: to read and write.
        delivery_log: the App's, None without an App.
        clock: Unix seconds.
        timer: seconds for durations, from any origin.
    """

    def __init__(  # noqa: PLR0913 - its ports
        self,
        scope: Scope,
        github: GitHub,
        runpod: RunPod,
        ledger: Ledger,
        delivery_log: DeliveryLog | None,
        *,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._scope = scope
        self._github = github
        self._runpod = runpod
        self._ledger = ledger
        self._clock = clock
        self._timer = timer
        self._observer = Observer(scope, github, runpod, delivery_log, clock=clock)
        self._pruned_at = 0.0
        self._given_up: frozenset[int] = frozenset()  # ids of jobs that were logged
        self._routes = {route.name: route for route in scope.routes}
        self._warned: set[str] = set()
        self._waits: Mapping[int, Wait] = {}  # by job id, as of the last pass

    def keeps(self, job: WorkflowJob) -> bool:
        """Whether the ledger keeps a job: see `bridge.core.routing.is_kept`."""
        return is_kept(job, self._observer.scope)

    async def resync(self) -> Report:
        """Run one pass that reads everything."""
        began = self._timer()
        return await self._carry_out(await self._observe_all(), began)

    async def event_pass(self, ended: Collection[str] = ()) -> Report:
        """Run one pass on what events have written to the ledger.

        Args:
            ended: ids of submissions whose requests have ended, as RunPod's callbacks say.
        """
        began = self._timer()
        jobs, submissions, waiting, read_at = await self._ledger.read(
            lambda transaction: (
                transaction.jobs_to_look_up(),
                transaction.reported(ended),
                transaction.repositories_that_wait(),
                transaction.runners_read_at(),
            )
        )
        # Before the observation begins: runners that are read for an event alone justify no deleted registration.
        listed = await self._observer.runners(waiting, read_at)
        unknown = [job for job in jobs if job.status is JobStatus.QUEUED]
        doubted = [job for job in jobs if job.status is not JobStatus.QUEUED]
        seen = await self._observer.observe_some(unknown, submissions, doubted)
        seen = replace(seen, readings=listed.readings, problems=(*listed.problems, *seen.problems))
        return await self._carry_out(seen, began)

    async def preview(self) -> Report:
        """Observe and plan as a resync does; nothing is changed, neither outside nor in the ledger.

        It always scans all repositories: jobs that no route serves are not in the ledger, but they are shown, too.
        """
        began = self._timer()
        seen = await self._observe_all(full_scan=True)
        decision = await self._ledger.preview(lambda transaction: self._decide(transaction, seen))
        problems = tuple(dict.fromkeys([*seen.problems, *standing_problems(decision)]))
        self._warn(decision.plan)
        return Report(decision=decision, submitted=(), problems=problems, seconds=self._timer() - began)

    async def explain(self) -> Decision:
        """Plan on what the ledger holds; nothing is read from outside or changed."""
        return await self._ledger.read(self.outlook)

    def outlook(self, transaction: Transaction) -> Decision:
        """Plan on what the ledger holds, as the next pass would. It only reads, so it makes no writer wait."""
        now = self._clock()
        return self._planned(transaction, Observed(began=now, at=now), now)

    async def cancel(self, submission: Submission, by: str) -> str | None:
        """See `bridge.controller.cancel.cancel`."""
        return await cancel(
            submission,
            by,
            scope=self._scope,
            github=self._github,
            runpod=self._runpod,
            ledger=self._ledger,
            clock=self._clock,
        )

    async def _observe_all(self, *, full_scan: bool = False) -> Observed:
        memory = await self._memory()
        seen = await self._observer.observe_all(memory, full_scan=full_scan)
        return await look_up(memory.lost, seen, self._github, self._runpod, self._scope.timing, self._clock)

    async def _memory(self) -> Memory:
        now = self._clock()
        jobs, submissions, readings, history, untold, lost = await self._ledger.read(
            lambda transaction: (
                transaction.jobs(),
                transaction.open_submissions(),
                transaction.readings(),
                transaction.history(),
                transaction.costs.untold(now - UNTOLD_FOR, MOST_UNTOLD),
                transaction.lost_jobs(rerunning(self._scope), now - LOST_KEPT),
            )
        )
        return Memory(
            jobs=jobs,
            submissions=submissions,
            readings=readings,
            history=history,
            lost=lost,
            known_deliveries=self._known_deliveries,
            untold=untold,
        )

    async def _known_deliveries(self, guids: Collection[str]) -> Collection[str]:
        return await self._ledger.read(lambda transaction: transaction.known_deliveries(guids))

    async def _carry_out(self, seen: Observed, began: float) -> Report:
        claimed_at = self._clock()
        decision = await self._ledger.transact(lambda transaction: self._claim(transaction, seen))
        self._waits = decision.waits
        self._warn(decision.plan)
        for transition in decision.plan.transitions:
            log.info(f"submission {transition.to}", runner=transition.submission.name, detail=transition.detail)
        self._log_given_up(decision)
        applier = Applier(
            self._github, self._runpod, self._ledger, self._scope, refusals=decision.refusals, clock=self._clock
        )
        reruns = Reruns(self._github, self._ledger, self._scope.timing, clock=self._clock)
        await asyncio.gather(
            applier.apply(
                [(s, self._routes[s.pool.route]) for s in decision.claimed],
                decision.plan.withdrawals,
                decision.plan.garbage,
            ),
            reruns.ask(decision.plan.reruns, claimed_at),
        )
        ended = (*(r for r in decision.plan.reruns if r.state and r.state not in OPEN_RERUNS), *reruns.ended)
        log_reruns(ended)
        problems = [*seen.problems, *applier.problems, *reruns.problems, *standing_problems(decision)]
        return Report(
            decision=decision,
            submitted=tuple(applier.submitted),
            problems=tuple(dict.fromkeys(problems)),
            seconds=self._timer() - began,
            reruns=ended,
        )

    def _log_given_up(self, decision: Decision) -> None:
        """Log each job that gets no more runners, once."""
        given_up = frozenset(decision.plan.given_up)
        new, self._given_up = given_up - self._given_up, given_up
        if not new:
            return
        why = {skip.job_id: skip.why for skip in decision.plan.skips}
        for job in decision.jobs:
            if job.id in new:
                log.warning(
                    "job given up", job=job.id, repository=job.repository, url=job.html_url, why=why.get(job.id)
                )

    def _warn(self, planned: Plan) -> None:
        """Log each warning once."""
        for line in planned.warnings:
            if line not in self._warned:
                log.warning(line)
        self._warned |= set(planned.warnings)

    def _claim(self, transaction: Transaction, seen: Observed) -> Decision:
        """Decide, and write down the claims and why the other jobs wait."""
        began = self._timer()
        decision = self._decide(transaction, seen)
        now = self._clock()
        claimed = transaction.claim([(each, self._routes[each.pool.route]) for each in decision.plan.claims], now)
        waits = waits_of(decision.plan, self._waits, now)
        transaction.keep_waits(to_keep(waits, self._waits, now))
        transaction.write_reruns(decision.plan.reruns, now, now + self._scope.timing.claim_lease)
        return replace(decision, claimed=claimed, waits=waits, seconds=self._timer() - began)

    def _decide(self, transaction: Transaction, seen: Observed) -> Decision:
        """Write down what was observed, and plan, within one write transaction."""
        now = self._clock()
        self._write(transaction, seen, now)
        decision = self._planned(transaction, seen, now)
        for transition in decision.plan.transitions:
            transaction.record(transition, seen.at)
        if seen.readings != _NOTHING and not self._pruned_at <= now < self._pruned_at + PRUNE_EVERY:
            transaction.prune(now - self._scope.retention, now)
            self._pruned_at = now
        return replace(decision, costs=self._costs(transaction, decision.plan, now))

    def _planned(self, transaction: Transaction, seen: Observed, now: float) -> Decision:
        """Plan on what was observed, which has been written down."""
        readings = transaction.readings()
        if readings.names:
            self._observer.follow(readings.names.value)  # another dispatcher may have learned them
        snapshot = build(transaction, readings, seen, self._observer.scope, now)
        open_ = [s for s in snapshot.submissions if s.state in OPEN_STATES]
        return Decision(
            plan=plan(snapshot, now),
            jobs=snapshot.jobs,
            standing=Counter((s.pool.route, s.state) for s in open_),
            at_endpoints=Counter((s.endpoint, s.state) for s in open_),
            endpoint_names=snapshot.endpoint_names,
            streaks=snapshot.streaks,
            refusals=snapshot.refusals,
            health=snapshot.health,
            pauses=snapshot.pauses,
            waiting_since=waiting_since(snapshot.submissions),
            budgets=snapshot.budgets,
        )

    def _costs(self, transaction: Transaction, decided: Plan, now: float) -> dict[str, float]:
        """By route, what the submissions cost that have ended in this pass."""
        ended = [each.submission.id for each in decided.transitions if each.to not in OPEN_STATES]
        if not ended:
            return {}
        prices = with_settings(transaction.costs.prices(), self._scope.prices, now)
        found: defaultdict[str, float] = defaultdict(float)
        for usage in transaction.costs.usages_of(ended):
            found[usage.route] += cost_of(usage, prices, now) or 0.0  # an unknown price is not in the metric
        return dict(found)

    def _write(self, transaction: Transaction, seen: Observed, now: float) -> None:
        """Write down what was observed."""
        if seen.names:
            self._observer.follow(seen.names)
        for repository, name in seen.renamed.items():
            transaction.rename(repository, name)
        jobs = self._ours(seen.jobs)
        transaction.hear([replace(event, job=next(iter(self._ours([event.job])), None)) for event in seen.events])
        transaction.merge(jobs, seen.at)
        transaction.forget_jobs(seen.not_ours)
        transaction.learn_forks(seen.forks)
        transaction.keep_executions({key: execution_of(request) for key, request in seen.requests.items()})
        if seen.readings != _NOTHING:
            last = max(transaction.runners_read_at().values(), default=0.0)
            gap = now > last + stale_after(self._scope)
            transaction.note(replace(seen.readings, resumed=Timed(now, None)) if gap else seen.readings)

    def _ours(self, jobs: Iterable[WorkflowJob | None]) -> list[WorkflowJob]:
        """The jobs that are kept, under the current names of their repositories."""
        named = (self._observer.names.of_job(job) for job in jobs if job)
        return [job for job in named if self.keeps(job)]

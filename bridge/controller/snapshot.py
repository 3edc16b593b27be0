"""Builds the snapshot that a plan is made from, out of the ledger and an observation."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from bridge.controller.lost import rerunning
from bridge.controller.observe import stale_after
from bridge.controller.observed import Observed
from bridge.controller.ports import Transaction
from bridge.core.breaker import with_unanswered
from bridge.core.budget import Budget, budgets
from bridge.core.cost import midnight
from bridge.core.lost import LostJob, RerunRecord
from bridge.core.model import EndpointHealth, JobStatus, Runner, WorkflowJob
from bridge.core.prices import with_settings
from bridge.core.readings import Readings
from bridge.core.refusals import standing
from bridge.core.rerun import LOST_KEPT
from bridge.core.routing import is_kept, is_served
from bridge.core.scope import Scope
from bridge.core.snapshot import Snapshot
from bridge.core.submissions import IdleRunner, Pool, RunnerUse, Starvation, State, Submission

SeenJobs = Sequence[tuple[WorkflowJob, float]]
"""Jobs, each with when it was seen (Unix seconds)."""


def build(transaction: Transaction, readings: Readings, seen: Observed, scope: Scope, now: float) -> Snapshot:
    """Read what a plan needs.

    Args:
        transaction: the ledger; `seen` has been written to it.
        readings: all that the ledger has.
        seen: what was read from GitHub and RunPod.
        scope: what is served, under the current names of repositories.
        now: Unix seconds.
    """
    jobs, fresh = transaction.jobs(), now - stale_after(scope)
    queued = [(job, at) for job, at in jobs.values() if job.status is JobStatus.QUEUED]
    recent = _recent(readings, fresh)
    submissions = transaction.relevant(
        since=min(recent.runners_read_at, _oldest_served(queued, scope, recent.runners_read_at)),
        names=[runner.name for runners in recent.runners.values() for runner in runners],
    )
    born = transaction.born()
    return Snapshot(
        began=seen.began,
        at=seen.at,
        ledger_born=born,
        knows_since=max(born, readings.resumed.at if readings.resumed else 0.0),
        prefix=scope.prefix,
        organisation=scope.organisation,
        routes=scope.routes,
        # Jobs that are not kept are shown, too.
        jobs=(*(job for job, _ in jobs.values()), *(job for job in seen.jobs if not is_kept(job, scope))),
        seen_at={job_id: at for job_id, (_, at) in jobs.items()},
        submissions=submissions,
        history=transaction.history() if jobs else {},
        requests=seen.requests,
        streaks=with_unanswered(transaction.streaks(), transaction.unanswered()),
        starvations=_starvations(transaction, scope, now),
        endpoint_names=scope.endpoint_names,
        workers_max=scope.workers_max,
        worker_quota=scope.worker_quota,
        refusals=standing(readings.refusals, scope.timing, now),
        pauses=transaction.pauses(),
        timing=scope.timing,
        budgets=_budgets(transaction, scope, now),
        runs=seen.runs,
        **recent._asdict(),
        **_evidence(transaction, queued, submissions, scope, now)._asdict(),
        **_lost(transaction, scope, now)._asdict(),
    )


class _Recent(NamedTuple):
    """What was read of GitHub and RunPod and is not stale; see Snapshot."""

    runners: Mapping[str, tuple[Runner, ...]]
    runners_at: Mapping[str, float]
    runners_read_at: float
    health: Mapping[str, EndpointHealth]
    health_at: Mapping[str, float]
    missing_since: Mapping[str, float]


def _recent(readings: Readings, after: float) -> _Recent:
    runners = {target: read for target, read in readings.runners.items() if read.at > after}
    health = {endpoint: read for endpoint, read in readings.health.items() if read.at > after}
    return _Recent(
        runners={target: read.value for target, read in runners.items()},
        runners_at={target: read.at for target, read in runners.items()},
        runners_read_at=max((read.at for read in runners.values()), default=0.0),
        health={endpoint: read.value for endpoint, read in health.items()},
        health_at={endpoint: read.at for endpoint, read in health.items()},
        missing_since=readings.missing.value if readings.missing and readings.missing.at > after else {},
    )


class _Lost(NamedTuple):
    """What `bridge.core.rerun` needs; see Snapshot."""

    lost: tuple[LostJob, ...]
    reruns: tuple[RerunRecord, ...]


def _lost(transaction: Transaction, scope: Scope, now: float) -> _Lost:
    lost = transaction.lost_jobs(rerunning(scope), now - LOST_KEPT)
    return _Lost(lost, transaction.reruns_of({each.job.run_id for each in lost}))


def _budgets(transaction: Transaction, scope: Scope, now: float) -> tuple[Budget, ...]:
    """What is used of the budgets. Without a budget nothing is read."""
    if not scope.has_budget:
        return ()
    costs = transaction.costs
    return budgets(
        scope.usd_per_day,
        scope.routes,
        spent=costs.spent(midnight(now), now),
        prices=with_settings(costs.prices(), scope.prices, now),
        raises=costs.raises(now),
        now=now,
    )


def _starvations(transaction: Transaction, scope: Scope, now: float) -> Mapping[str, Starvation]:
    """They matter only where a request can go to another endpoint."""
    several = any(len(route.endpoints) > 1 for route in scope.routes)
    return transaction.starvations(now - scope.timing.starved_kept) if several else {}


def _oldest_served(queued: SeenJobs, scope: Scope, otherwise: float) -> float:
    """When the queued job that was seen the longest ago was seen, of those that are served."""
    by_age = sorted(queued, key=lambda seen: seen[1])
    return next((at for job, at in by_age if is_served(job, scope)), otherwise)


class _Evidence(NamedTuple):
    """What `bridge.core.evidence` and `bridge.core.idle` need; see Snapshot."""

    idle: tuple[IdleRunner, ...]
    queued_since: Mapping[int, float]
    last_taken: Mapping[Pool, float]
    uses: tuple[RunnerUse, ...]


def _evidence(
    transaction: Transaction, queued: SeenJobs, submissions: Iterable[Submission], scope: Scope, now: float
) -> _Evidence:
    """Most of it is needed only after a runner got no job, and is not read otherwise."""
    timing = scope.timing
    idle = transaction.idle_runners(now - timing.evidence_kept, timing.min_listening)
    listening = any(s.state is State.STARTED and s.since < now - timing.min_listening for s in submissions)
    runs = {job.run_id for job, _ in queued if is_served(job, scope)} if idle else set()
    return _Evidence(
        idle=idle,
        queued_since=transaction.queued_since() if idle or listening else {},
        last_taken=transaction.last_taken(now - timing.evidence_kept),
        uses=transaction.runner_uses(runs) if runs else (),
    )

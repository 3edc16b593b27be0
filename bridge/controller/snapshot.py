"""Builds the snapshot that a plan is made from, out of the ledger and an observation."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeVar

from bridge.controller.lost import rerunning
from bridge.controller.observe import stale_after
from bridge.controller.observed import Observed
from bridge.controller.ports import Transaction
from bridge.core.breaker import with_unanswered
from bridge.core.budget import Budget, budgets
from bridge.core.cost import midnight
from bridge.core.lost import LostJob, RerunRecord
from bridge.core.model import JobStatus, Runner, WorkflowJob
from bridge.core.prices import with_settings
from bridge.core.readings import Readings, Timed
from bridge.core.refusals import standing
from bridge.core.rerun import LOST_KEPT
from bridge.core.routing import is_kept, is_served
from bridge.core.scope import Scope
from bridge.core.snapshot import Snapshot
from bridge.core.submissions import IdleRunner, Pool, RunnerUse, Starvation, State, Submission
from bridge.core.timing import Timing

T = TypeVar("T")
KnownJobs = Mapping[int, tuple[WorkflowJob, float]]
"""Jobs by id, each with when it was seen (Unix seconds)."""


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
    served = {job_id: known for job_id, known in jobs.items() if is_served(known[0], scope)}
    runners = _recent(readings.runners, fresh)
    health = _recent(readings.health, fresh)
    runners_read_at = max((read.at for read in runners.values()), default=0.0)
    submissions = _submissions(transaction, served, runners.values(), runners_read_at)
    born = transaction.born()
    return Snapshot(
        began=seen.began,
        at=seen.at,
        runners_read_at=runners_read_at,
        ledger_born=born,
        knows_since=max(born, readings.resumed.at if readings.resumed else 0.0),
        prefix=scope.prefix,
        organisation=scope.organisation,
        routes=scope.routes,
        # Jobs that are not kept are shown, too.
        jobs=(*(job for job, _ in jobs.values()), *(job for job in seen.jobs if not is_kept(job, scope))),
        seen_at={job_id: at for job_id, (_, at) in jobs.items()},
        submissions=submissions,
        history=transaction.history(),
        runners={target: read.value for target, read in runners.items()},
        runners_at={target: read.at for target, read in runners.items()},
        requests=seen.requests,
        health={endpoint: read.value for endpoint, read in health.items()},
        health_at={endpoint: read.at for endpoint, read in health.items()},
        missing_since=_missing_since(readings, fresh),
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
        **_evidence(transaction, served, submissions, scope.timing, now)._asdict(),
        **_lost(transaction, scope, now)._asdict(),
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


def _missing_since(readings: Readings, after: float) -> Mapping[str, float]:
    return readings.missing.value if readings.missing and readings.missing.at > after else {}


def _starvations(transaction: Transaction, scope: Scope, now: float) -> Mapping[str, Starvation]:
    """They matter only where a request can go to another endpoint."""
    several = any(len(route.endpoints) > 1 for route in scope.routes)
    return transaction.starvations(now - scope.timing.starved_kept) if several else {}


def _recent(read: Mapping[str, Timed[T]], after: float) -> dict[str, Timed[T]]:
    return {key: timed for key, timed in read.items() if timed.at > after}


def _submissions(
    transaction: Transaction, jobs: KnownJobs, runners: Iterable[Timed[tuple[Runner, ...]]], runners_read_at: float
) -> tuple[Submission, ...]:
    """The open submissions, and the ended ones that still matter: see `Transaction.relevant`."""
    oldest = min((at for job, at in jobs.values() if job.status is JobStatus.QUEUED), default=runners_read_at)
    names = [runner.name for read in runners for runner in read.value]
    return transaction.relevant(since=min(runners_read_at, oldest), names=names)


class _Evidence(NamedTuple):
    """What `bridge.core.evidence` and `bridge.core.idle` need; see Snapshot."""

    idle: tuple[IdleRunner, ...]
    queued_since: Mapping[int, float]
    last_taken: Mapping[Pool, float]
    uses: tuple[RunnerUse, ...]


def _evidence(
    transaction: Transaction, jobs: KnownJobs, submissions: Iterable[Submission], timing: Timing, now: float
) -> _Evidence:
    """Most of it is needed only after a runner got no job, and is not read otherwise."""
    idle = transaction.idle_runners(now - timing.evidence_kept, timing.min_listening)
    listening = any(s.state is State.STARTED and s.since < now - timing.min_listening for s in submissions)
    runs = {job.run_id for job, _ in jobs.values() if job.status is JobStatus.QUEUED} if idle else set()
    return _Evidence(
        idle=idle,
        queued_since=transaction.queued_since() if idle or listening else {},
        last_taken=transaction.last_taken(now - timing.evidence_kept),
        uses=transaction.runner_uses(runs) if runs else (),
    )

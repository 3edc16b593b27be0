"""Which jobs get a runner now, within the limits of routes and endpoints. Pure."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heapreplace
from typing import NamedTuple

from bridge.core.actions import Skip
from bridge.core.breaker import NO_ANSWER, probe_at
from bridge.core.budget import held
from bridge.core.evidence import Evidence
from bridge.core.model import EndpointHealth, WorkflowJob
from bridge.core.refusals import Gate
from bridge.core.scope import Route
from bridge.core.snapshot import Snapshot
from bridge.core.submissions import OPEN_STATES, Pool, State, Submission
from bridge.core.supply import Count, Waiting

_CAPACITY = {
    "throttled": "RunPod has no capacity for its workers",
    "unhealthy": "its workers are unhealthy: see the endpoint's logs",
    "initializing": "its worker is starting",
}
"""What RunPod's worker states mean for a request in the queue, the most important first."""


class _Limit(NamedTuple):
    """How many more requests are allowed, and why not more."""

    room: int
    why: str


@dataclass
class Allocation:
    """The result.

    Args:
        jobs: to request a runner for.
        blocked: jobs that wait only because their route has reached max_workers.
        skips: why each other job waits.
    """

    jobs: list[tuple[Pool, WorkflowJob]] = field(default_factory=list)
    blocked: list[tuple[Pool, WorkflowJob]] = field(default_factory=list)
    skips: list[Skip] = field(default_factory=list)


def allocate(  # noqa: PLR0913, PLR0917 - the parts of one decision
    snapshot: Snapshot, counts: Mapping[Pool, Count], waiting: Waiting, evidence: Evidence, gate: Gate, now: float
) -> Allocation:
    """Choose the jobs to request a runner for.

    Args:
        snapshot: what was seen.
        counts: by pool, demand and supply.
        waiting: runners that wait for a job.
        evidence: what earlier idle runners show.
        gate: lets claims through that nothing refuses; it counts the probes that it allows.
        now: Unix seconds.
    """
    result = Allocation()
    endpoints = {route.name: route.endpoint for route in snapshot.routes}
    runners: dict[Pool, dict[int, Submission]] = defaultdict(dict)
    for (pool, job_id), waits in waiting.items():
        runners[pool][job_id] = waits
    for route in snapshot.routes:
        pools = {pool: count for pool, count in counts.items() if pool.route == route.name}
        places = _places(route, pools)
        ahead = sum(endpoints[pool.route] == route.endpoint for pool, _ in result.jobs)
        breaker = _breaker(snapshot, route, ahead, now)
        limit = _budget(snapshot, route) or min(places, breaker, key=lambda each: each.room)
        missing: dict[Pool, list[WorkflowJob]] = {}
        for pool, count in pools.items():
            own = runners.get(pool, {})
            without, supplied = _split(count, own, evidence)
            free = min(limit.room, 1 - count.supply if pool in evidence.probing else limit.room)
            without, refused = gate.admit(pool, without, free)
            missing[pool], probes = _one_at_a_time(pool, count, without, evidence)
            result.skips += refused + probes
            result.skips += [_supplied(snapshot, pool, job, own.get(job.id), count) for job in supplied]
        order = list(_fair_order({pool: count.live for pool, count in pools.items()}, missing, evidence))
        room = max(0, limit.room)
        result.jobs += order[:room]
        if limit is places:
            result.blocked += order[room:]
        result.skips += [Skip(job_id=job.id, why=limit.why, route=route.name) for _, job in order[room:]]
    return result


def _places(route: Route, pools: Mapping[Pool, Count]) -> _Limit:
    live = sum(count.live for count in pools.values())
    return _Limit(route.max_workers - live, f"route {route.name} has reached its max_workers of {route.max_workers}")


def _budget(snapshot: Snapshot, route: Route) -> _Limit | None:
    """Limit requests to none while a budget holds them; None while none does."""
    why = held(snapshot.budgets, route)
    return None if why is None else _Limit(0, why)


def _one_at_a_time(
    pool: Pool, count: Count, missing: list[WorkflowJob], evidence: Evidence
) -> tuple[list[WorkflowJob], list[Skip]]:
    """Limit a pool whose runners GitHub gives no jobs to one waiting runner."""
    why = evidence.probing.get(pool)
    if why is None:
        return missing, []
    room = max(0, 1 - count.supply)
    return missing[:room], [Skip(job_id=job.id, why=why, route=pool.route) for job in missing[room:]]


def _fair_order(
    live: Mapping[Pool, int], missing: Mapping[Pool, Sequence[WorkflowJob]], evidence: Evidence
) -> Iterator[tuple[Pool, WorkflowJob]]:
    """Yield the jobs of a route's pools in the order in which they get its free places.

    Jobs with less evidence against them come first, and so does a stuck job that has waited for its turn. Then come
    the jobs of the pool with the fewest runners, then the oldest.
    """

    def entry(pool: Pool, place: int) -> tuple[int, int, float, int, Pool, int]:
        job = missing[pool][place]
        return evidence.of(job).rank, live[pool] + place, job.created_at, job.id, pool, place

    heap = [entry(pool, 0) for pool, jobs in missing.items() if jobs]
    heapify(heap)
    while heap:
        *_, pool, place = heap[0]
        yield pool, missing[pool][place]
        if place + 1 < len(missing[pool]):
            heapreplace(heap, entry(pool, place + 1))
        else:
            heappop(heap)


def _breaker(snapshot: Snapshot, route: Route, ahead: int, now: float) -> _Limit:
    """Limit requests to an endpoint whose workers fail; `ahead` are those that this plan has given to it already."""
    streak = snapshot.streaks.get(route.endpoint)
    at = probe_at(streak, snapshot.timing)
    if streak is None or at is None:
        return _Limit(route.max_workers, "")
    probes = ahead + sum(
        s.endpoint == route.endpoint and s.state in OPEN_STATES and s.created_at > streak.last
        for s in snapshot.submissions
    )
    due = f"next try in {at - now:.0f} s" if now < at else "one request is being tried"
    failed = f"requests failed ({NO_ANSWER})" if streak.reason == NO_ANSWER else f"workers failed ({streak.reason})"
    why = f"endpoint {route.endpoint}: its last {streak.failures} {failed}; {due}"
    return _Limit(1 - probes if now >= at else 0, why)


def _split(
    count: Count, own: Mapping[int, Submission], evidence: Evidence
) -> tuple[list[WorkflowJob], list[WorkflowJob]]:
    """Split a pool's demand into jobs that lack a runner and jobs that are supplied.

    Jobs without a runner of their own come first.
    """
    missing = max(0, len(count.demand) - count.supply)
    order = sorted(count.demand, key=lambda j: (j.id in own, evidence.of(j).rounds, j.created_at, j.id))
    return order[:missing], order[missing:]


def _supplied(snapshot: Snapshot, pool: Pool, job: WorkflowJob, own: Submission | None, count: Count) -> Skip:
    if own is None:
        which = f"{count.supply} waiting runners can take it"
    else:
        delay = _delay(snapshot.health.get(own.endpoint)) if own.state is State.SUBMITTED else ""
        which = f"runner {own.name} is {own.state}{delay}"
    return Skip(job_id=job.id, why=f"already requested: {which}", route=pool.route)


def _delay(health: EndpointHealth | None) -> str:
    """Why a request waits. Its status alone does not distinguish a lack of capacity from workers that crash."""
    if not health or any(health.workers.get(state) for state in ("running", "ready", "idle")):
        return ""
    return next(
        (f"; {said} ({state} {n})" for state, said in _CAPACITY.items() if (n := health.workers.get(state))), ""
    )

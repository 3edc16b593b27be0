"""Which jobs get a runner now, within the limits of routes and endpoints. Pure."""

import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heapreplace
from typing import NamedTuple

from bridge.core.actions import Cause, Skip, SkipKind
from bridge.core.budget import held
from bridge.core.evidence import Evidence
from bridge.core.model import EndpointHealth, WorkflowJob
from bridge.core.pauses import cause_of
from bridge.core.placement import Choice, Placement
from bridge.core.refusals import Gate
from bridge.core.scope import Route
from bridge.core.snapshot import Snapshot
from bridge.core.submissions import Pool, State, Submission
from bridge.core.supply import Count, Waiting

_CAPACITY = {
    "throttled": (SkipKind.NO_CAPACITY, "RunPod has no capacity for its workers"),
    "unhealthy": (SkipKind.UNHEALTHY, "its workers are unhealthy: see the endpoint's logs"),
    "initializing": (SkipKind.REQUESTED, "its worker is starting"),
}
"""What RunPod's worker states mean for a request in the queue, the most important first."""

_FULL = frozenset({SkipKind.ROUTE_FULL, SkipKind.QUOTA})
"""Reasons for which an idle runner makes way for a job that waits."""


class _Limit(NamedTuple):
    """How many more requests are allowed, and why not more."""

    room: int
    cause: Cause | None = None


class Placed(NamedTuple):
    """A job that a runner is requested for, and the endpoint that the request goes to, with the reason."""

    pool: Pool
    job: WorkflowJob
    endpoint: str
    why: str


@dataclass
class Allocation:
    """The result.

    Args:
        jobs: to request a runner for, each with its endpoint.
        blocked: jobs that wait only because their route has reached max_workers, or all have reached the quota.
        skips: why each other job waits.
    """

    jobs: list[Placed] = field(default_factory=list)
    blocked: list[tuple[Pool, WorkflowJob]] = field(default_factory=list)
    skips: list[Skip] = field(default_factory=list)


def allocate(  # noqa: PLR0913, PLR0917 - the parts of one decision
    snapshot: Snapshot,
    counts: Mapping[Pool, Count],
    waiting: Waiting,
    evidence: Evidence,
    gate: Gate,
    placement: Placement,
    now: float,
) -> Allocation:
    """Choose the jobs to request a runner for.

    Args:
        snapshot: what was seen.
        counts: by pool, demand and supply.
        waiting: runners that wait for a job.
        evidence: what earlier idle runners show.
        gate: lets claims through that GitHub does not refuse; it counts the probes that it allows.
        placement: chooses their endpoints.
        now: Unix seconds.
    """
    result = Allocation()
    runners: dict[Pool, dict[int, Submission]] = defaultdict(dict)
    for (pool, job_id), waits in waiting.items():
        runners[pool][job_id] = waits
    for route in snapshot.routes:
        pools = {pool: count for pool, count in counts.items() if pool.route == route.name}
        places = min(_quota(snapshot, placement), _places(route, pools), key=lambda each: each.room)
        limit = _budget(snapshot, route) or places
        pause = snapshot.pauses.get(route.name)
        lacks = any(len(count.demand) > count.supply for count in pools.values())
        room = max(0, limit.room) if lacks and placement.choose(route).endpoint else 0
        missing: dict[Pool, list[WorkflowJob]] = {}
        for pool, count in pools.items():
            own = runners.get(pool, {})
            without, supplied = _split(count, own, evidence)
            if pause:
                result.skips += [cause_of(pause, now).skip(job.id, route.name) for job in without]
                without = []
            free = min(room, 1 - count.supply if pool in evidence.probing else room)
            without, refused = gate.admit(pool, without, free)
            missing[pool], probes = _one_at_a_time(pool, count, without, evidence)
            result.skips += refused + probes
            result.skips += [_supplied(snapshot, pool, job, own.get(job.id), count) for job in supplied]
        order = list(_fair_order({pool: count.live for pool, count in pools.items()}, missing, evidence))
        _place(result, route, order, limit, placement)
    return result


def _place(
    result: Allocation, route: Route, order: Sequence[tuple[Pool, WorkflowJob]], limit: _Limit, placement: Placement
) -> None:
    """Give each of a route's jobs an endpoint while the route has room and an endpoint takes its requests."""
    room = limit.room
    choice = placement.choose(route) if order else Choice()
    for pool, job in order:
        if choice.endpoint is None:
            result.skips += [choice.cause.skip(job.id, route.name)] if choice.cause else []
        elif room <= 0 and limit.cause:
            result.skips.append(limit.cause.skip(job.id, route.name))
            if limit.cause.kind in _FULL:
                result.blocked.append((pool, job))
        else:
            placement.give(choice.endpoint)
            result.jobs.append(Placed(pool, job, choice.endpoint, choice.why))
            room -= 1
            choice = placement.choose(route)


def _quota(snapshot: Snapshot, placement: Placement) -> _Limit:
    """Limit the requests at all endpoints together: RunPod starts no more workers than the account's quota."""
    if snapshot.worker_quota is None:
        return _Limit(sys.maxsize)
    why = f"all endpoints together have as many requests as the worker_quota of {snapshot.worker_quota}"
    return _Limit(snapshot.worker_quota - placement.total(), Cause(kind=SkipKind.QUOTA, why=why))


def _places(route: Route, pools: Mapping[Pool, Count]) -> _Limit:
    live = sum(count.live for count in pools.values())
    why = f"route {route.name} has reached its max_workers of {route.max_workers}"
    return _Limit(route.max_workers - live, Cause(kind=SkipKind.ROUTE_FULL, why=why))


def _budget(snapshot: Snapshot, route: Route) -> _Limit | None:
    """Limit requests to none while a budget holds them; None while none does."""
    cause = held(snapshot.budgets, route, snapshot.endpoint_names)
    return _Limit(0, cause) if cause else None


def _one_at_a_time(
    pool: Pool, count: Count, missing: list[WorkflowJob], evidence: Evidence
) -> tuple[list[WorkflowJob], list[Skip]]:
    """Limit a pool whose runners GitHub gives no jobs to one waiting runner."""
    cause = evidence.probing.get(pool)
    if cause is None:
        return missing, []
    room = max(0, 1 - count.supply)
    return missing[:room], [cause.skip(job.id, pool.route) for job in missing[room:]]


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
    kind = SkipKind.REQUESTED
    if own is None:
        which = f"{count.supply} waiting runners can take it"
    else:
        waits = own.state is State.SUBMITTED
        kind, delay = _delay(snapshot.health.get(own.endpoint)) if waits else (kind, "")
        which = f"runner {own.name} is {own.state}{delay}"
    return Skip(job_id=job.id, kind=kind, why=f"already requested: {which}", route=pool.route)


def _delay(health: EndpointHealth | None) -> tuple[SkipKind, str]:
    """Why a request waits. Its status alone does not distinguish a lack of capacity from workers that crash."""
    if not health or any(health.workers.get(state) for state in ("running", "ready", "idle")):
        return SkipKind.REQUESTED, ""
    for state, (kind, said) in _CAPACITY.items():
        if n := health.workers.get(state):
            return kind, f"; {said} ({state} {n})"
    return SkipKind.REQUESTED, ""

"""Which of the jobs that want a runner are asked for now, within the limits of routes and endpoints. Pure."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from heapq import heapify, heappop, heapreplace
from typing import NamedTuple

from bridge.core.actions import Skip
from bridge.core.breaker import NO_ANSWER, probe_at
from bridge.core.evidence import Evidence
from bridge.core.model import EndpointHealth, WorkflowJob
from bridge.core.refusals import Gate
from bridge.core.scope import Route
from bridge.core.snapshot import Snapshot
from bridge.core.submissions import OPEN_STATES, Pool, State, Submission
from bridge.core.supply import Count, Waiting


class _Limit(NamedTuple):
    """How many more requests are allowed, and what stands in the way of others."""

    room: int
    why: str


class Asked(NamedTuple):
    """Jobs to ask a runner for, and those for which only the route's max_workers leaves no room."""

    jobs: list[tuple[Pool, WorkflowJob]]
    blocked: list[tuple[Pool, WorkflowJob]]


def ask(  # noqa: PLR0913, PLR0917 - the parts of one decision
    snapshot: Snapshot, counts: Mapping[Pool, Count], waiting: Waiting, evidence: Evidence, gate: Gate, now: float
) -> tuple["Asked", list[Skip]]:
    """The jobs to ask a runner for, up to each route's limits, and why others wait."""
    asked, skips = Asked([], []), []
    endpoints = {route.name: route.endpoint for route in snapshot.routes}
    runners: dict[Pool, dict[int, Submission]] = defaultdict(dict)
    for (of, job_id), waits in waiting.items():
        runners[of][job_id] = waits
    for route in snapshot.routes:
        pools = {pool: count for pool, count in counts.items() if pool.route == route.name}
        live = sum(count.live for count in pools.values())
        limits = _Limit(route.max_workers - live, f"route {route.name} is at its max_workers of {route.max_workers}")
        ahead = sum(endpoints[pool.route] == route.endpoint for pool, _ in asked.jobs)
        limit = min(limits, _breaker(snapshot, route, ahead, now), key=lambda each: each.room)
        missing: dict[Pool, list[WorkflowJob]] = {}
        for pool, count in pools.items():
            own = runners.get(pool, {})
            without, supplied = _split(count, own, evidence)
            free = min(limit.room, 1 - count.supply if pool in evidence.probing else limit.room)
            without, refused = gate.admit(pool, without, free)
            missing[pool], probes = _probed(pool, count, without, evidence)
            skips += refused + probes
            skips += [_supplied(snapshot, pool, job, own.get(job.id), count) for job in supplied]
        order = list(_shared({pool: count.live for pool, count in pools.items()}, missing, evidence))
        room = max(0, limit.room)
        asked.jobs.extend(order[:room])
        if limit is limits:
            asked.blocked.extend(order[room:])
        skips += [Skip(job_id=job.id, why=limit.why, route=route.name) for _, job in order[room:]]
    return asked, skips


def _probed(
    pool: Pool, count: Count, missing: list[WorkflowJob], evidence: Evidence
) -> tuple[list[WorkflowJob], list[Skip]]:
    """What a pool may ask for while GitHub gives its runners nothing: one runner at a time."""
    why = evidence.probing.get(pool)
    room = max(0, 1 - count.supply) if why else len(missing)
    return missing[:room], [Skip(job_id=job.id, why=why or "", route=pool.route) for job in missing[room:]]


def _shared(
    live: Mapping[Pool, int], missing: Mapping[Pool, Sequence[WorkflowJob]], evidence: Evidence
) -> Iterator[tuple[Pool, WorkflowJob]]:
    """Jobs of several pools in the order in which they get a route's free places.

    Jobs with less evidence come first, and one that has waited too long for its turn; then those of the pool with the
    fewest runners, then the oldest.
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
    """How many requests an endpoint may have whose workers may be broken, with those `ahead` of this route's."""
    streak = snapshot.streaks.get(route.endpoint)
    at = probe_at(streak)
    if streak is None or at is None:
        return _Limit(route.max_workers, "")
    probes = ahead + sum(
        s.endpoint == route.endpoint and s.state in OPEN_STATES and s.created_at > streak.last
        for s in snapshot.submissions
    )
    due = f"one is tried in {at - now:.0f} s" if now < at else "one is being tried"
    failed = f"requests failed ({NO_ANSWER})" if streak.reason == NO_ANSWER else f"workers broke down ({streak.reason})"
    why = f"endpoint {route.endpoint}: its last {streak.failures} {failed}; {due}"
    return _Limit(1 - probes if now >= at else 0, why)


def _split(
    count: Count, own: Mapping[int, Submission], evidence: Evidence
) -> tuple[list[WorkflowJob], list[WorkflowJob]]:
    """Which jobs of a pool to ask for, first those without a runner of their own, and which are supplied."""
    missing = max(0, len(count.demand) - count.supply)
    order = sorted(count.demand, key=lambda j: (j.id in own, evidence.of(j).rounds, j.created_at, j.id))
    return order[:missing], order[missing:]


def _supplied(snapshot: Snapshot, pool: Pool, job: WorkflowJob, own: Submission | None, count: Count) -> Skip:
    which = f"runner {own.name} is {own.state}" if own else f"{count.supply} waiting runners can take it"
    delay = _capacity(snapshot.health.get(own.endpoint)) if own and own.state is State.SUBMITTED else ""
    return Skip(job_id=job.id, why=f"already asked for: {which}{delay}", route=pool.route)


def _capacity(health: EndpointHealth | None) -> str:
    """Why a request waits: its status alone does not tell a lack of capacity from a crash loop."""
    if not health or any(health.workers.get(state) for state in ("running", "ready", "idle")):
        return ""
    words = {
        "throttled": "RunPod has no capacity for its workers",
        "unhealthy": "its workers are unhealthy: see the endpoint's logs",
        "initializing": "its worker is starting",
    }
    return next((f"; {said} ({state} {n})" for state, said in words.items() if (n := health.workers.get(state))), "")

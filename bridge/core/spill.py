"""Which waiting requests leave a starved endpoint. Pure.

A request leaves only if another endpoint of its route can take one, and nothing holds the request that would take its
place: no pause, no budget and no refusal by GitHub. Its registration is deleted first, and it is
cancelled only if GitHub agrees: then it held no job, and the next pass asks for a runner elsewhere. Because a request
has to wait for `spill_after` before it may leave, no job moves twice within that time.
"""

from collections.abc import Iterable, Iterator

from bridge.core.actions import Withdrawal
from bridge.core.budget import held
from bridge.core.endpoint_names import named
from bridge.core.model import RequestStatus
from bridge.core.placement import Placement
from bridge.core.refusals import Gate
from bridge.core.scope import Route
from bridge.core.snapshot import Snapshot
from bridge.core.submissions import JobHistory, State, Submission
from bridge.core.worker import Reason

MAX_MOVES = 20
"""Requests that leave in one pass. GitHub allows 80 changes a minute, and each move needs several."""

MAX_MOVES_OF_JOB = 10
"""Requests for one job that leave an endpoint. After that, its request stays where it is."""

_NO_HISTORY = JobHistory(generation=0, attempts=0, last_claim=0.0, last_end=0.0)


def spill(
    snapshot: Snapshot, submissions: Iterable[Submission], placement: Placement, gate: Gate, now: float
) -> Iterator[Withdrawal]:
    """Withdraw requests that wait at a starved endpoint, the oldest first.

    Args:
        snapshot: what was seen.
        submissions: as they will be after this plan's transitions, without those that it withdraws already.
        placement: of this plan, which has placed its claims.
        gate: of this plan.
        now: Unix seconds.
    """
    routes = {route.name: route for route in snapshot.routes if _may_request(snapshot, route)}
    moved = 0
    for s in sorted(submissions, key=lambda s: (s.since, s.id)):
        route = routes.get(s.pool.route)
        if moved == MAX_MOVES or route is None or not _may_move(snapshot, s):
            continue
        if s.endpoint not in route.endpoints or now - s.since <= route.spill_after:
            continue
        if gate.refuses(s.pool) or placement.is_next(s, route.spill_after):
            continue
        why = placement.starved(s.endpoint, route.spill_after)
        other = placement.instead(route, s.endpoint) if why else None
        if other:
            moved += 1
            placement.give(other)
            yield Withdrawal(
                submission=s,
                to=State.CANCELLED,
                runner_id=s.runner_id,
                reason=Reason.STARVED,
                detail=f"{why}; the next request goes to endpoint {named(other, snapshot.endpoint_names)}",
            )


def _may_request(snapshot: Snapshot, route: Route) -> bool:
    """Whether a route has several endpoints, and may send a new request now."""
    if len(route.endpoints) == 1 or route.name in snapshot.pauses:
        return False
    return held(snapshot.budgets, route, snapshot.endpoint_names) is None


def _may_move(snapshot: Snapshot, submission: Submission) -> bool:
    """Whether this very pass saw that a request waits and that no worker has started its runner."""
    request, target = snapshot.requests.get(submission.id), submission.pool.target
    if submission.state is not State.SUBMITTED or not request or request.status is not RequestStatus.IN_QUEUE:
        return False
    if snapshot.health_at.get(submission.endpoint, 0.0) < snapshot.began:
        return False
    if snapshot.runners_at.get(target, 0.0) < max(submission.since, snapshot.began):
        return False
    # In token modes it has registered; it is not online yet, or the submission would be `started`.
    if any(r.name == submission.name and r.id != submission.runner_id for r in snapshot.runners[target]):
        return False
    return snapshot.history.get(submission.job_id, _NO_HISTORY).moves < MAX_MOVES_OF_JOB

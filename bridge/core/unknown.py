"""Requests whose `run` was not answered: what the endpoint's health shows about them. Pure.

RunPod cannot list requests, but it counts them. A request that it counts and the ledger does not explain is one of
these, or belongs to another system.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from bridge.core.model import RequestStatus
from bridge.core.snapshot import Snapshot
from bridge.core.submissions import State, Submission


class Unexplained(NamedTuple):
    """How many requests of an endpoint the ledger does not explain.

    Args:
        queued: that wait for a worker.
        total: with those that run.
    """

    queued: int
    total: int


def unexplained_requests(snapshot: Snapshot) -> dict[str, Unexplained]:
    """By endpoint whose health this very pass has read, the requests that the ledger does not explain.

    The health is read before the requests and the runners, so a request that is open there was counted. One that
    ended in between counts as unexplained until the next pass: the result may be too high, never too low.
    """
    explained: dict[str, list[RequestStatus]] = defaultdict(list)
    online = {(target, r.name) for target, runners in snapshot.runners.items() for r in runners if r.online}
    for s in snapshot.submissions:
        request = snapshot.requests.get(s.id)
        if request:
            explained[s.endpoint].append(request.status)
        elif not s.request_id and s.state in (State.STARTED, State.BUSY) and (s.pool.target, s.name) in online:
            explained[s.endpoint].append(RequestStatus.IN_PROGRESS)
    read = {endpoint for endpoint, at in snapshot.health_at.items() if at >= snapshot.began}
    return {endpoint: _beyond(snapshot, endpoint, explained[endpoint]) for endpoint in read & snapshot.health.keys()}


def _beyond(snapshot: Snapshot, endpoint: str, explained: list[RequestStatus]) -> Unexplained:
    health = snapshot.health[endpoint]
    queued = explained.count(RequestStatus.IN_QUEUE)
    total = queued + explained.count(RequestStatus.IN_PROGRESS)
    return Unexplained(
        queued=max(0, health.in_queue - queued), total=max(0, health.in_queue + health.in_progress - total)
    )


def unexplained_at(
    submission: Submission, snapshot: Snapshot, unexplained: Mapping[str, Unexplained]
) -> Unexplained | None:
    """The unexplained requests at a submission's endpoint; None if that was read too early to count its request."""
    counts_it = snapshot.began >= submission.since + snapshot.timing.unknown_lease
    return unexplained.get(submission.endpoint) if counts_it else None


def doubtful(snapshot: Snapshot, submissions: Iterable[Submission]) -> frozenset[str]:
    """Ids of unanswered submissions that do not count as supply: their endpoint has too few requests for all of them.

    It is not known which of them exist, so none is given up. Nor does a submission count, after the time that a
    worker takes to start, that can only be among the running requests: its runner would be online.
    """
    unexplained = unexplained_requests(snapshot)
    waiting: dict[str, list[Submission]] = defaultdict(list)
    for s in sorted(submissions, key=lambda s: (s.created_at, s.id)):
        if s.state is State.UNKNOWN and unexplained_at(s, snapshot, unexplained):
            waiting[s.endpoint].append(s)
    doubted: set[str] = set()
    for endpoint, rows in waiting.items():
        queued, total = unexplained[endpoint]
        late = [s for s in rows if snapshot.began >= s.since + snapshot.timing.boot_allowance]
        held = [s for s in rows if s not in late[queued:]][:total]
        doubted |= {s.id for s in rows if s not in held} if total else set()
    return frozenset(doubted)

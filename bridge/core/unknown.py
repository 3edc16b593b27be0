"""Requests whose `run` was not answered: what an endpoint's health tells of whether they exist. Pure.

RunPod lists no requests, but counts them. What it counts beyond the requests that the ledger explains is one of
those, or another system's.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from bridge.core.model import RequestStatus
from bridge.core.snapshot import Snapshot
from bridge.core.submissions import State, Submission
from bridge.core.worker import BOOT_ALLOWANCE

UNKNOWN_LEASE = 30.0
"""s from a `run` whose answer did not come until the endpoint's health tells whether RunPod accepted it."""


class Unexplained(NamedTuple):
    """Requests of an endpoint that the ledger does not explain.

    Args:
        queued: that wait for a worker.
        total: with those that run.
    """

    queued: int
    total: int


def unexplained(snapshot: Snapshot) -> dict[str, Unexplained]:
    """By endpoint, what its health counts beyond the ledger's requests; only what this very look has read.

    The health is read before the requests and the runners, so what is open there was open in it. What ended in
    between counts as unexplained until the next look: too many may be held to exist, never too few.
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


def told(submission: Submission, snapshot: Snapshot, beyond: Mapping[str, Unexplained]) -> Unexplained | None:
    """What the health of its endpoint tells of a submission; None if it was read too early to count its request."""
    return beyond.get(submission.endpoint) if snapshot.began >= submission.since + UNKNOWN_LEASE else None


def doubtful(snapshot: Snapshot, submissions: Iterable[Submission]) -> frozenset[str]:
    """Ids of unanswered submissions that count as no supply: their endpoint has too few requests for all of them.

    Which of them exist cannot be seen, so none is given up. Nor does one count, after the time that a worker takes
    to start, that can only be among the running requests: its runner would be online.
    """
    beyond = unexplained(snapshot)
    waiting: dict[str, list[Submission]] = defaultdict(list)
    for s in sorted(submissions, key=lambda s: (s.created_at, s.id)):
        if s.state is State.UNKNOWN and told(s, snapshot, beyond):
            waiting[s.endpoint].append(s)
    doubted: set[str] = set()
    for endpoint, rows in waiting.items():
        queued, total = beyond[endpoint]
        late = [s for s in rows if snapshot.began >= s.since + BOOT_ALLOWANCE]
        held = [s for s in rows if s not in late[queued:]][:total]
        doubted |= {s.id for s in rows if s not in held} if total else set()
    return frozenset(doubted)

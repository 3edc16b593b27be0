"""Which endpoint of its route a request goes to, and why. Pure.

The preferred endpoint comes first. A request goes to a later one while each earlier one fails, refuses requests, has
all its workers in use, or is starved: RunPod has no capacity for its workers. bridge.core.spill moves the requests that
already wait at a starved endpoint.
"""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from bridge.core.actions import Cause, SkipKind
from bridge.core.breaker import NO_ANSWER, probe_at
from bridge.core.endpoint_names import named
from bridge.core.model import EndpointHealth
from bridge.core.refusals import Gate
from bridge.core.scope import Route
from bridge.core.snapshot import Snapshot
from bridge.core.submissions import OPEN_STATES, WAITING_STATES, Starvation, State, Submission

GROWTH = 2
"""After a starvation, so many requests may wait at an endpoint for each worker that has started since."""

_AWAITS_WORKER = WAITING_STATES - {State.STARTED}


class Choice(NamedTuple):
    """Where a request goes.

    Args:
        endpoint: RunPod's id; None if no endpoint of the route takes a request now.
        why: the reason for this endpoint, one line for a person; empty for the only endpoint of a route.
        cause: the reason why no endpoint takes a request; None if one does.
    """

    endpoint: str | None = None
    why: str = ""
    cause: Cause | None = None


class _Obstacle(NamedTuple):
    """Why an endpoint should get no request.

    Args:
        final: it gets none at all; otherwise it gets one if the route has nothing better.
    """

    cause: Cause
    final: bool = True


class Placement:
    """Chooses endpoints for the requests of one plan, and counts those that it has given to each.

    Args:
        snapshot: what was seen.
        submissions: as they will be after this plan's transitions.
        gate: knows which endpoints refuse requests.
        now: Unix seconds.
    """

    def __init__(self, snapshot: Snapshot, submissions: Sequence[Submission], gate: Gate, now: float) -> None:
        self._snapshot, self._gate, self._now = snapshot, gate, now
        self._given: Counter[str] = Counter()
        self._live: defaultdict[str, list[Submission]] = defaultdict(list)
        for s in submissions:
            if s.state in OPEN_STATES:
                self._live[s.endpoint].append(s)
        self._waiting = {key: [s for s in live if s.state in _AWAITS_WORKER] for key, live in self._live.items()}
        self._waits = {
            key: sorted((s.since, s.id) for s in waiting if s.state is State.SUBMITTED)
            for key, waiting in self._waiting.items()
        }
        self._others = _requests_of_others(snapshot, submissions)

    def choose(self, route: Route) -> Choice:
        """The endpoint for one more request of a route."""
        found = {endpoint: self._obstacle(route, endpoint) for endpoint in route.endpoints}
        passed: list[Cause] = []
        for endpoint, obstacle in found.items():
            if obstacle is None:
                return Choice(endpoint, _joined(passed) or self._preferred(route))
            passed.append(obstacle.cause)
        starved = [endpoint for endpoint, obstacle in found.items() if obstacle and not obstacle.final]
        if not starved:
            return Choice(cause=passed[0] if len(passed) == 1 else replace(passed[0], why=_joined(passed), due=""))
        best = min(starved, key=self._hope)
        return Choice(best, f"{_joined(passed)}; the fewest requests wait at {self._name(best)}")

    def instead(self, route: Route, leaving: str) -> str | None:
        """The endpoint for a request that leaves a starved one; None if it should stay.

        If no other endpoint is known to have capacity, one where no request waits is tried: only a request shows
        whether it has.
        """
        found = {each: self._obstacle(route, each) for each in route.endpoints if each != leaving}
        if free := next((endpoint for endpoint, obstacle in found.items() if obstacle is None), None):
            return free
        untried = [
            each for each, obstacle in found.items() if obstacle and not (obstacle.final or self._waiting_at(each))
        ]
        return min(untried, key=self._hope, default=None)

    def give(self, endpoint: str) -> None:
        """Count one more request of this plan."""
        self._given[endpoint] += 1
        self._gate.try_endpoint(endpoint)

    def total(self) -> int:
        """The requests at all endpoints: open ones, those of other systems as far as known, and those of this plan."""
        return sum(map(len, self._live.values())) + sum(self._others.values()) + self._given.total()

    def starved(self, endpoint: str, spill_after: float) -> str | None:
        """Why an endpoint has no capacity for its requests now; None if it has, or if that is not known.

        Args:
            endpoint: RunPod's id.
            spill_after: s that a request must have waited.
        """
        health, waits = self._snapshot.health.get(endpoint), self._waits.get(endpoint, [])
        if health is None or len(waits) <= (soon := self._soon(endpoint, spill_after)):
            return None
        since, _ = waits[soon]
        waited = self._now - since
        if waited <= spill_after or self._snapshot.health_at.get(endpoint, 0.0) < since or _has_worker(health):
            return None
        name, why = self._name(endpoint), _why(health)
        return f"endpoint {name} is starved: a request has waited {waited:.0f} s, and no worker is free{why}"

    def is_next(self, submission: Submission, spill_after: float) -> bool:
        """Whether a worker is on its way to a waiting request: RunPod serves the requests in their order."""
        before = bisect_left(self._waits.get(submission.endpoint, []), (submission.since, submission.id))
        return before < self._soon(submission.endpoint, spill_after)

    def _soon(self, endpoint: str, spill_after: float) -> int:
        """How many workers of an endpoint are free or start. Those that take too long to start do not count."""
        workers = (self._snapshot.health.get(endpoint) or EndpointHealth()).workers
        oldest = next((since for since, _ in self._waits.get(endpoint, ())), self._now)
        slow = self._now - oldest > spill_after + self._snapshot.timing.boot_allowance
        return workers.get("idle", 0) + (0 if slow else workers.get("initializing", 0))

    def _obstacle(self, route: Route, endpoint: str) -> _Obstacle | None:
        if refusal := self._gate.refusal(endpoint):
            return _Obstacle(refusal)
        if failing := self._failing(endpoint):
            return _Obstacle(failing)
        if unhealthy := self._unhealthy(endpoint):
            return _Obstacle(unhealthy)
        if len(route.endpoints) == 1:
            return None  # its requests wait at RunPod, which starts workers as soon as it can
        if full := self._full(endpoint):
            return _Obstacle(full)
        if starved := self.starved(endpoint, route.spill_after) or self._recovering(endpoint, route.spill_after):
            return _Obstacle(Cause(kind=SkipKind.NO_CAPACITY, why=starved), final=False)
        return None

    def _failing(self, endpoint: str) -> Cause | None:
        """The breaker: an endpoint whose workers fail gets one request at a time as a try."""
        streak = self._snapshot.streaks.get(endpoint)
        at = probe_at(streak, self._snapshot.timing)
        if streak is None or at is None:
            return None
        tried = self._given[endpoint] or any(s.created_at > streak.last for s in self._live[endpoint])
        if self._now >= at and not tried:
            return None
        due = f"next try in {at - self._now:.0f} s" if self._now < at else "one request is being tried"
        unanswered = streak.reason == NO_ANSWER
        failed = f"requests failed ({NO_ANSWER})" if unanswered else f"workers failed ({streak.reason})"
        why = f"endpoint {self._name(endpoint)}: its last {streak.failures} {failed}"
        return Cause(kind=SkipKind.NO_ANSWER if unanswered else SkipKind.BREAKER, why=why, due=due)

    def _unhealthy(self, endpoint: str) -> Cause | None:
        """An endpoint with none but unhealthy workers has one request as a try: each costs the start of a worker."""
        health = self._snapshot.health.get(endpoint)
        if not health or not (unhealthy := health.workers.get("unhealthy")) or not self._waiting_at(endpoint):
            return None
        if any(health.workers.get(state) for state in ("running", "ready", "idle", "initializing", "throttled")):
            return None
        name = self._name(endpoint)
        why = f"endpoint {name}: its workers are unhealthy: see the endpoint's logs (unhealthy {unhealthy})"
        return Cause(kind=SkipKind.UNHEALTHY, why=f"{why}; one request is being tried")

    def _full(self, endpoint: str) -> Cause | None:
        most = self._snapshot.workers_max.get(endpoint)
        used = len(self._live[endpoint]) + self._others[endpoint] + self._given[endpoint]
        if most is None or used < most:
            return None
        why = f"endpoint {self._name(endpoint)} has as many requests as its workers_max of {most}"
        return Cause(kind=SkipKind.ENDPOINT_FULL, why=why)

    def _recovering(self, endpoint: str, spill_after: float) -> str | None:
        """An endpoint that was starved is left alone for a while. Then one request tries it, and more as workers start.

        The pause is as long as the starvation has lasted, so it doubles from try to try.
        """
        before = self._snapshot.starvations.get(endpoint)
        if before is None:
            return None
        if before.first is not None:
            longest = max(self._snapshot.timing.starved_longest, spill_after)
            retry = before.last + min(max(before.last - before.first, spill_after), longest)
            if self._now < retry:
                return f"endpoint {self._name(endpoint)} was starved; next try in {retry - self._now:.0f} s"
        workers = (self._snapshot.health.get(endpoint) or EndpointHealth()).workers
        started = before.started + workers.get("initializing", 0) + workers.get("idle", 0)
        waiting = self._waiting_at(endpoint)
        if waiting < (1 if workers.get("throttled") else 1 + GROWTH * started):
            return None
        name, ago = self._name(endpoint), self._now - before.last
        return f"endpoint {name} was starved {ago:.0f} s ago; requests that try it now: {waiting}"

    def _hope(self, endpoint: str) -> tuple[int, float]:
        """Orders endpoints without capacity: first where the fewest requests wait, then those tried longest ago."""
        before = self._snapshot.starvations.get(endpoint)
        return self._waiting_at(endpoint), before.last if before else 0.0

    def _waiting_at(self, endpoint: str) -> int:
        return len(self._waiting.get(endpoint, ())) + self._given[endpoint]

    def _preferred(self, route: Route) -> str:
        return f"endpoint {self._name(route.endpoints[0])} is preferred" if len(route.endpoints) > 1 else ""

    def _name(self, endpoint: str) -> str:
        return named(endpoint, self._snapshot.endpoint_names)


def starvation(left: Sequence[float], started: Sequence[float]) -> Starvation:
    """What recently happened at an endpoint that had no capacity.

    Args:
        left: Unix seconds, when requests left it; at least one.
        started: Unix seconds, when its workers started.
    """
    newest, last = max(started, default=0.0), max(left)
    return Starvation(
        first=min((at for at in left if at > newest), default=None), last=last, started=sum(at > last for at in started)
    )


def _joined(causes: Iterable[Cause]) -> str:
    return "; ".join(each.text for each in causes)


def _has_worker(health: EndpointHealth) -> bool:
    """Whether a worker of an endpoint may take a request at once.

    RunPod starts a worker for each request as soon as it can. So a worker that runs a request is no hope for another
    one: its job may run for hours. Some answers count running workers as ready, too.
    """
    return not health.workers.get("ready", 0) <= health.workers.get("running", 0) <= health.in_progress


def _why(health: EndpointHealth) -> str:
    states = (
        f"{state} {n}" for state in ("throttled", "unhealthy", "initializing") if (n := health.workers.get(state))
    )
    listed = ", ".join(states)
    return f" ({listed})" if listed else ""


def _requests_of_others(snapshot: Snapshot, submissions: Iterable[Submission]) -> Counter[str]:
    """By endpoint, the requests that its health counts beyond those of our submissions at that time."""
    ours = Counter(
        s.endpoint
        for s in submissions
        if s.created_at <= (at := snapshot.health_at.get(s.endpoint, 0.0)) and (s.state in OPEN_STATES or s.since >= at)
    )
    return Counter(
        {key: max(0, health.in_queue + health.in_progress - ours[key]) for key, health in snapshot.health.items()}
    )

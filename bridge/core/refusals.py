"""What GitHub or RunPod refuses, and when it is tried again. Pure.

A refusal concerns a registration target, a runner group of it, or an endpoint. While it lasts, one claim at a time
tries again. All other jobs that need what was refused wait, with the refusal as their reason.
"""

from collections.abc import Iterable, Mapping, Sequence

from bridge.core.actions import Cause, Skip, SkipKind
from bridge.core.endpoint_names import named
from bridge.core.model import WorkflowJob
from bridge.core.readings import Timed
from bridge.core.scope import Route, endpoints_of
from bridge.core.snapshot import Refusal, Snapshot
from bridge.core.submissions import Pool, State, Submission
from bridge.core.timing import Timing
from bridge.core.worker import Credentials

_PROBING = frozenset({State.CLAIMED, State.MINTED, State.SUBMITTING, State.UNKNOWN})


def target_key(target: str) -> str:
    """The key of a refusal by a registration target."""
    return target


def group_key(target: str, route: Route) -> str:
    """The key of a refusal by a route's runner group."""
    return f"{target}, runner group {route.runner_group}"


def endpoint_key(endpoint: str) -> str:
    """The key of a refusal by an endpoint."""
    return f"endpoint {endpoint}"


def target_keys(target: str, route: Route) -> tuple[str, ...]:
    """The keys that a registration for a route at a target depends on.

    Where the worker registers itself, the bridge asks GitHub for nothing.
    """
    if route.credentials in (Credentials.APP, Credentials.PAT):
        return ()
    return target_key(target), group_key(target, route)


def keys(target: str, route: Route, endpoint: str) -> tuple[str, ...]:
    """The keys that a request of a route at a target and an endpoint depends on."""
    return *target_keys(target, route), endpoint_key(endpoint)


def standing(refusals: Mapping[str, Timed[Refusal | None]], timing: Timing, now: float) -> dict[str, Refusal]:
    """The refusals that were not lifted and are not forgotten yet, by key.

    Args:
        refusals: the last readings, by key.
        timing: for how long a refusal is kept.
        now: Unix seconds.
    """
    return {key: read.value for key, read in refusals.items() if read.value and read.at > now - timing.refusal_kept}


class Gate:
    """Lets claims through that no refusal concerns, and one try for each refusal whose pause has ended.

    `admit` knows the refusals by GitHub. Those by endpoints matter when bridge.core.placement chooses one.

    Args:
        snapshot: with the refusals, and the submissions among which are the tries under way.
        now: Unix seconds.
    """

    def __init__(self, snapshot: Snapshot, now: float) -> None:
        self._current = {k: r for k, r in snapshot.refusals.items() if now < r.until or r.count}
        self._routes = {route.name: route for route in snapshot.routes}
        self._subjects = {
            endpoint_key(id_): f"endpoint {named(id_, snapshot.endpoint_names)}"
            for id_ in endpoints_of(snapshot.routes)
        }
        self._now = now
        self._tries = set(self._tries_under_way(snapshot.submissions))

    def _tries_under_way(self, submissions: Iterable[Submission]) -> Iterable[str]:
        """The keys of claims that were made after a refusal: they are its tries."""
        for s in submissions:
            route = self._routes.get(s.pool.route)
            if route and s.state in _PROBING:
                refused = (key for key in keys(s.pool.target, route, s.endpoint) if key in self._current)
                yield from (key for key in refused if s.created_at > self._current[key].at)

    def _refused_keys(self, pool: Pool, route: Route) -> list[str]:
        return [key for key in target_keys(pool.target, route) if key in self._current]

    def admit(self, pool: Pool, missing: Sequence[WorkflowJob], free: int) -> tuple[list[WorkflowJob], list[Skip]]:
        """Which of a pool's jobs GitHub does not refuse; at most one as a try. The refusal is the others' reason.

        Args:
            pool: a route at a target.
            missing: the pool's jobs without a runner, in the order in which they are served.
            free: places that are left for them. Without one, another pool makes the try.
        """
        refused = self._refused_keys(pool, self._routes[pool.route])
        if not refused or not missing:
            return list(missing), []
        may_try = free > 0 and all(map(self._may_try, refused))
        self._tries.update(refused if may_try else ())
        room = int(may_try)
        cause = self._cause(self._longest(self._reasons(pool)))
        return list(missing[:room]), [cause.skip(job.id, pool.route) for job in missing[room:]]

    def refuses(self, pool: Pool) -> bool:
        """Whether GitHub refuses registrations for a pool, or has refused the last one."""
        return bool(self._refused_keys(pool, self._routes[pool.route]))

    def refusal(self, endpoint: str) -> Cause | None:
        """Why an endpoint gets no request now; None if nothing is refused there, or one request may try it."""
        key = endpoint_key(endpoint)
        return None if key not in self._current or self._may_try(key) else self._cause(key)

    def try_endpoint(self, endpoint: str) -> None:
        """Count a request to an endpoint as a try, if a refusal concerns it."""
        self._tries.add(endpoint_key(endpoint))

    def _may_try(self, key: str) -> bool:
        return self._now >= self._current[key].until and key not in self._tries

    def explain(self, skips: Iterable[Skip], snapshot: Snapshot) -> list[Skip]:
        """Return the skips with the refusal as the reason where it ended a job's last runner."""
        if not self._current:
            return list(skips)
        targets = {job.id: snapshot.target_of(job) for job in snapshot.jobs}
        return [self._explained(skip, targets.get(skip.job_id, "")) for skip in skips]

    def _explained(self, skip: Skip, target: str) -> Skip:
        if skip.kind is not SkipKind.ENDED_UNSEEN or skip.route not in self._routes:
            return skip
        reasons = self._reasons(Pool(skip.route, target))
        return self._cause(self._longest(reasons)).skip(skip.job_id, skip.route) if reasons else skip

    def _reasons(self, pool: Pool) -> list[str]:
        """The keys of all refusals that keep a pool's jobs waiting: one endpoint that refuses does not."""
        route = self._routes[pool.route]
        endpoints = [endpoint_key(endpoint) for endpoint in route.endpoints]
        no_endpoint = all(key in self._current for key in endpoints)
        return [*self._refused_keys(pool, route), *(endpoints if no_endpoint else ())]

    def _longest(self, refused: Iterable[str]) -> str:
        return max(refused, key=lambda key: (self._current[key].until, key))

    def _cause(self, key: str) -> Cause:
        refusal = self._current[key]
        left = refusal.until - self._now
        next_try = f"next try in {left:.0f} s" if left > 0 else "one request is being tried"
        kind = SkipKind.REFUSED if refusal.count else SkipKind.RATE_LIMITED
        what = "was refused" if refusal.count else "has reached a rate limit"
        return Cause(kind=kind, why=f"{self._subjects.get(key, key)} {what}: {refusal.why}", due=next_try, refusal=key)

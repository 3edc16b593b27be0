"""What GitHub or RunPod refuses by configuration: who is asked again, and when. Pure.

A refusal concerns a registration target, a runner group of it, or an endpoint. While it stands, one claim at a time
probes; all other jobs that need what was refused wait, with the refusal as their reason.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from bridge.core.actions import Skip
from bridge.core.model import WorkflowJob
from bridge.core.readings import Timed
from bridge.core.scope import Route
from bridge.core.snapshot import Refusal, Snapshot
from bridge.core.submissions import Pool, State, Submission
from bridge.core.worker import Credentials

SHORTEST, LONGEST = 60.0, 1800.0
"""s from a refusal to the next probe; the wait doubles from probe to probe."""

KEPT = 86_400.0
"""s after which a refusal that nothing has confirmed is forgotten."""

ENDED_UNSEEN = "its last runner ended after GitHub was last asked about it"
"""Why a job waits that GitHub must be asked about first; where a refusal ended its runner, that is the reason."""

_PROBING = frozenset({State.CLAIMED, State.MINTED, State.SUBMITTING, State.UNKNOWN})


def target_key(target: str) -> str:
    """The key of what a registration target refuses."""
    return target


def group_key(target: str, route: Route) -> str:
    """The key of what a route's runner group refuses."""
    return f"{target}, runner group {route.runner_group}"


def endpoint_key(endpoint: str) -> str:
    """The key of what an endpoint refuses."""
    return f"endpoint {endpoint}"


def keys(target: str, route: Route) -> tuple[str, ...]:
    """All that a request of a route at a target depends on; worker-side registrations ask GitHub for nothing here."""
    if route.credentials in (Credentials.APP, Credentials.PAT):
        return (endpoint_key(route.endpoint),)
    return target_key(target), group_key(target, route), endpoint_key(route.endpoint)


def standing(refusals: Mapping[str, Timed[Refusal | None]], now: float) -> dict[str, Refusal]:
    """The refusals that were not lifted and are not forgotten yet, by key.

    Args:
        refusals: the last readings, by key.
        now: Unix seconds.
    """
    return {key: read.value for key, read in refusals.items() if read.value and read.at > now - KEPT}


class Gate:
    """Lets through the claims that no refusal holds back, and one probe of each refusal that is due.

    Args:
        snapshot: what is known.
        now: Unix seconds.
    """

    def __init__(self, snapshot: Snapshot, now: float) -> None:
        self._standing = {k: r for k, r in snapshot.refusals.items() if now < r.until or r.count}
        self._routes = {route.name: route for route in snapshot.routes}
        self._now = now
        self._probes = Counter(self._under_way(snapshot.submissions) if self._standing else ())

    def _under_way(self, submissions: Iterable[Submission]) -> Iterable[str]:
        """The keys of claims that were made after the refusals: they are the probes."""
        for s in submissions:
            route = self._routes.get(s.pool.route)
            if route and s.state in _PROBING:
                yield from (k for k in self._held_by(s.pool, route) if s.created_at > self._standing[k].at)

    def _held_by(self, pool: Pool, route: Route) -> list[str]:
        return [key for key in keys(pool.target, route) if key in self._standing]

    def admit(self, pool: Pool, missing: Sequence[WorkflowJob], free: int) -> tuple[list[WorkflowJob], list[Skip]]:
        """Which of a pool's jobs may be asked for, the first ones; for the others the refusal is the reason.

        Args:
            pool: a route at a target.
            missing: the pool's jobs without a runner, in the order in which they are served.
            free: places that are left to them. Without one, the probe is another pool's to make.
        """
        held = self._held_by(pool, self._routes[pool.route])
        if not held or not missing:
            return list(missing), []
        may_probe = free > 0 and all(self._now >= self._standing[k].until and not self._probes[k] for k in held)
        self._probes.update(held if may_probe else ())
        room = int(may_probe)
        why = self._why(self._longest(held))
        return list(missing[:room]), [Skip(job_id=job.id, why=why, route=pool.route) for job in missing[room:]]

    def explain(self, skips: Iterable[Skip], snapshot: Snapshot) -> list[Skip]:
        """The skips, with the refusal as the reason where it is what ended a job's last runner."""
        if not self._standing:
            return list(skips)
        targets = {job.id: snapshot.target_of(job) for job in snapshot.jobs}
        return [self._explained(skip, targets.get(skip.job_id, "")) for skip in skips]

    def _explained(self, skip: Skip, target: str) -> Skip:
        if skip.why != ENDED_UNSEEN or skip.route not in self._routes:
            return skip
        held = self._held_by(Pool(skip.route, target), self._routes[skip.route])
        return replace(skip, why=self._why(self._longest(held))) if held else skip

    def _longest(self, held: Iterable[str]) -> str:
        return max(held, key=lambda key: (self._standing[key].until, key))

    def _why(self, key: str) -> str:
        refusal = self._standing[key]
        left = refusal.until - self._now
        next_try = f"next try in {left:.0f} s" if left > 0 else "one request is tried now"
        what = "was refused" if refusal.count else "is at a rate limit"
        return f"{key} {what}: {refusal.why}; {next_try}"

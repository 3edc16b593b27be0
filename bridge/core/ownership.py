"""Who requested a listed runner: a row of this ledger, this deployment without a row, or another deployment. Pure."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from bridge.core.model import Runner
from bridge.core.naming import identity_of, parse_name, requested_at, route_identity
from bridge.core.scope import Route
from bridge.core.snapshot import Snapshot
from bridge.core.submissions import OPEN_STATES, Pool, Submission
from bridge.core.worker import Reason


class PrefixedRunner(NamedTuple):
    """A listed runner with our prefix in its name and in a label.

    Args:
        route: that it was requested for; None if that is not one of our routes.
        foreign: its labels show that another deployment requested it.
    """

    target: str
    runner: Runner
    job_id: int
    generation: int
    requested_at: float
    route: Route | None
    foreign: bool


@dataclass(frozen=True, kw_only=True)
class UnexplainedRunner:
    """A runner of our routes that no row of this ledger explains: another dispatcher's, or a lost ledger's.

    Args:
        endpoints: of its route; its request is at one of them.
        requested_at: Unix seconds.
        lease_end: Unix seconds; later it gets no job that is known of.
    """

    pool: Pool
    endpoints: tuple[str, ...]
    runner: Runner
    requested_at: float
    lease_end: float


def prefixed_runners(snapshot: Snapshot) -> Iterator[PrefixedRunner]:
    """Yield the listed runners that have our prefix in their name and in a label."""
    routes = {route_identity(route): route for route in snapshot.routes}
    for target, runners in snapshot.runners.items():
        for runner in runners:
            parts = parse_name(snapshot.prefix, runner.name)
            at = requested_at(snapshot.prefix, runner.labels)
            if parts and at is not None:
                identity = identity_of(snapshot.prefix, runner.labels)
                route = _route_by_labels(snapshot, runner) if identity is None else routes.get(identity)
                foreign = identity is not None and route is None
                yield PrefixedRunner(target, runner, *parts, at, route, foreign=foreign)


def _route_by_labels(snapshot: Snapshot, runner: Runner) -> Route | None:
    """The route of a runner that an older version requested: it has exactly the route's labels."""
    stamp = f"{snapshot.prefix}-at-"
    carried = {label.lower() for label in runner.labels if not label.startswith(stamp)}
    return next((route for route in snapshot.routes if route.label_set == carried), None)


def rows_by_name(submissions: Iterable[Submission]) -> dict[str, Submission]:
    """Rows by the runner name that they own. A row whose name GitHub refused does not own it."""
    return {s.name: s for s in submissions if s.reason is not Reason.NAME_TAKEN}


def row_of(each: PrefixedRunner, rows: Mapping[str, Submission]) -> Submission | None:
    """Find the row that explains a listed runner.

    A runner of another deployment can have the same name, and so can a later runner of ours.
    """
    row = rows.get(each.runner.name)
    if row is None or not may_own(row, each.runner.id):
        return None
    return None if each.foreign and row.runner_id != each.runner.id else row


def may_own(submission: Submission, runner_id: int | None) -> bool:
    """Whether a registration with a submission's name may be its own. After a ledger is lost, a name may be used twice.

    Args:
        submission: whose name it has.
        runner_id: of the registration; None if unknown.
    """
    return runner_id is None or submission.runner_id in (None, runner_id)


def unexplained_runners(
    prefixed: Iterable[PrefixedRunner], submissions: Iterable[Submission]
) -> Iterator[UnexplainedRunner]:
    """Yield the runners of this deployment's routes that no row explains."""
    rows = rows_by_name(submissions)
    for each in prefixed:
        if each.route and not row_of(each, rows):
            yield UnexplainedRunner(
                pool=Pool(each.route.name, each.target),
                endpoints=each.route.endpoints,
                runner=each.runner,
                requested_at=each.requested_at,
                lease_end=each.requested_at + each.route.lease,
            )


def warnings(prefix: str, prefixed: Iterable[PrefixedRunner], submissions: Iterable[Submission]) -> list[str]:
    """A line for each target that lists runners of another deployment with our prefix."""
    rows = rows_by_name(submissions)
    others = {each.target for each in prefixed if not (each.route or row_of(each, rows))}
    return [
        f"{target}: runners called {prefix}-... belong to another deployment, or to a route that was changed; "
        "the bridge ignores them: give each deployment its own BRIDGE_PREFIX"
        for target in sorted(others)
    ]


def with_worker(
    snapshot: Snapshot, submissions: Iterable[Submission], unexplained: Iterable[UnexplainedRunner], now: float
) -> list[UnexplainedRunner]:
    """The unexplained runners that may still have a worker.

    A runner that is offline for longer than a worker takes to start has one only if an endpoint of its route has a
    request that nothing else explains.
    """
    left = requests_beyond_rows(snapshot, submissions)
    offline: list[UnexplainedRunner] = []
    found: list[UnexplainedRunner] = []
    for each in sorted(unexplained, key=lambda r: (-r.requested_at, r.runner.id)):
        if not (each.runner.busy or now < each.lease_end):
            continue
        starts = now < each.requested_at + snapshot.timing.boot_allowance
        unread = any(endpoint not in left for endpoint in each.endpoints)
        sure = each.runner.busy or each.runner.online or starts or unread
        (found if sure else offline).append(each)
    explain(left, found)
    return [*found, *(each for each in offline if explain(left, [each]))]


def explain(left: Counter[str], runners: Iterable[UnexplainedRunner]) -> int:
    """Take the requests of runners from those that are left at their endpoints; return how many were found."""
    explained = 0
    for each in runners:
        endpoint = next((endpoint for endpoint in each.endpoints if left[endpoint] > 0), None)
        if endpoint is not None:
            left[endpoint] -= 1
            explained += 1
    return explained


def requests_beyond_rows(snapshot: Snapshot, submissions: Iterable[Submission]) -> Counter[str]:
    """By endpoint whose health was read, its requests beyond those of open submissions that were sent before that."""
    seen = Counter(
        s.endpoint for s in submissions if s.state in OPEN_STATES and s.created_at <= snapshot.runners_read_at
    )
    return Counter({key: health.in_queue + health.in_progress - seen[key] for key, health in snapshot.health.items()})

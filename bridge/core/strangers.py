"""Whose a listed runner is: this ledger's, this deployment's without a row, or another deployment's. Pure."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from bridge.core.model import Runner
from bridge.core.naming import asked_at, identity_of, parse_name, route_identity
from bridge.core.scope import Route
from bridge.core.snapshot import Snapshot
from bridge.core.submissions import OPEN_STATES, Pool, Submission
from bridge.core.worker import BOOT_ALLOWANCE, Reason


class Own(NamedTuple):
    """A listed runner with a name and label of our prefix, and the route it was asked for, None if that is not ours."""

    target: str
    runner: Runner
    job_id: int
    generation: int
    asked_at: float
    route: Route | None
    foreign: bool  # its labels say that another deployment asked for it


@dataclass(frozen=True, kw_only=True)
class Stranger:
    """A runner of ours that no row of this ledger explains: another dispatcher's, or a lost ledger's."""

    pool: Pool
    endpoint: str
    runner: Runner
    asked_at: float
    lease_end: float


def own_runners(snapshot: Snapshot) -> Iterator[Own]:
    """The listed runners that have our prefix in their name and a label."""
    routes = {route_identity(route): route for route in snapshot.routes}
    for target, runners in snapshot.runners.items():
        for runner in runners:
            parts = parse_name(snapshot.prefix, runner.name)
            at = asked_at(snapshot.prefix, runner.labels)
            if parts and at is not None:
                identity = identity_of(snapshot.prefix, runner.labels)
                route = _route_of_old(snapshot, runner) if identity is None else routes.get(identity)
                yield Own(target, runner, *parts, at, route, foreign=identity is not None and route is None)


def _route_of_old(snapshot: Snapshot, runner: Runner) -> Route | None:
    """The route of a runner that an older bridge asked for: it carries the route's labels, and no others."""
    stamp = f"{snapshot.prefix}-at-"
    carried = {label.lower() for label in runner.labels if not label.startswith(stamp)}
    return next((route for route in snapshot.routes if route.label_set == carried), None)


def explaining(submissions: Iterable[Submission]) -> dict[str, Submission]:
    """Rows by the name they own; a name that GitHub refused them is not theirs."""
    return {s.name: s for s in submissions if s.reason is not Reason.NAME_TAKEN}


def row_of(each: Own, rows: Mapping[str, Submission]) -> Submission | None:
    """The row that explains a listed runner. Another deployment's may have the same name, and so may a later one."""
    row = rows.get(each.runner.name)
    if row is None or not is_of(row, each.runner.id):
        return None
    return None if each.foreign and row.runner_id != each.runner.id else row


def strangers_among(own: Iterable[Own], submissions: Iterable[Submission]) -> Iterator[Stranger]:
    """Those of this deployment's routes that no row explains."""
    rows = explaining(submissions)
    for each in own:
        if each.route and not row_of(each, rows):
            yield Stranger(
                pool=Pool(each.route.name, each.target),
                endpoint=each.route.endpoint,
                runner=each.runner,
                asked_at=each.asked_at,
                lease_end=each.asked_at + each.route.lease,
            )


def warnings(prefix: str, own: Iterable[Own], submissions: Iterable[Submission]) -> list[str]:
    """A line for each target where there are runners of another deployment that has our prefix."""
    rows = explaining(submissions)
    others = {each.target for each in own if not (each.route or row_of(each, rows))}
    return [
        f"{target}: another deployment, or a route that has been changed, has runners called {prefix}-...; "
        "they are left alone: give each deployment a BRIDGE_PREFIX of its own"
        for target in sorted(others)
    ]


def is_of(submission: Submission, runner_id: int | None) -> bool:
    """Whether a registration of a submission's name may be its own: a lost ledger may lead to a name's second use."""
    return runner_id is None or submission.runner_id in (None, runner_id)


def alive(
    snapshot: Snapshot, submissions: Iterable[Submission], strangers: Iterable[Stranger], now: float
) -> list[Stranger]:
    """Strangers that may still have a worker.

    Of those that are offline for longer than a worker takes to start, as many as there are requests on their endpoint
    that nothing else explains.
    """
    left = requests_beyond(snapshot, submissions)
    doubtful: list[Stranger] = []
    found: list[Stranger] = []
    for each in sorted(strangers, key=lambda s: (-s.asked_at, s.runner.id)):
        if not (each.runner.busy or now < each.lease_end):
            continue
        starts = now < each.asked_at + BOOT_ALLOWANCE
        sure = each.runner.busy or each.runner.online or starts or each.endpoint not in left
        (found if sure else doubtful).append(each)
    left.subtract(Counter(each.endpoint for each in found))
    for each in doubtful:
        if left[each.endpoint] > 0:
            found.append(each)
            left[each.endpoint] -= 1
    return found


def requests_beyond(snapshot: Snapshot, submissions: Iterable[Submission]) -> Counter[str]:
    """By endpoint whose health was read, its requests beyond those of open submissions that were sent before."""
    seen = Counter(s.endpoint for s in submissions if s.state in OPEN_STATES and s.created_at <= snapshot.looked_at)
    return Counter({key: health.in_queue + health.in_progress - seen[key] for key, health in snapshot.health.items()})

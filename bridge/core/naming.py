"""The names and labels of our runners: how they are made, and how they are recognised."""

from collections.abc import Iterable
from hashlib import sha256

from bridge.core.scope import Route


def runner_name(prefix: str, job_id: int, generation: int) -> str:
    """The name of a runner that is requested for `job_id`. It is used once, and has at most 64 characters."""
    return f"{prefix}-{job_id}-{generation}"


def parse_name(prefix: str, name: str) -> tuple[int, int] | None:
    """The job id and generation in a name of ours; None for any other name."""
    head, _, generation = name.rpartition("-")
    start, _, job_id = head.rpartition("-")
    if start != prefix or not (job_id.isdecimal() and generation.isdecimal()):
        return None
    return int(job_id), int(generation)


def runner_labels(route: Route, prefix: str, at: float) -> list[str]:
    """Every label that a runner of `route` registers with, so that it can serve every job of its pool.

    Args:
        route: the runner's.
        prefix: of this deployment.
        at: Unix seconds, when it was requested. A dispatcher without a ledger reads the runner's age from it.
    """
    return [*sorted(route.label_set), f"{prefix}-at-{int(at)}", f"{prefix}-route-{route_identity(route)}"]


def route_identity(route: Route) -> str:
    """12 hex digits that identify a route: the same for all copies of a deployment, with or without a ledger.

    They change when the route gets another name, other labels or another preferred endpoint. Its other endpoints, its
    limits and other routes do not matter.
    """
    parts = [route.name, route.endpoints[0], *sorted(route.labels)]
    return sha256("\n".join(parts).encode()).hexdigest()[:12]


def identity_of(prefix: str, labels: Iterable[str]) -> str | None:
    """The `route_identity` in a runner's labels; None if an older version requested it."""
    start = f"{prefix}-route-"
    return next((label.removeprefix(start) for label in labels if label.startswith(start)), None)


def holding_labels(prefix: str, at: float) -> list[str]:
    """Labels of a registration that only reserves its name: no job asks for them. Arguments as for `runner_labels`."""
    return [f"{prefix}-at-{int(at)}"]


def requested_at(prefix: str, labels: Iterable[str]) -> float | None:
    """Unix seconds when a runner with these labels was requested; None if it is not ours."""
    start = f"{prefix}-at-"
    stamps = (label.removeprefix(start) for label in labels if label.startswith(start))
    return next((float(stamp) for stamp in stamps if stamp.isdecimal()), None)

"""How our runners are called and labelled, and how a name or label of ours is recognised."""

from collections.abc import Iterable
from hashlib import sha256

from bridge.core.scope import Route


def runner_name(prefix: str, job_id: int, generation: int) -> str:
    """The name of the runner asked for `job_id`; unique for ever, at most 64 characters."""
    return f"{prefix}-{job_id}-{generation}"


def parse_name(prefix: str, name: str) -> tuple[int, int] | None:
    """The job id and generation in a name of ours, None in another's."""
    head, _, generation = name.rpartition("-")
    start, _, job_id = head.rpartition("-")
    if start != prefix or not (job_id.isdecimal() and generation.isdecimal()):
        return None
    return int(job_id), int(generation)


def runner_labels(route: Route, prefix: str, at: float) -> list[str]:
    """Every label that a runner of `route` registers, so that it can serve every job of its pool.

    Args:
        route: the runner's.
        prefix: of this deployment.
        at: Unix seconds, when it was asked for; tells a dispatcher without a ledger how old it is.
    """
    return [*sorted(route.label_set), f"{prefix}-at-{int(at)}", f"{prefix}-route-{route_identity(route)}"]


def route_identity(route: Route) -> str:
    """Whose runner it is: the same for all copies of a deployment, with or without a ledger; 12 hex digits.

    It changes when the route is renamed or gets other labels or another endpoint, not with its limits or other routes.
    """
    parts = [route.name, route.endpoint, *sorted(route.labels)]
    return sha256("\n".join(parts).encode()).hexdigest()[:12]


def identity_of(prefix: str, labels: Iterable[str]) -> str | None:
    """Which route a runner with these labels was asked for; None for one that an older bridge asked for."""
    start = f"{prefix}-route-"
    return next((label.removeprefix(start) for label in labels if label.startswith(start)), None)


def holding_labels(prefix: str, at: float) -> list[str]:
    """Labels of a registration that only holds its name: no job asks for them. Arguments as of `runner_labels`."""
    return [f"{prefix}-at-{int(at)}"]


def asked_at(prefix: str, labels: Iterable[str]) -> float | None:
    """Unix seconds when a runner with these labels was asked for, None if it is not ours."""
    start = f"{prefix}-at-"
    stamps = (label.removeprefix(start) for label in labels if label.startswith(start))
    return next((float(stamp) for stamp in stamps if stamp.isdecimal()), None)

"""`bridge endpoints list`: the endpoints of the configuration as the ledger knows them."""

from collections.abc import Mapping
from typing import Any

from bridge.controller.report import Decision
from bridge.core.breaker import probe_at
from bridge.core.refusals import endpoint_key
from bridge.core.scope import Scope
from bridge.core.submissions import State

SHOWN = ("endpoint", "name", "state", "requests", "queue", "workers", "routes", "why")
"""The columns of the table."""

OPEN = "open"
"""The state of an endpoint that gets new requests."""


def rows_of(decision: Decision, scope: Scope) -> list[dict[str, Any]]:
    """One row for each endpoint that a route uses or `bridge endpoints apply` has created.

    Args:
        decision: of a plan on what the ledger holds.
        scope: with the routes, and the endpoints that `apply` has created.
    """
    ids = dict.fromkeys(
        [
            *(each for route in scope.routes for each in route.endpoints),
            *sorted(scope.endpoint_names, key=scope.endpoint_names.__getitem__),
        ]
    )
    return [_row(decision, scope, id_) for id_ in ids]


def _row(decision: Decision, scope: Scope, id_: str) -> dict[str, Any]:
    routes = [route.name for route in scope.routes if id_ in route.endpoints]
    requests = {state: count for (endpoint, state), count in decision.at_endpoints.items() if endpoint == id_}
    health = decision.health.get(id_)
    state, why = state_of(decision, scope, id_) if routes else ("unused", "no route uses it")
    workers = {kind: count for kind, count in health.workers.items() if count} if health else None
    return {
        "endpoint": id_,
        "name": scope.endpoint_names.get(id_),
        "state": state,
        "requests": sum(requests.values()),
        "busy": requests.get(State.BUSY, 0),
        "queue": health.in_queue if health else None,
        "workers": _shown(workers),
        "workers_by_state": workers,
        "routes": routes,
        "why": why,
    }


def _shown(workers: Mapping[str, int] | None) -> str | None:
    """RunPod's counts; `ready` includes running and idle workers."""
    if workers is None:
        return None
    return " ".join(f"{state} {count}" for state, count in workers.items() if state != "ready") or "none"


def state_of(decision: Decision, scope: Scope, id_: str) -> tuple[str, str | None]:
    """Whether an endpoint gets new requests, and why not."""
    if refusal := decision.refusals.get(endpoint_key(id_)):
        return "refused", refusal.why
    streak = decision.streaks.get(id_)
    if streak and probe_at(streak, scope.timing) is not None:
        return "failing", f"its last {streak.failures} runners failed ({streak.reason}): no new requests for a while"
    return OPEN, None

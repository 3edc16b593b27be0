"""`bridge routes`: each route with its use, and whether it gets new requests."""

from collections import Counter
from typing import TYPE_CHECKING, Any

from bridge.commands.listing import NO_ROUTE, Listing, Watch, show
from bridge.commands.options import AsJson, ConfigPath

if TYPE_CHECKING:
    from bridge.commands.composition import Bridge
    from bridge.controller.report import Decision
    from bridge.core.scope import Route, Scope

SHOWN = ("route", "state", "workers", "queued", "endpoint_names", "labels", "why")
"""The columns of the table."""


def routes(config: ConfigPath = None, as_json: AsJson = False, watch: Watch = False) -> None:
    """List the routes: queued jobs, open requests of max_workers, and why a route gets no new requests."""
    listing = Listing(read=_rows, shown=SHOWN, wanted={}, nothing=NO_ROUTE, as_json=as_json)
    show(config, listing, watch=watch)


async def _rows(bridge: "Bridge") -> list[dict[str, Any]]:
    decision = await bridge.reconciler.explain()
    return rows_of(decision, bridge.scope, bridge.clock())


def rows_of(decision: "Decision", scope: "Scope", now: float) -> list[dict[str, Any]]:
    """One row for each route, and for each paused route that is not configured any more.

    Args:
        decision: of the plan.
        scope: with the routes.
        now: Unix seconds.
    """
    from bridge.core.pauses import cause_of

    plan = decision.plan
    queued = Counter([*(skip.route for skip in plan.skips), *(claim.pool.route for claim in plan.claims)])
    rows = [_row(decision, route, scope, queued[route.name], now) for route in scope.routes]
    known = {route.name for route in scope.routes}
    gone: dict[str, Any] = {
        "labels": [],
        "endpoints": [],
        "endpoint_names": [],
        "workers": "0",
        "open": 0,
        "busy": 0,
        "max_workers": None,
        "queued": 0,
    }
    for name, pause in decision.pauses.items():
        if name not in known:
            why = f"it is not in the configuration; {cause_of(pause, now).skip(0, name).why}"
            rows.append({"route": name, "state": "paused", **gone, "paused": _paused(decision, name), "why": why})
    return rows


def _row(decision: "Decision", route: "Route", scope: "Scope", queued: int, now: float) -> dict[str, Any]:
    from bridge.core.endpoint_names import named
    from bridge.core.submissions import State

    open_ = sum(count for (name, _), count in decision.standing.items() if name == route.name)
    state, why = _state(decision, route, scope, open_, now)
    return {
        "route": route.name,
        "state": state,
        "labels": sorted(route.labels),
        "endpoints": list(route.endpoints),
        "endpoint_names": [named(endpoint, scope.endpoint_names) for endpoint in route.endpoints],
        "workers": f"{open_}/{route.max_workers}",
        "open": open_,
        "busy": decision.standing.get((route.name, State.BUSY), 0),
        "max_workers": route.max_workers,
        "queued": queued,
        "paused": _paused(decision, route.name),
        "why": why,
    }


def _paused(decision: "Decision", name: str) -> dict[str, Any] | None:
    pause = decision.pauses.get(name)
    return {"at": pause.at, "by": pause.by, "reason": pause.reason} if pause else None


def _state(decision: "Decision", route: "Route", scope: "Scope", open_: int, now: float) -> tuple[str, str | None]:
    """Whether the route gets new requests, and why not."""
    from bridge.commands.endpoints.listing import OPEN, state_of
    from bridge.core.budget import held
    from bridge.core.endpoint_names import named
    from bridge.core.pauses import cause_of

    if pause := decision.pauses.get(route.name):
        return "paused", cause_of(pause, now).text
    if cause := held(decision.budgets, route, scope.endpoint_names):
        return "budget", cause.text
    states = {endpoint: state_of(decision, scope, endpoint) for endpoint in route.endpoints}
    shut = {endpoint: why for endpoint, (state, why) in states.items() if state != OPEN}
    closed = [f"endpoint {named(endpoint, scope.endpoint_names)}: {why}" for endpoint, why in shut.items()]
    if len(closed) == len(states):
        return states[route.endpoints[0]][0], "; ".join(closed)
    if open_ >= route.max_workers:
        return "full", None
    return OPEN, "; ".join(closed) or None

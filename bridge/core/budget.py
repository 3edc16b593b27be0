"""Budgets for a UTC day: how much of each is used, and whether it allows another request. Pure.

Times are Unix seconds (UTC), amounts are USD. A budget holds new requests; it never touches what runs. So it is
exceeded by at most what the requests cost that were in flight when it was reached.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from bridge.core.actions import Cause, SkipKind
from bridge.core.cost import DAY, amount, day_of, midnight
from bridge.core.endpoint_names import EndpointNames, named
from bridge.core.prices import Prices, price_at
from bridge.core.scope import Route, endpoints_of

WARN_AT = 0.8
"""The used share of a budget from which on the bridge warns."""

ALL = ""
"""The route of the budget of all routes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Raise:
    """A budget that an operator has raised for a while.

    Args:
        route: its name, or ALL.
        usd: a day, instead of the configured budget if that is lower.
        until: Unix seconds.
        by: who raised it, as `user@host`.
        at: Unix seconds, when it was raised.
    """

    route: str
    usd: float
    until: float
    by: str
    at: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Spent:
    """The time that was paid today for the workers of one kind.

    Args:
        route: the name of the route that requested them.
        endpoint: RunPod's id.
        gpu_type: of the workers; None if it is not known.
        seconds: that are paid, until now.
    """

    route: str
    endpoint: str
    gpu_type: str | None
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """A budget, and what is used of it today.

    Args:
        route: its name, or ALL.
        configured: USD a day, by the configuration.
        used: USD today, with what runs now.
        resets_at: Unix seconds, of the next midnight (UTC).
        raised: the raise that counts now; None if there is none.
        without_price: endpoints whose price is not known; what they cost is not in `used`.
    """

    route: str
    configured: float
    used: float
    resets_at: float
    raised: Raise | None = None
    without_price: frozenset[str] = frozenset()

    @property
    def usd(self) -> float:
        """USD that may be used today. The configuration may have changed since the budget was raised."""
        return max(self.configured, self.raised.usd) if self.raised else self.configured

    @property
    def share(self) -> float:
        """The used share; 1 and more if nothing is left."""
        return self.used / self.usd if self.usd else 1.0

    @property
    def name(self) -> str:
        """For a person."""
        return f"budget of route {self.route}" if self.route != ALL else "budget"


def budgets(  # noqa: PLR0913 - the parts of the configuration and of the ledger
    usd_per_day: float | None,
    routes: Sequence[Route],
    *,
    spent: Iterable[Spent],
    prices: Prices,
    raises: Iterable[Raise],
    now: float,
) -> tuple[Budget, ...]:
    """The budgets and what is used of them, that of all routes first.

    Args:
        usd_per_day: of all routes; None for no budget.
        routes: with their own budgets.
        spent: the time that was paid today.
        prices: as known. The whole day counts at the newest price.
        raises: those whose time is not over.
        now: Unix seconds.
    """
    configured = {ALL: usd_per_day} | {route.name: route.usd_per_day for route in routes}
    used: dict[str, float] = {}
    for each in spent:
        price = price_at(prices, each.endpoint, now, each.gpu_type)
        for name in (ALL, each.route):
            used[name] = used.get(name, 0.0) + each.seconds / 3600 * (price or 0.0)
    newest = {each.route: each for each in sorted(raises, key=lambda each: each.at) if now < each.until}
    return tuple(
        Budget(
            route=name,
            configured=usd,
            used=used.get(name, 0.0),
            resets_at=midnight(now) + DAY,
            raised=newest.get(name),
            without_price=_without_price(routes, name, prices, now),
        )
        for name, usd in configured.items()
        if usd is not None
    )


def _without_price(routes: Iterable[Route], name: str, prices: Prices, now: float) -> frozenset[str]:
    """The endpoints of the routes under a budget whose price is not known."""
    used = endpoints_of(route for route in routes if name in (ALL, route.name))
    return frozenset(endpoint for endpoint in used if price_at(prices, endpoint, now) is None)


def held(found: Iterable[Budget], route: Route, names: EndpointNames) -> Cause | None:
    """Why no further request of a route is allowed now; None if one is.

    Args:
        found: all budgets.
        route: that would request a runner.
        names: of the endpoints, for the reason.
    """
    own = [budget for budget in found if budget.route in (ALL, route.name)]
    for budget in own:
        if unknown := sorted(budget.without_price.intersection(route.endpoints)):
            why = (
                f"{budget.name}: the price of endpoint {named(unknown[0], names)} is not known; set `usd_per_hour` in "
                f"route {route.name}, or run a pass with RUNPOD_MANAGEMENT_API_KEY"
            )
            return Cause(kind=SkipKind.NO_PRICE, why=why)
    return next((_reached(budget) for budget in own if budget.used >= budget.usd), None)


def _reached(budget: Budget) -> Cause:
    option = "" if budget.route == ALL else f" --route {budget.route}"
    why = (
        f"{budget.name}: {amount(budget.used)} of {amount(budget.usd)} USD used today; it resets at 00:00 UTC; "
        f"raise it with `bridge budget --raise USD{option}`"
    )
    return Cause(kind=SkipKind.BUDGET, why=why)


def warnings_of(found: Iterable[Budget]) -> Iterator[str]:
    """One line for each budget of which 80 % or all is used today; the same line for the whole day."""
    for budget in found:
        limit = f"its {amount(budget.usd)} USD of {day_of(budget.resets_at - DAY)} (UTC)"
        if budget.share >= 1:
            yield f"{budget.name}: all of {limit} is used; new requests wait until 00:00 UTC"
        elif budget.share >= WARN_AT:
            yield f"{budget.name}: {WARN_AT:.0%} of {limit} is used; new requests wait when all of it is"

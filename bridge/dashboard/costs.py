"""What jobs cost today (UTC), as the overview shows it. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bridge.core.budget import ALL, Budget, Spent
from bridge.core.cost import UNKNOWN
from bridge.core.prices import Prices, price_at

MOST_REPOSITORIES = 10
"""Repositories that are shown: those that cost the most."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Amount:
    """What was spent on something today.

    Args:
        name: of a route or a repository.
        usd: estimated US dollars, what runs now included; None if a price is not known.
        budget: US dollars a day; None for no budget.
    """

    name: str
    usd: float | None
    budget: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Costs:
    """What was spent today.

    Args:
        total: of all routes.
        routes: of each.
        repositories: of each, the most expensive first.
    """

    total: Amount
    routes: tuple[Amount, ...] = ()
    repositories: tuple[Amount, ...] = ()


def costs_of(
    spent: Sequence[tuple[str | None, Spent]], budgets: Iterable[Budget], prices: Prices, now: float
) -> Costs | None:
    """Make money of the time that was paid today; None if nothing was paid and there is no budget.

    Args:
        spent: by repository.
        budgets: that are configured.
        prices: as known; the newest ones count.
        now: Unix seconds.
    """
    limits = {budget.route: budget.usd for budget in budgets}
    if not spent and not limits:
        return None
    routes: defaultdict[str, list[float | None]] = defaultdict(list, {name: [] for name in limits if name != ALL})
    repositories: defaultdict[str, list[float | None]] = defaultdict(list)
    for repository, each in spent:
        price = price_at(prices, each.endpoint, now, each.gpu_type)
        usd = None if price is None else each.seconds / 3600 * price
        routes[each.route].append(usd)
        repositories[repository or UNKNOWN].append(usd)
    by_route = [Amount(name=name, usd=_sum(of), budget=limits.get(name)) for name, of in sorted(routes.items())]
    by_repository = [Amount(name=name, usd=_sum(of)) for name, of in sorted(repositories.items())]
    return Costs(
        total=Amount(name="all routes", usd=_sum(each.usd for each in by_route), budget=limits.get(ALL)),
        routes=tuple(by_route),
        repositories=tuple(sorted(by_repository, key=lambda each: -(each.usd or 0.0))[:MOST_REPOSITORIES]),
    )


def _sum(amounts: Iterable[float | None]) -> float | None:
    """None if a part is not known."""
    known: list[float] = []
    for each in amounts:
        if each is None:
            return None
        known.append(each)
    return sum(known)

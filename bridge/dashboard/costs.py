"""What jobs cost today, as the overview shows it."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Spent:
    """What was spent on something today.

    Args:
        name: of a route or a repository.
        usd: estimated US dollars, what runs now included; None if a price is unknown.
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

    total: Spent
    routes: tuple[Spent, ...] = ()
    repositories: tuple[Spent, ...] = ()

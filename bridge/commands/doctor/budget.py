"""Whether the budgets can hold what they should: each needs the price of its endpoints."""

import asyncio
from collections.abc import Iterable, Sequence

from bridge.commands.budget import read_budgets
from bridge.commands.doctor.asking import Failure, asked, unanswered
from bridge.commands.doctor.check import Check, failed, ok, warning
from bridge.commands.doctor.context import Context
from bridge.core.budget import Budget
from bridge.core.cost import amount
from bridge.core.endpoint_names import EndpointNames, named
from bridge.core.scope import Route
from bridge.ledger import Ledger


async def checks(context: Context) -> list[Check]:
    """One check for each budget, and one for each route under a budget whose price is not known."""
    scope = context.settings.scope
    if not scope.has_budget:
        return []
    found = await asked(_budgets(context))
    if isinstance(found, Failure):
        return [unanswered("budget", found)]
    has_key = context.settings.management_api_key is not None
    return [*map(budget_check, found), *price_checks(found, scope.routes, scope.endpoint_names, has_key=has_key)]


async def _budgets(context: Context) -> tuple[Budget, ...]:
    ledger = await asyncio.to_thread(Ledger.open_existing, context.settings.database_url)
    try:
        return await read_budgets(ledger, context.settings.scope, context.clock())
    finally:
        ledger.close()


def budget_check(budget: Budget) -> Check:
    """How much of a budget is used today."""
    line = f"{amount(budget.used)} of {amount(budget.usd)} USD are used today (UTC)"
    subject = budget.route or None
    if budget.share >= 1:
        fix = "wait until 00:00 UTC, or raise it with `bridge budget --raise`"
        return warning("budget", f"{line}: new jobs wait", fix, subject=subject)
    return ok("budget", line, subject=subject)


def price_checks(
    found: Iterable[Budget], routes: Sequence[Route], names: EndpointNames, *, has_key: bool
) -> list[Check]:
    """One check for each route that gets no runner, because it has a budget and no known price.

    Args:
        found: the budgets.
        routes: of the configuration.
        names: of the endpoints.
        has_key: the service has the management key, with which it reads prices.
    """
    without = {
        route.name: sorted(named(each, names) for each in budget.without_price.intersection(route.endpoints))
        for budget in found
        for route in routes
        if budget.route in ("", route.name) and budget.without_price.intersection(route.endpoints)
    }
    return [_price_check(name, endpoints, has_key=has_key) for name, endpoints in without.items()]


def _price_check(route: str, endpoints: Sequence[str], *, has_key: bool) -> Check:
    several = "s" if len(endpoints) > 1 else ""
    id_, line = "budget.price", f"the price of endpoint{several} {', '.join(endpoints)} is not known"
    if has_key:
        fix = "run the bridge: its first pass reads prices; if it has run, set `usd_per_hour` in the route"
        return warning(id_, line, fix, subject=route)
    fix = "set `usd_per_hour` in the route, or give the bridge RUNPOD_MANAGEMENT_API_KEY"
    return failed(id_, f"{line}: under a budget, its jobs wait", fix, subject=route)

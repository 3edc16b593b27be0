"""`bridge budget`: shows what is used of the budgets, and raises one for a while."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from bridge.commands.ledger_access import NO_LEDGER, who, with_configuration
from bridge.commands.options import AsJson, ConfigPath

if TYPE_CHECKING:
    from bridge.commands.composition import Bridge
    from bridge.config.settings import Config
    from bridge.core.budget import Budget
    from bridge.core.endpoint_names import EndpointNames
    from bridge.core.scope import Scope
    from bridge.ledger import Ledger

LONGEST = 31 * 86_400.0
"""s for which a budget may be raised: what shall last belongs into the configuration."""

SHOWN = ("budget", "used", "of", "share", "resets", "why")


def budget(
    config: ConfigPath = None,
    as_json: AsJson = False,
    to: Annotated[
        float | None, typer.Option("--raise", metavar="USD", help="Let so many USD be used in a day, until --until.")
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="When the raise ends: 18:00 or 2026-12-24T18:00 (UTC). Default: 00:00 UTC."),
    ] = None,
    route: Annotated[str | None, typer.Option(help="A route whose own budget is raised.")] = None,
) -> None:
    """Show what is used of the budgets today (UTC), or raise one: the next pass goes on with the jobs that wait.

    Exit status: 0 shown or raised, 1 there is no such budget or no ledger, 2 the configuration is wrong.
    """
    if to is None and (until is not None or route is not None):
        raise typer.BadParameter("needs --raise", param_hint="--until" if until is not None else "--route")

    async def work(settings: "Config", bridge: "Bridge") -> str | list[dict[str, Any]]:
        if not bridge.ledger.is_stored:
            return NO_LEDGER
        if to is not None and (problem := await _raised(settings, bridge, to, until, route)):
            return problem
        found = await read_budgets(bridge.ledger, settings.scope, bridge.clock())
        names = settings.scope.endpoint_names
        return [_document(each) if as_json else _row(each, names) for each in found]

    found = with_configuration(config, work)
    if isinstance(found, str):
        typer.echo(f"bridge: {found}", err=True)
        raise typer.Exit(1)
    _print(found, as_json=as_json)


async def read_budgets(ledger: "Ledger", scope: "Scope", now: float) -> "tuple[Budget, ...]":
    """The budgets and what is used of them.

    Args:
        ledger: open.
        scope: what is served.
        now: Unix seconds.
    """
    from bridge.core.budget import budgets
    from bridge.core.cost import midnight
    from bridge.core.prices import with_settings

    spent, prices, raises = await ledger.read(
        lambda transaction: (
            transaction.costs.spent(midnight(now), now),
            transaction.costs.prices(),
            transaction.costs.raises(now),
        )
    )
    priced = with_settings(prices, scope.prices, now)
    return budgets(scope.usd_per_day, scope.routes, spent=spent, prices=priced, raises=raises, now=now)


async def _raised(settings: "Config", bridge: "Bridge", usd: float, until: str | None, route: str | None) -> str | None:
    """Write the raise down; what is wrong, None if nothing is."""
    from bridge.core.budget import ALL, Raise
    from bridge.core.cost import amount

    name = route or ALL
    configured = {ALL: settings.scope.usd_per_day} | {r.name: r.usd_per_day for r in settings.scope.routes}
    limit = configured.get(name)
    if limit is None:
        what = f"route {route} has no budget of its own" if route else "there is no budget"
        setting = "`usd_per_day` in its [[route]]" if route else "`usd_per_day` in [budget], or raise that of a --route"
        return f"{what}; set {setting}"
    if not limit < usd <= 1e6:
        return f"--raise: must be more than the configured {amount(limit)} USD a day, and at most 1000000"
    now = bridge.clock()
    end = _end(until, now)
    if not now < end <= now + LONGEST:
        return "--until: must be in the future, and within 31 days; set a lasting budget in the configuration"
    raised = Raise(route=name, usd=usd, until=end, by=who(), at=now)
    await bridge.ledger.transact(lambda transaction: transaction.costs.raise_budget(raised))
    return None


def _end(text: str | None, now: float) -> float:
    """Unix seconds of `--until`. A time without a date is the next one; a time without a zone is UTC."""
    from datetime import UTC, datetime, timedelta

    from bridge.core.cost import DAY, midnight

    if text is None:
        return midnight(now) + DAY
    today = datetime.fromtimestamp(now, UTC).date()
    try:
        alone = len(text) <= len("18:00:00")
        end = datetime.fromisoformat(f"{today}T{text}" if alone else text)
    except ValueError:
        raise typer.BadParameter("must be as 18:00 or 2026-12-24T18:00 (UTC)", param_hint="--until") from None
    at = (end if end.tzinfo else end.replace(tzinfo=UTC)).timestamp()
    return at + timedelta(days=1).total_seconds() if alone and at <= now else at


def _print(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    from bridge.commands.report import print_rows

    if not rows and not as_json:
        typer.echo("no budget is set; set `usd_per_day` in [budget] or in a [[route]]")
        return
    print_rows(rows, SHOWN, as_json=as_json)


def _document(each: "Budget") -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "route": each.route or None,
        "usd_per_day": each.usd,
        "configured_usd_per_day": each.configured,
        "used_usd": round(each.used, 6),
        "share": round(each.share, 6),
        "resets_at": each.resets_at,
        "raised": asdict(each.raised) if each.raised else None,
        "endpoints_without_price": sorted(each.without_price),
    }


def _row(each: "Budget", names: "EndpointNames") -> dict[str, Any]:
    from bridge.core.cost import amount
    from bridge.core.endpoint_names import named

    notes = []
    if raised := each.raised:
        notes.append(f"raised from {amount(each.configured)} USD until {_time(raised.until)} by {raised.by}")
    if each.without_price:
        notes.append(f"no price is known of {', '.join(sorted(named(id_, names) for id_ in each.without_price))}")
    return {
        "budget": each.route or "all routes",
        "used": f"{amount(each.used)} USD{' + unknown' if each.without_price else ''}",
        "of": f"{amount(each.usd)} USD",
        "share": f"{each.share:.0%}",
        "resets": _time(each.resets_at),
        "why": "; ".join(notes),
    }


def _time(at: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at, UTC).strftime("%m-%d %H:%M UTC")

"""`bridge cost`: what the requested workers cost, from the ledger."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from bridge.commands.ledger_access import NO_LEDGER, with_configuration
from bridge.commands.options import AsJson, ConfigPath
from bridge.core.cost import By

if TYPE_CHECKING:
    from bridge.commands.composition import Bridge
    from bridge.commands.pricing import Catalog
    from bridge.config.settings import Config
    from bridge.core.cost import Bill, Usage
    from bridge.core.endpoint_names import EndpointNames
    from bridge.core.prices import Prices

DAY = 86_400.0
"""Seconds."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What the command has read.

    Args:
        usages: of the period.
        prices: as known.
        since: Unix seconds, the begin of the period.
        now: Unix seconds.
        names: by RunPod id, the names of endpoints.
        catalog: None without a management key, or if it could not be read.
        bills: None if they were not asked for.
        notes: what else a person should know.
    """

    usages: "tuple[Usage, ...]"
    prices: "Prices"
    since: float
    now: float
    names: "EndpointNames"
    catalog: "Catalog | None"
    bills: "tuple[Bill, ...] | None"
    notes: tuple[str, ...]


class Shape(StrEnum):
    """How the result is printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    TRACE = "trace"


def cost(  # noqa: PLR0913, PLR0917 - each is an option of its own
    config: ConfigPath = None,
    by: Annotated[By, typer.Option(help="What to sum by.")] = By.ROUTE,
    since: Annotated[str, typer.Option(metavar="PERIOD", help="How far back: 24h, 30d or 2w.")] = "30d",
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print comma-separated values.")] = False,
    as_trace: Annotated[
        bool, typer.Option("--trace", help="Print the jobs that ran as a trace for `bridge simulate` instead.")
    ] = False,
    reconcile: Annotated[
        bool, typer.Option("--reconcile", help="Compare with RunPod's bill instead, for each endpoint and day.")
    ] = False,
) -> None:
    """Show what the workers cost: paid time, USD, jobs, and the share of the time without a job.

    Exit status: 0 shown, 1 RunPod or the ledger could not be read, 2 the configuration is wrong.
    """
    shapes = [shape for shape, given in ((Shape.JSON, as_json), (Shape.CSV, as_csv), (Shape.TRACE, as_trace)) if given]
    if len(shapes) > 1 or (as_trace and reconcile):
        raise typer.BadParameter("give one of --json, --csv, and --trace, the last without --reconcile")
    shape = shapes[0] if shapes else Shape.TABLE
    seconds = _period(since)

    async def read(settings: "Config", bridge: "Bridge") -> "Found | str":
        return await _found(settings, bridge, seconds, with_bills=reconcile)

    found = with_configuration(config, read)
    if isinstance(found, str):
        typer.echo(f"bridge: {found}", err=True)
        raise typer.Exit(1)
    _show(found, by, shape)


def _show(found: Found, by: By, shape: Shape) -> None:
    from bridge.commands.cost_report import show, show_comparison, show_trace
    from bridge.telemetry import plain

    if shape is Shape.TRACE:
        show_trace(found)
    elif found.bills is not None:
        show_comparison(found, found.bills, shape)
    else:
        show(found, by, shape)
    for note in found.notes:
        typer.echo(f"bridge: {plain(note)}", err=True)


def _period(text: str) -> float:
    """Seconds of a period such as `30d`."""
    units = {"h": 3600.0, "d": DAY, "w": 7 * DAY}
    number, unit = text[:-1], text[-1:]
    if unit not in units or not (number.isascii() and number.isdecimal()) or not 0 < int(number) <= 10_000:
        raise typer.BadParameter("must be a number with h, d or w, such as 24h, 30d or 2w", param_hint="--since")
    return int(number) * units[unit]


async def _found(settings: "Config", bridge: "Bridge", seconds: float, *, with_bills: bool) -> "Found | str":
    """What is to be shown, or why nothing can be."""
    import math

    from bridge.commands.pricing import keep_settings
    from bridge.core.cost import midnight

    if not bridge.ledger.is_stored:
        return NO_LEDGER
    if with_bills and settings.management_api_key is None:
        return "RUNPOD_MANAGEMENT_API_KEY: missing; --reconcile needs it to read RunPod's bill"
    now = bridge.clock()
    days = math.ceil(seconds / DAY)
    since = midnight(now) - (days - 1) * DAY if with_bills else now - seconds
    await keep_settings(bridge.ledger, settings.scope, now)
    usages, born = await bridge.ledger.read(lambda transaction: (transaction.costs.usages(since), transaction.born()))
    catalog, bills, problems = await _of_runpod(settings, bridge, usages, now, days if with_bills else None)
    return Found(
        usages=usages,
        prices=await bridge.ledger.read(lambda transaction: transaction.costs.prices()),
        since=since,
        now=now,
        names=settings.scope.endpoint_names,
        catalog=catalog,
        bills=bills,
        notes=(*problems, *_notes(settings, since, now, born)),
    )


async def _of_runpod(
    settings: "Config", bridge: "Bridge", usages: "Sequence[Usage]", now: float, days: int | None
) -> "tuple[Catalog | None, tuple[Bill, ...] | None, list[str]]":
    """The catalog, and the bill of so many days; an unreadable catalog is a problem to show, an unreadable bill raises.

    Raises:
        BridgeError: the bill could not be read.
    """
    from bridge.commands.management import management
    from bridge.commands.pricing import keep_catalog, read_catalog
    from bridge.core.scope import endpoints_of
    from bridge.errors import BridgeError

    if settings.management_api_key is None:
        return None, None, []
    key, url = settings.management_api_key, settings.management_url
    endpoints = endpoints_of(settings.scope.routes) | {usage.endpoint for usage in usages}
    async with management(api_key=key, url=url, key_setting="RUNPOD_MANAGEMENT_API_KEY") as client:
        bills = None if days is None else await client.billed(days)
        try:
            catalog = await read_catalog(client, endpoints)
        except BridgeError as error:
            return None, bills, [f"the prices are those that the ledger has: {error}"]
    await keep_catalog(bridge.ledger, settings.scope, catalog, now)
    return catalog, bills, []


def _notes(settings: "Config", since: float, now: float, born: float) -> list[str]:
    """That a part of the period has been deleted, if so. `born` is when the ledger was made, in Unix seconds."""
    kept = settings.scope.retention
    if max(since, born) >= now - kept:
        return []
    return [f"the ledger keeps {kept / DAY:g} days of what has ended (BRIDGE_RETENTION_DAYS); older costs are missing"]

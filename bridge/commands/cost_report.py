"""What `bridge cost` prints: a table for people, JSON or CSV for programs."""

import csv
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import typer

from bridge.commands.cost import Found, Shape
from bridge.core.cost import Bill, By, Comparison, Summary, day_of, reconcile, summarise, total
from bridge.core.economy import advise
from bridge.core.endpoint_names import with_id
from bridge.core.steps import span
from bridge.telemetry import mask, plain

if TYPE_CHECKING:
    from rich.table import Table

UNKNOWN = "unknown"
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet runs a cell that begins with one of these: https://owasp.org/www-community/attacks/CSV_Injection"""


def show(found: Found, by: By, shape: Shape) -> None:
    """Print the costs of a period."""
    rows = [_named(row, by, found) for row in summarise(found.usages, found.prices, by, found.now, found.since)]
    whole = total(found.usages, found.prices, found.now, found.since)
    advice = list(advise(found.usages, found.catalog.settings, found.catalog.offers)) if found.catalog else []
    if shape is Shape.CSV:
        _print_csv([_row(row) for row in rows], tuple(_row(whole)))
    elif shape is Shape.JSON:
        told = {"rows": [_row(row) for row in rows], "total": _row(whole), "advice": advice, "notes": found.notes}
        _print_json({**_period(found), "by": by, **told})
    else:
        nothing = f"no runner was paid for since {day_of(found.since)} (UTC); `bridge jobs` shows what waits"
        _print_table(_table(by, rows, whole), rows, nothing)
        for line in advice:
            typer.echo(plain(f"advice: {line}"))


def show_trace(found: Found) -> None:
    """Print the jobs that ran, as `bridge simulate` reads them: when each was requested, its route, how long it ran."""
    ran = [each for each in found.usages if each.took_job and each.job is not None]
    jobs = sorted((round(each.created_at, 3), each.route, round(each.job or 0.0, 3)) for each in ran)
    columns = ("arrival", "route", "duration")
    _print_csv([dict(zip(columns, job, strict=True)) for job in jobs], columns)


def show_comparison(found: Found, bills: Sequence[Bill], shape: Shape) -> None:
    """Print the estimates beside RunPod's bill."""
    rows = reconcile(found.usages, found.prices, bills, found.now, found.since)
    named = [replace(row, endpoint=with_id(row.endpoint, found.names)) for row in rows]
    if shape is Shape.CSV:
        _print_csv([_compared(row) for row in named], tuple(_compared(_NOTHING)))
    elif shape is Shape.JSON:
        _print_json({**_period(found), "rows": [_compared(row) for row in named], "notes": found.notes})
    else:
        nothing = f"neither the ledger nor RunPod's bill has costs since {day_of(found.since)} (UTC)"
        _print_table(_comparison_table(named), named, f"{nothing}; --since looks further back")


_NOTHING = Comparison(endpoint="", day="", estimated=0.0, billed=0.0, other=0.0)


def _named(row: Summary, by: By, found: Found) -> Summary:
    return replace(row, key=with_id(row.key, found.names)) if by is By.ENDPOINT else row


def _period(found: Found) -> dict[str, Any]:
    return {"since": found.since, "until": found.now}


def _row(row: Summary) -> dict[str, Any]:
    """For programs. An amount that is not known is null."""
    return {
        "key": row.key,
        "seconds_paid": round(row.seconds, 3),
        "usd": _rounded(row.usd),
        "usd_of_known_prices": _rounded(row.known_usd),
        "seconds_without_price": round(row.seconds_without_price, 3),
        "jobs": row.jobs,
        "usd_per_job": _rounded(row.usd_per_job),
        "share_without_job": _rounded(row.share_without_job),
    }


def _compared(row: Comparison) -> dict[str, Any]:
    return {
        "endpoint": row.endpoint,
        "day": row.day,
        "usd_estimated": _rounded(row.estimated),
        "usd_billed": _rounded(row.billed),
        "usd_difference": _rounded(row.difference),
        "usd_disk_and_fees": _rounded(row.other),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def _table(by: By, rows: Iterable[Summary], whole: Summary) -> "Table":
    from rich.table import Table

    table = Table(show_footer=True)
    table.add_column(by.value, overflow="fold", footer="total")
    for name, cell in zip(("paid", "USD", "jobs", "USD/job", "no job"), _cells(whole), strict=True):
        table.add_column(name, justify="right", no_wrap=True, footer=cell)
    for row in rows:
        table.add_row(_text(row.key), *_cells(row))
    return table


def _cells(row: Summary) -> tuple[str, ...]:
    share = row.share_without_job
    return (
        span(row.seconds),
        _usd(row),
        str(row.jobs),
        "-" if not row.jobs else UNKNOWN if row.usd_per_job is None else _money(row.usd_per_job),
        "-" if share is None else f"{share:.0%}",
    )


def _usd(row: Summary) -> str:
    if row.usd is not None:
        return _money(row.usd)
    return f"{_money(row.known_usd)} + {UNKNOWN}" if row.known_usd else UNKNOWN


def _money(usd: float) -> str:
    """Two digits after the point, and four below a dollar."""
    return f"{usd:,.2f}" if abs(usd) >= 1 else f"{usd:.4f}"


def _comparison_table(rows: Iterable[Comparison]) -> "Table":
    from rich.table import Table

    table = Table()
    for name in ("endpoint", "day (UTC)"):
        table.add_column(name, overflow="fold")
    for name in ("estimate", "bill", "difference", "disk, fees"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        amounts = (row.estimated, row.billed, row.difference, row.other)
        table.add_row(_text(row.endpoint), row.day, *(UNKNOWN if usd is None else _money(usd) for usd in amounts))
    return table


def _text(value: str) -> Any:
    """A cell whose brackets are not markup: names come from repositories and workers."""
    from rich.text import Text

    return Text(plain(value))


def _print_table(table: "Table", rows: Sequence[object], nothing: str) -> None:
    from rich.console import Console

    if rows:
        Console().print(table)
    else:
        typer.echo(nothing)


def _print_json(document: dict[str, Any]) -> None:
    typer.echo(json.dumps(mask(document)))


def _print_csv(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> None:
    writer = csv.DictWriter(sys.stdout, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _cell(value) for name, value in row.items()})


def _cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = plain(value)
    return f"'{text}" if text.startswith(FORMULA) else text

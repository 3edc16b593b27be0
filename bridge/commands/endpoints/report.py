"""`bridge endpoints plan` for its reader: one JSON document, or text."""

from collections.abc import Iterator
from typing import Any

from bridge.commands.endpoints.work import Comparison
from bridge.core.catalog import Stock, price_per_hour
from bridge.core.endpoints import Action, PlannedEndpoint, QuotaFit
from bridge.telemetry import plain

SIGNS = {Action.CREATE: "+", Action.UPDATE: "~", Action.UNCHANGED: "=", Action.BLOCKED: "!"}


def document(found: Comparison) -> dict[str, Any]:
    """The comparison as a JSON object. Prices are USD per hour."""
    return {
        "endpoints": [_endpoint(each, found.stocks[each.wanted.name]) for each in found.planned],
        "quota": {"limit": found.quota.limit, "before": found.quota.before, "after": found.quota.after},
        "not_in_configuration": dict(found.forgotten),
        "notes": list(found.notes),
        "problems": list(found.problems),
    }


def _endpoint(each: PlannedEndpoint, stocks: tuple[Stock, ...]) -> dict[str, Any]:
    price, wanted = price_per_hour(stocks), each.wanted
    return {
        "name": wanted.name,
        "id": each.id,
        "action": each.action,
        "problem": each.problem,
        "changes": [{"setting": c.setting, "before": c.before, "after": c.after, "note": c.note} for c in each.changes],
        "workers_min": wanted.workers_min,
        "workers_max": wanted.workers_max,
        "price_per_worker_hour": list(price) if price else None,
        "stock": [{"pool": s.pool, "level": s.level, "regions": dict(s.regions)} for s in stocks],
    }


def show(found: Comparison) -> None:
    """Print the comparison for a person, without its problems."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    for each in found.planned:
        for line in _lines(each, found.stocks[each.wanted.name]):
            console.print(plain(line), markup=False)
    for name, id_ in found.forgotten.items():
        line = f"? {name} ({id_}): not in bridge.toml any more; `bridge endpoints delete {name}` deletes it"
        console.print(plain(line), markup=False)
    for line in (_summary(found), _quota(found.quota), *(f"note: {note}" for note in found.notes)):
        console.print(plain(line), markup=False)


def _lines(each: PlannedEndpoint, stocks: tuple[Stock, ...]) -> Iterator[str]:
    where = f" ({each.id})" if each.id else ""
    yield f"{SIGNS[each.action]} {each.wanted.name}{where}: {each.action}"
    for change in each.changes:
        note = f"  [{change.note}]" if change.note else ""
        yield f"    {change.setting}: {change.before} -> {change.after}{note}"
    yield f"    price: {_price(each, stocks)}"
    for stock in stocks:
        regions = ", ".join(f"{region} {level}" for region, level in stock.regions.items())
        yield f"    stock: {stock.pool} {stock.level}{f' ({regions})' if regions else ''}"


def _price(each: PlannedEndpoint, stocks: tuple[Stock, ...]) -> str:
    price = price_per_hour(stocks)
    if price is None:
        return "unknown"
    low, high = price
    wanted, most = each.wanted, f"at most {_dollars(high * each.wanted.workers_max)} for {each.wanted.workers_max}"
    always = f", {_dollars(low * wanted.workers_min)} always for `workers_min`" if wanted.workers_min else ""
    worker = _dollars(low) if low == high else f"{_dollars(low)} to {_dollars(high)}"
    return f"{worker} per worker and hour, {most}{always}"


def _dollars(amount: float) -> str:
    return f"${amount:.2f}"


def _summary(found: Comparison) -> str:
    counts = {action: sum(each.action is action for each in found.planned) for action in Action}
    parts = [f"{count} {_PLURAL[action]}" for action, count in counts.items() if count]
    return ", ".join(parts) or "no endpoints in bridge.toml"


_PLURAL = {
    Action.CREATE: "to create",
    Action.UPDATE: "to update",
    Action.UNCHANGED: "unchanged",
    Action.BLOCKED: "blocked",
}


def _quota(quota: QuotaFit) -> str:
    limit = "RunPod did not report the quota" if quota.limit is None else f"quota {quota.limit}"
    return f"workers of all endpoints of the account: {quota.before} now, {quota.after} after apply; {limit}"

"""Readings of GitHub and RunPod <-> rows of the table `readings`, whose values are JSON."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from enum import StrEnum
from typing import Any, NamedTuple

from bridge.core.model import EndpointHealth, Runner
from bridge.core.readings import Place, Readings, Timed
from bridge.core.repositories import Names
from bridge.core.reviews import RunRead, WaitingRuns
from bridge.core.snapshot import Refusal


class ReadingKind(StrEnum):
    """The column `kind`. Where a kind has several readings, `key` tells them apart; else it is empty."""

    RUNNERS = "runners"  # key: a registration target
    HEALTH = "health"  # key: an endpoint id
    REFUSAL = "refusal"  # key: of bridge.core.refusals
    NAMES = "names"
    SCAN = "scan"
    RESCAN = "rescan"
    WAITING = "waiting"
    DELIVERIES = "deliveries"
    MISSING = "missing"
    RESUMED = "resumed"


class _Codec(NamedTuple):
    """One kind: its field in `Readings`, and how its value becomes JSON and back."""

    field: str
    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]


Decoded = dict[tuple[str, str], tuple[str, Any]]
"""By kind and key, the JSON and what it says."""


def decoded(rows: Iterable[tuple[Any, ...]], before: Decoded) -> tuple[Readings, Decoded]:
    """The readings that rows of `kind`, `key`, `at` and `value` (JSON) hold.

    Args:
        rows: all of the table.
        before: what was decoded the last time. Most rows are the same at each pass, and one may list 1,000 runners.
    """
    now: Decoded = {}
    found: dict[str, dict[str, Timed[Any]]] = defaultdict(dict)
    for kind, key, at, text in rows:
        known, codec = before.get((kind, key)), _CODECS[ReadingKind(kind)]
        now[kind, key] = known if known and known[0] == text else (text, codec.decode(json.loads(text)))
        found[codec.field][key] = Timed(at, now[kind, key][1])
    fields: dict[str, Any] = {name: read if name in _KEYED else read[""] for name, read in found.items()}
    return Readings(**fields), now


def rows_of(readings: Readings) -> Iterator[dict[str, Any]]:
    """Rows for all that was read."""
    for kind, codec in _CODECS.items():
        found = getattr(readings, codec.field)
        keyed = found if codec.field in _KEYED else {"": found} if found else {}
        for key, (at, value) in keyed.items():
            yield {"kind": kind, "key": key, "at": at, "value": codec.encode(value)}


def _runners_json(runners: Iterable[Runner]) -> list[dict[str, Any]]:
    return [asdict(runner) for runner in runners]


def _runners(value: Iterable[Mapping[str, Any]]) -> tuple[Runner, ...]:
    return tuple(Runner(**{**each, "labels": tuple(each["labels"])}) for each in value)


def _health(value: Mapping[str, Any]) -> EndpointHealth:
    return EndpointHealth(**value)


def _refusal_json(refusal: Refusal | None) -> dict[str, Any] | None:
    return asdict(refusal) if refusal else None


def _refusal(value: Mapping[str, Any] | None) -> Refusal | None:
    return Refusal(**value) if value else None


def _names_json(names: Names) -> dict[str, Any]:
    current = {str(key): name for key, name in names.current.items()}
    return {"ids": dict(names.ids), "current": current, "gone": sorted(names.gone), "asked_at": names.asked_at}


def _names(value: Mapping[str, Any]) -> Names:
    current = {int(key): name for key, name in value["current"].items()}
    return Names(ids=value["ids"], current=current, gone=frozenset(value["gone"]), asked_at=value["asked_at"])


def _waiting_json(waiting: WaitingRuns) -> dict[str, Any]:
    runs = {str(run_id): [read.at, read.updated_at] for run_id, read in waiting.read.items()}
    return {"next": waiting.next_at, "runs": runs}


def _waiting(value: Mapping[str, Any]) -> WaitingRuns:
    runs = value["runs"].items()
    return WaitingRuns(
        next_at=value["next"], read={int(key): RunRead(at=at, updated_at=updated) for key, (at, updated) in runs}
    )


def _place_json(place: Place) -> dict[str, Any]:
    return {"until": place.until, "tries": {str(key): tries for key, tries in place.tries.items()}}


def _place(value: Mapping[str, Any]) -> Place:
    return Place(until=value["until"], tries={int(key): tries for key, tries in value["tries"].items()})


def _nothing(_value: object) -> None:
    return None


_CODECS = {
    ReadingKind.RUNNERS: _Codec("runners", _runners_json, _runners),
    ReadingKind.HEALTH: _Codec("health", asdict, _health),
    ReadingKind.REFUSAL: _Codec("refusals", _refusal_json, _refusal),
    ReadingKind.NAMES: _Codec("names", _names_json, _names),
    ReadingKind.SCAN: _Codec("full_scan", _nothing, _nothing),
    ReadingKind.RESCAN: _Codec("unread", sorted, frozenset),
    ReadingKind.WAITING: _Codec("waiting", _waiting_json, _waiting),
    ReadingKind.DELIVERIES: _Codec("place", _place_json, _place),
    ReadingKind.MISSING: _Codec("missing", dict, dict),
    ReadingKind.RESUMED: _Codec("resumed", _nothing, _nothing),
}
_KEYED = frozenset({"runners", "health", "refusals"})

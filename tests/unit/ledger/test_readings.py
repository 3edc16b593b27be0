"""The ledger keeps what was read of GitHub and RunPod for all dispatchers, and reads what earlier bridges wrote."""

import asyncio
import json
from collections.abc import Iterator
from functools import partial

import pytest
import sqlalchemy as sa

from bridge.core.model import EndpointHealth
from bridge.core.readings import Place, Readings, Timed
from bridge.core.repositories import Names
from bridge.core.reviews import RunRead, WaitingRuns
from bridge.core.snapshot import Refusal
from bridge.ledger import Ledger, Transaction
from bridge.ledger.database import connect
from tests.support.values import NOW, ORG, a_runner

REFUSAL = Refusal(at=NOW, until=NOW + 60, count=1, why="RunPod: POST /ep-1/run: 404")
ALL = Readings(
    runners={ORG: Timed(NOW, (a_runner("runpod-1-1"),)), "repos/acme/web": Timed(NOW, ())},
    health={"ep-1": Timed(NOW, EndpointHealth(in_queue=1, workers={"idle": 2}))},
    refusals={"endpoint ep-1": Timed(NOW, REFUSAL), "orgs/acme": Timed(NOW, None)},
    names=Timed(NOW, Names(ids={"acme/web": 7}, current={7: "acme/Site"}, gone=frozenset({"acme/x"}), asked_at=NOW)),
    full_scan=Timed(NOW, None),
    unread=Timed(NOW, frozenset({"acme/docs"})),
    waiting=Timed(NOW, WaitingRuns(next_at=NOW + 300, read={5: RunRead(at=NOW, updated_at=NOW - 9)})),
    place=Timed(NOW, Place(until=NOW - 3, tries={11: 2})),
    missing=Timed(NOW, {"abc": NOW - 20}),
    resumed=Timed(NOW, None),
)
"""One reading of each kind."""

STORED = {
    ("runners", ORG): [{"id": 1, "name": "runpod-1-1", "online": True, "busy": False, "labels": ["runpod"]}],
    ("health", "ep-1"): {"in_queue": 1, "in_progress": 0, "workers": {"idle": 2}},
    ("refusal", "endpoint ep-1"): {"at": NOW, "until": NOW + 60, "count": 1, "why": "RunPod: POST /ep-1/run: 404"},
    ("refusal", "orgs/acme"): None,
    ("names", ""): {"ids": {"acme/web": 7}, "current": {"7": "acme/Site"}, "gone": ["acme/x"], "asked_at": NOW},
    ("scan", ""): None,
    ("rescan", ""): ["acme/docs"],
    ("waiting", ""): {"next": NOW + 300, "runs": {"5": [NOW, NOW - 9]}},
    ("deliveries", ""): {"until": NOW - 3, "tries": {"11": 2}},
    ("missing", ""): {"abc": NOW - 20},
    ("resumed", ""): None,
}
"""What an earlier bridge has stored, by kind and key."""


@pytest.fixture
def ledger(database_url: str) -> Iterator[Ledger]:
    opened = Ledger.open(database_url)
    yield opened
    opened.close()


def _note(read: Readings, transaction: Transaction) -> None:
    transaction.note(read)


def kept(ledger: Ledger, *written: Readings) -> Readings:
    """What the ledger has after each of these was written."""
    for read in written:
        asyncio.run(ledger.transact(partial(_note, read)))
    return asyncio.run(ledger.read(lambda transaction: transaction.readings()))


def test_readings_are_read_back_as_they_were_written(ledger: Ledger) -> None:
    assert kept(ledger, ALL) == ALL


def test_what_was_not_read_again_stays_and_what_was_read_earlier_changes_nothing(ledger: Ledger) -> None:
    newer = Readings(health={"ep-1": Timed(NOW + 1, EndpointHealth())}, missing=Timed(NOW - 1, {}))
    found = kept(ledger, ALL, newer)
    assert found.health == newer.health
    assert found.missing == ALL.missing
    assert found.runners == ALL.runners


def test_readings_of_an_earlier_bridge_are_understood(database_url: str, ledger: Ledger) -> None:
    engine = connect(database_url)
    insert = sa.text("INSERT INTO readings (kind, key, at, value) VALUES (:kind, :key, :at, :value)")
    with engine.begin() as connection:
        for (kind, key), value in STORED.items():
            connection.execute(insert, {"kind": kind, "key": key, "at": NOW, "value": json.dumps(value)})
    engine.dispose()
    found = kept(ledger)
    assert found.runners[ORG].value[0].labels == ("runpod",)
    assert {name: getattr(found, name) for name in found.__slots__ if name != "runners"} == {
        name: getattr(ALL, name) for name in ALL.__slots__ if name != "runners"
    }


def test_a_reading_that_has_not_changed_is_not_decoded_again(ledger: Ledger) -> None:
    """A target may list 1,000 runners, and passes follow each other closely."""
    assert kept(ledger, ALL).runners[ORG].value is kept(ledger).runners[ORG].value

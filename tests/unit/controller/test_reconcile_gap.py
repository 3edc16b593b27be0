"""A ledger that was made, lost or restored does not know what happened in the gap."""

from bridge.controller.observe import STALE
from bridge.controller.reconcile import _after_gap
from bridge.core.snapshot import Reading, ReadingKind
from tests.support.values import NOW, ORG


def looked(at: float) -> Reading:
    return Reading(kind=ReadingKind.RUNNERS, key=ORG, at=at, value=[])


def test_the_first_look_after_a_gap_is_noted_and_none_after_it() -> None:
    resumed = [Reading(kind=ReadingKind.RESUMED, key="", at=NOW, value=None)]
    assert _after_gap([], NOW, STALE) == resumed
    assert _after_gap([looked(NOW - STALE - 1)], NOW, STALE) == resumed
    assert _after_gap([looked(NOW - STALE - 1), looked(NOW - 30)], NOW, STALE) == []

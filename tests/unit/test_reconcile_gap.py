"""A ledger that was made, lost or restored does not know what happened in the gap."""

from bridge.decision import Look, LookKind
from bridge.reconcile import STALE, _after_gap
from tests.values import NOW, ORG


def looked(at: float) -> Look:
    return Look(kind=LookKind.RUNNERS, key=ORG, at=at, value=[])


def test_the_first_look_after_a_gap_is_noted_and_none_after_it() -> None:
    resumed = [Look(kind=LookKind.RESUMED, key="", at=NOW, value=None)]
    assert _after_gap([], NOW, STALE) == resumed
    assert _after_gap([looked(NOW - STALE - 1)], NOW, STALE) == resumed
    assert _after_gap([looked(NOW - STALE - 1), looked(NOW - 30)], NOW, STALE) == []

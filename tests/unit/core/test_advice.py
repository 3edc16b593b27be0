"""Every kind of reason why a job waits comes with what to do, or says it itself."""

import pytest

from bridge.core.actions import SkipKind
from bridge.core.advice import ADVICE


def test_every_kind_of_reason_has_its_advice() -> None:
    assert set(ADVICE) == set(SkipKind)


@pytest.mark.parametrize("kind", [SkipKind.COMMA, SkipKind.GENERIC, SkipKind.GIVEN_UP, SkipKind.UNHEALTHY])
def test_a_reason_that_says_what_to_do_needs_no_more(kind: SkipKind) -> None:
    assert not ADVICE[kind]


def test_advice_is_one_part_of_a_sentence() -> None:
    for kind, todo in ADVICE.items():
        assert not todo.endswith((".", ";")), kind
        assert "\n" not in todo, kind
        assert todo == todo.strip(), kind

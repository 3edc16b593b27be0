"""Values that reach the ledger can be stored in every database."""

import pytest

from bridge.core.model import storable


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("a \N{GREEK SMALL LETTER ALPHA}", "a \N{GREEK SMALL LETTER ALPHA}"),
        ("a NUL \0", "a NUL \N{REPLACEMENT CHARACTER}"),
        ("half \ud83d a pair", "half ? a pair"),
        (7, "7"),
    ],
)
def test_what_a_database_cannot_store_is_replaced_and_other_texts_stay(text: object, stored: str) -> None:
    assert storable(text) == stored

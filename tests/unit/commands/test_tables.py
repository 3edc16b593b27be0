"""Tables fit the terminal: no word is broken, and what a person copies is whole."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from bridge.commands.listing import Listing, _Changes
from bridge.commands.tables import BELOW, LEAST, lines
from bridge.errors import Unavailable

SHOWN = ("id", "status", "name", "why")
WHY = "its repository is public, and route gpu does not set allow_public_repositories"


def test_each_row_has_a_line_and_its_sentence_below() -> None:
    rows: list[dict[str, Any]] = [
        {"id": 12345678901, "status": "queued", "name": None, "why": WHY},
        dict.fromkeys(SHOWN, ""),
    ]
    assert lines(rows, SHOWN, 60) == [
        "id           status  name",
        "12345678901  queued  -",
        "    its repository is public, and route gpu does not set",
        "    allow_public_repositories",
        "-            -       -",
    ]


def test_names_of_endpoints_stand_below_endpoints() -> None:
    assert lines([{"endpoint_names": ["l4", "ep-2"]}], ("endpoint_names",), 60) == ["endpoints", "l4, ep-2"]


@pytest.mark.parametrize("width", [60, 80])
def test_long_names_are_shortened_and_ids_are_not(width: int) -> None:
    row = {"id": 12345678901, "status": "in_progress", "name": "n" * 200, "why": f"{'w' * 300} {WHY}"}
    found = lines([row], SHOWN, width)
    assert max(map(len, found)) == width
    assert "12345678901" in found[1]
    assert found[1].endswith("n…")


def test_an_id_is_whole_even_if_it_does_not_fit() -> None:
    name = "bridge" * 12
    (_, line) = lines([{"runner": name, "route": "a-long-route"}], ("runner", "route"), 60)
    assert line == f"{name}  {'a-long-route'[: LEAST - 1]}…"


def test_names_of_others_neither_control_the_terminal_nor_move_the_columns() -> None:
    rows: list[dict[str, Any]] = [
        {"id": 1, "status": "\x1b[2J[red]", "name": "東京" * 30, "why": "a\nb"},
        dict.fromkeys(SHOWN, "x"),
    ]
    found = lines(rows, SHOWN, 60)
    assert "\x1b" not in "".join(found)
    assert all(cell_len(line) <= 60 for line in found)
    assert found[2] == "    a�b"
    places = {cell_len(line[: line.index(mark)]) for line, mark in ((found[0], "name"), (found[1], "東"))}
    assert len(places) == 1


@given(st.lists(st.text(max_size=80), min_size=3, max_size=3), st.integers(40, 120))
def test_no_line_is_wider_than_the_terminal(texts: list[str], width: int) -> None:
    row = dict(zip(("status", "name", "why"), texts, strict=True))
    assert all(cell_len(line) <= width for line in lines([{"id": 1, **row}], SHOWN, width))
    assert BELOW == ("why",)


def test_ages_are_told_from_now() -> None:
    assert lines([{"since": time.time() - 5}], ("since",), 80)[1] == "5 s ago"


# --- watching ---


async def _none(_: object) -> list[dict[str, object]]:
    return []


def test_a_countdown_alone_is_no_change_and_an_error_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    screen = _Changes(Listing(read=_none, shown=("id", "why"), wanted={}, nothing=""), Console(width=60))
    for why in ("next try in 50 s", "next try in 48 s", "runner a is busy"):
        screen.show([{"id": 1, "why": why}])
    for _ in range(3):
        screen.fail(Unavailable("the ledger could not be read"))
    screen.show([{"id": 1, "why": "runner a is busy"}])
    screen.fail(Unavailable("the ledger could not be read"))
    shown = capsys.readouterr()
    assert shown.out == "id\n1\n    next try in 50 s\nid\n1\n    runner a is busy\n"
    assert shown.err == "bridge: the ledger could not be read\n" * 2

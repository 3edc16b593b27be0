"""Tables for a terminal of any width: no word is broken, and what a person copies is whole."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

COPIED = ("id", "runner", "endpoint", "request_id")
"""Columns that a person copies: they are never shortened."""

HEADINGS = {"endpoint_names": "endpoints"}
"""Headings of columns that have another name in JSON."""

BELOW = ("why",)
"""Columns of sentences: each has lines of its own below its row."""

LEAST = 6
"""Characters that other columns keep if the terminal is narrow."""

GAP, INDENT = "  ", "    "


def lines(rows: Sequence[Mapping[str, Any]], shown: Sequence[str], width: int) -> list[str]:
    """A table as lines: a heading, and for each row one line and its sentences.

    Args:
        rows: values by column.
        shown: the columns, in this order.
        width: of the terminal, in characters. Only a column of COPIED may make a line longer.
    """
    columns = [name for name in shown if name not in BELOW]
    cells = [[_cell(name, row[name]) for name in columns] for row in rows]
    headings = [HEADINGS.get(name, name) for name in columns]
    widths = _widths(columns, [headings, *cells], width)
    found = [_line(headings, widths)]
    for row, values in zip(rows, cells, strict=True):
        found.append(_line(values, widths))
        for name in (name for name in shown if name in BELOW):
            found += _sentence(_cell(name, row[name]), width)
    return found


def _cell(name: str, value: Any) -> str:
    from bridge.telemetry import plain

    if name == "since" and value is not None:
        return f"{max(0.0, time.time() - value):.0f} s ago"
    if isinstance(value, list | tuple):
        value = ", ".join(map(str, value))
    return "-" if value in (None, "") else plain(value)


def _widths(columns: Sequence[str], cells: Sequence[Sequence[str]], width: int) -> list[int]:
    """The width of each column: of its longest text, or less for long names if the terminal is narrow."""
    from rich.cells import cell_len

    found = [max(cell_len(row[place]) for row in cells) for place in range(len(columns))]
    shrinking = [place for place, name in enumerate(columns) if name not in COPIED]
    while sum(found) + len(GAP) * (len(found) - 1) > width:
        widest = max(shrinking, key=lambda place: found[place], default=None)
        if widest is None or found[widest] <= LEAST:
            break
        found[widest] -= 1
    return found


def _line(values: Sequence[str], widths: Sequence[int]) -> str:
    return GAP.join(map(_fitted, values, widths)).rstrip()


def _fitted(text: str, width: int) -> str:
    """A text in so many cells of the terminal, with an ellipsis if it is shortened. Some characters fill two cells."""
    from rich.cells import cell_len, set_cell_size

    return set_cell_size(text, width) if cell_len(text) <= width else f"{set_cell_size(text, width - 1)}…"


def _sentence(text: str, width: int) -> list[str]:
    """A text as indented lines, broken between words."""
    from rich.cells import cell_len

    room = width - len(INDENT)
    found: list[str] = []
    for word in text.split() if text != "-" else ():
        fitted = word if cell_len(word) <= room else _fitted(word, room)  # a label may have 256 characters
        if found and cell_len(found[-1]) + 1 + cell_len(fitted) <= room:
            found[-1] += f" {fitted}"
        else:
            found.append(fitted)
    return [f"{INDENT}{line}" for line in found]

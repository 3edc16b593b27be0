"""What the lists share: filters, one table or JSON document, or a table that is shown anew until Ctrl-C."""

import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bridge.commands.ledger_access import NO_LEDGER, with_ledger
from bridge.errors import BridgeError, Unavailable

if TYPE_CHECKING:
    from rich.console import Console

    from bridge.commands.composition import Bridge

Rows = list[dict[str, Any]]

EVERY = 2.0
"""s between two readings of a list that is watched."""

NO_ROUTE = "no route is configured; add a [[route]] to bridge.toml"

_COUNTDOWN = re.compile(r"\d+ (s|min|h)\b")

Watch = Annotated[bool, typer.Option("--watch", "-w", help="Show it anew every 2 s, until Ctrl-C.")]


@dataclass(frozen=True, kw_only=True)
class Listing:
    """One list.

    Args:
        read: reads its rows from the ledger.
        shown: the columns of the table.
        wanted: by column, which is also the option's name, the value that a row must have; None for any.
        nothing: what is printed instead of a table without rows: what is empty, and what to do.
        as_json: print JSON instead of a table.
    """

    read: "Callable[[Bridge], Awaitable[Rows]]"
    shown: Sequence[str]
    wanted: dict[str, str | None]
    nothing: str
    as_json: bool = False

    def of(self, bridge: "Bridge") -> "Listing":
        """This list, which knows why it may be empty: there is no ledger, or the options leave every row out."""
        options = " ".join(f"--{name} {value}" for name, value in self.wanted.items() if value is not None)
        if not bridge.ledger.is_stored:
            return replace(self, nothing=NO_LEDGER)
        return replace(self, nothing=f"nothing matches {options}; leave out options to list more") if options else self

    async def rows(self, bridge: "Bridge") -> Rows:
        """The wanted rows."""
        return matching(await self.read(bridge), **self.wanted)

    def text(self, rows: Rows, width: int) -> str:
        """The rows as text."""
        from bridge.commands.report import text_of
        from bridge.telemetry import plain

        if not rows and not self.as_json:
            return plain(self.nothing)
        return text_of(rows, self.shown, width, as_json=self.as_json)


def matching(rows: Iterable[dict[str, Any]], **wanted: str | None) -> Rows:
    """The rows whose columns have the wanted values, in upper or lower case; None for any value."""
    columns = {name: value.lower() for name, value in wanted.items() if value is not None}
    return [row for row in rows if all(str(row[name]).lower() == value for name, value in columns.items())]


def show(config: Path | None, listing: Listing, *, watch: bool) -> None:
    """Print a list once, or until Ctrl-C: on a terminal in place, else each time that it has changed.

    Args:
        config: path of bridge.toml.
        listing: what is listed.
        watch: until Ctrl-C.

    Raises:
        typer.Exit: an error, as of `with_ledger`.
    """
    if watch:
        with_ledger(config, lambda bridge: _watch(bridge, listing.of(bridge)))
    else:
        typer.echo(with_ledger(config, lambda bridge: _read_once(bridge, listing.of(bridge))))


async def _read_once(bridge: "Bridge", listing: Listing) -> str:
    from rich.console import Console

    return listing.text(await listing.rows(bridge), Console().width)


async def _watch(bridge: "Bridge", listing: Listing) -> None:
    from rich.console import Console

    from bridge.commands.signals import is_set_within, stop_event

    stop, console = stop_event(), Console()
    screen = _InPlace(listing, console) if console.is_terminal and not listing.as_json else _Changes(listing, console)
    with screen:
        while not stop.is_set():
            try:
                screen.show(await listing.rows(bridge))
            except Unavailable as error:  # the database may be back at the next reading
                screen.fail(error)
            await is_set_within(EVERY, stop)


class _Changes:
    """Prints a list each time that it has changed. A countdown alone is no change."""

    def __init__(self, listing: Listing, console: "Console") -> None:
        self._listing, self._console = listing, console
        self._before: list[dict[str, Any]] | None = None
        self._failed = ""

    def __enter__(self) -> "_Changes":
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is left to do."""

    def show(self, rows: Rows) -> None:
        """Print the rows, unless they are those of the last time."""
        lasting = [{**row, "why": _COUNTDOWN.sub("", str(row.get("why")))} for row in rows]
        if lasting != self._before:
            typer.echo(self._listing.text(rows, self._console.width))
        self._before, self._failed = lasting, ""

    def fail(self, error: BridgeError) -> None:
        """Print an error once."""
        if str(error) != self._failed:
            _error(error)
        self._failed = str(error)


class _InPlace:
    """Shows a list at the same place of a terminal."""

    def __init__(self, listing: Listing, console: "Console") -> None:
        self._listing, self._console = listing, console
        self._text = ""

    def __enter__(self) -> "_InPlace":
        from rich.live import Live

        self._live: Live = Live(console=self._console, auto_refresh=False)
        self._live.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, rows: Rows) -> None:
        """Show the rows instead of those of the last time."""
        self._text = self._listing.text(rows, self._console.width)
        self._update(self._text)

    def fail(self, error: BridgeError) -> None:
        """Show an error below the last rows."""
        from bridge.telemetry import plain

        self._update(f"{self._text}\n{plain(f'bridge: {error}')}")

    def _update(self, text: str) -> None:
        from rich.text import Text

        self._live.update(Text(text, overflow="ignore", no_wrap=True), refresh=True)


def _error(error: BridgeError) -> None:
    from bridge.telemetry import plain

    typer.echo(plain(f"bridge: {error}"), err=True)

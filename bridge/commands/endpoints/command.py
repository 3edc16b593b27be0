"""`bridge endpoints`: creates, compares and deletes the RunPod endpoints that bridge.toml describes."""

import asyncio
import contextlib
import fcntl
import json
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bridge.commands.listing import NO_ROUTE, Listing, Watch
from bridge.commands.listing import show as show_list
from bridge.commands.options import AsJson, ConfigPath
from bridge.errors import BridgeError, ConfigError

if TYPE_CHECKING:
    from bridge.commands.composition import Bridge
    from bridge.config.management import ManagementConfig
    from bridge.runpod.management import Management

endpoints = typer.Typer(
    no_args_is_help=True, help="Create, compare, list and delete the RunPod endpoints of bridge.toml."
)

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Names = Annotated[list[str], typer.Argument(metavar="NAME...", help="Names of endpoints, as in bridge.toml.")]
Force = Annotated[bool, typer.Option("--force", help="Delete endpoints that have open requests; cancels their jobs.")]


@endpoints.command("list")
def list_(config: ConfigPath = None, as_json: AsJson = False, watch: Watch = False) -> None:
    """List the endpoints of the routes: requests, workers and queue, as the bridge last read them.

    It reads only the ledger. Exit status: 0 shown, 1 the ledger cannot be read, 2 the configuration cannot work.
    """
    from bridge.commands.endpoints.listing import SHOWN, rows_of

    async def rows(bridge: "Bridge") -> list[dict[str, Any]]:
        return rows_of(await bridge.reconciler.explain(), bridge.scope)

    listing = Listing(read=rows, shown=SHOWN, wanted={}, nothing=NO_ROUTE, as_json=as_json)
    show_list(config, listing, watch=watch)


@endpoints.command()
def plan(config: ConfigPath = None, as_json: AsJson = False) -> None:
    """Show what `apply` would change, with price, stock and quota. Changes nothing.

    Exit status: 0 shown, 1 something must be fixed first (each is named), 2 the configuration cannot work.
    """
    from bridge.commands.endpoints.report import document, show
    from bridge.commands.endpoints.work import compare

    async def work(settings: "ManagementConfig", client: "Management") -> int:
        found = await compare(settings, client)
        _print_json(document(found)) if as_json else show(found)
        return _reported(found.problems)

    _run(config, work)


@endpoints.command()
def apply(config: ConfigPath = None, yes: Yes = False, as_json: AsJson = False) -> None:
    """Create and update the endpoints of bridge.toml, and write their ids to bridge.endpoints.toml.

    Repeating it changes nothing more. Exit status: 0 done, 1 something could not be done (each is named),
    2 the configuration cannot work.
    """
    from bridge.commands.endpoints.report import document, show
    from bridge.commands.endpoints.work import apply_plan, compare
    from bridge.commands.pricing import keep_after_apply

    async def work(settings: "ManagementConfig", client: "Management") -> int:
        found = await compare(settings, client)
        if not as_json:
            show(found)
        if found.changes and found.quota.fits:
            _confirm("Apply this plan?", yes=yes)
        done = await apply_plan(settings, client, found, _progress)
        if note := await keep_after_apply(settings, client, done.applied):
            _error(note)
        if as_json:
            _print_json({**document(found), "applied": done.applied, "problems": done.problems})
        return _reported(done.problems)

    _run(config, work, changes=True)


@endpoints.command()
def delete(names: Names, config: ConfigPath = None, yes: Yes = False, force: Force = False) -> None:
    """Delete endpoints that `apply` created. RunPod cancels the requests and jobs of a deleted endpoint.

    Exit status: 0 done, 1 something could not be done (each is named), 2 the configuration cannot work.
    """
    from bridge.commands.endpoints.delete import delete_endpoints, deletions

    async def work(settings: "ManagementConfig", client: "Management") -> int:
        found = await deletions(settings, client, names)
        if _reported([problem for each in found for problem in each.problems(force=force)]):
            return 1
        for line in (line for each in found for line in each.losses()):
            typer.echo(_plain(line))
        _confirm(f"Delete {', '.join(each.name for each in found)}?", yes=yes)
        return _reported(await delete_endpoints(settings, client, found, _progress))

    _run(config, work, changes=True)


def _run(
    config: Path | None,
    work: "Callable[[ManagementConfig, Management], Awaitable[int]]",
    *,
    changes: bool = False,
) -> None:
    """Do `work` with the configuration and a client; an error is one line."""
    from bridge.config.management import load_management
    from bridge.telemetry import configure_logging

    try:
        settings = load_management(config)
        configure_logging(settings.secrets())
        with _locked(settings.path) if changes else contextlib.nullcontext():
            if changes:
                settings = load_management(config)  # another command may have written ids meanwhile
            status = asyncio.run(_with_client(settings, work))
    except BridgeError as error:
        _error(str(error))
        raise typer.Exit(2 if isinstance(error, ConfigError) else 1) from None
    raise typer.Exit(status)


async def _with_client(
    settings: "ManagementConfig", work: "Callable[[ManagementConfig, Management], Awaitable[int]]"
) -> int:
    from bridge.commands.management import management

    async with management(api_key=settings.api_key, url=settings.url, key_setting=settings.key_setting) as client:
        return await work(settings, client)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Let one command at a time change the endpoints of a configuration on this machine."""
    with path.expanduser().open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            typer.echo("bridge: waiting for another `bridge endpoints` with this configuration", err=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _confirm(question: str, *, yes: bool) -> None:
    import sys

    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigError("--yes: missing; there is no terminal to ask on")
    if not typer.confirm(question):
        raise typer.Exit(1)


def _reported(problems: Sequence[str]) -> int:
    """Print what could not be done; the exit status."""
    for problem in problems:
        _error(problem)
    return 1 if problems else 0


def _progress(line: str) -> None:
    typer.echo(_plain(line), err=True)


def _error(line: str) -> None:
    typer.echo(_plain(f"bridge: {line}"), err=True)


def _plain(line: str) -> str:
    from bridge.telemetry import plain

    return plain(line)


def _print_json(document: dict[str, Any]) -> None:
    from bridge.telemetry import mask

    typer.echo(json.dumps(mask(document)))

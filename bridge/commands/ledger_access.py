"""What the commands of the ledger share: access to it, and how they end."""

import asyncio
import getpass
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import typer

from bridge.errors import BridgeError, ConfigError

if TYPE_CHECKING:
    from bridge.commands.composition import Bridge
    from bridge.config.settings import Config

T = TypeVar("T")

NO_LEDGER = "there is no ledger yet; run `bridge dispatch` first, or correct BRIDGE_DATABASE_URL"


def with_ledger(config: Path | None, work: "Callable[[Bridge], Awaitable[T]]") -> T:
    """Do `work` as `with_configuration` does."""
    return with_configuration(config, lambda _settings, bridge: work(bridge))


def with_configuration(config: Path | None, work: "Callable[[Config, Bridge], Awaitable[T]]") -> T:
    """Do `work` with the configuration and a bridge that neither creates nor migrates its ledger.

    Args:
        config: path of bridge.toml, as for `bridge dispatch`.
        work: what to do.

    Raises:
        typer.Exit: an error, which is printed in one line: status 2 for a wrong configuration, else 1.
    """
    from bridge.commands.composition import composed
    from bridge.config.settings import load
    from bridge.telemetry import mask

    async def run() -> T:
        settings = load(config)
        async with composed(settings, dry_run=True) as bridge:
            return await work(settings, bridge)

    try:
        return asyncio.run(run())
    except BridgeError as error:
        typer.echo(mask(f"bridge: {error}"), err=True)
        raise typer.Exit(2 if isinstance(error, ConfigError) else 1) from None


def finish(problem: str | None, done: str) -> None:
    """Print how a command ended.

    Args:
        problem: why nothing was done, one line; None if it was done.
        done: what was done.

    Raises:
        typer.Exit: with status 1, if there is a problem.
    """
    from bridge.telemetry import plain

    if problem:
        typer.echo(plain(f"bridge: {problem}"), err=True)
        raise typer.Exit(1)
    typer.echo(plain(done))


def who() -> str:
    """Who runs this command: `account@host`."""
    from bridge.core.pauses import one_line

    try:
        account = getpass.getuser()
    except (OSError, KeyError):  # an id without a name, as in many containers; Python 3.13 raises OSError
        account = str(os.getuid())
    return one_line(f"{account}@{socket.gethostname()}")

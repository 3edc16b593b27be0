"""What `jobs`, `explain`, `submissions` and `retry` share: access to the ledger of the configuration."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import typer

from bridge.errors import BridgeError, ConfigError

if TYPE_CHECKING:
    from bridge.commands.composition import Bridge

T = TypeVar("T")

NO_LEDGER = "there is no ledger yet; run `bridge dispatch` first, or correct BRIDGE_DATABASE_URL"


def with_ledger(config: Path | None, work: "Callable[[Bridge], Awaitable[T]]") -> T:
    """Do `work` with a bridge that neither creates nor migrates its ledger.

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
        async with composed(load(config), dry_run=True) as bridge:
            return await work(bridge)

    try:
        return asyncio.run(run())
    except BridgeError as error:
        typer.echo(mask(f"bridge: {error}"), err=True)
        raise typer.Exit(2 if isinstance(error, ConfigError) else 1) from None

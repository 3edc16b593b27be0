"""The command `bridge doctor`.

Imports stay within the functions that need them: `--help` answers at once.
"""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from bridge.commands.options import AsJson, ConfigPath
from bridge.errors import ConfigError

if TYPE_CHECKING:
    from bridge.commands.doctor.check import Check


def doctor(config: ConfigPath = None, as_json: AsJson = False) -> None:
    """Check the configuration, GitHub, RunPod, the ledger and the service, and say how to fix what is wrong.

    Changes nothing. Exit status: 0 no check failed, 1 a check failed, 2 the configuration cannot be loaded.
    """
    from bridge.commands.doctor.check import failed
    from bridge.commands.doctor.report import is_healthy

    try:
        checks = asyncio.run(_examined(config))
    except ConfigError as error:
        setting, _, _ = str(error).partition(":")
        _print([failed("configuration", str(error), f"correct {setting}")], as_json=as_json)
        raise typer.Exit(2) from None
    _print(checks, as_json=as_json)
    raise typer.Exit(0 if is_healthy(checks) else 1)


async def _examined(config: Path | None) -> "tuple[Check, ...]":
    from bridge.commands.doctor.context import opened
    from bridge.commands.doctor.examine import examine
    from bridge.config import file
    from bridge.config.settings import load
    from bridge.telemetry import configure_logging

    settings = load(config)
    configure_logging(settings.secrets())
    async with opened(settings, file.find(config)) as context:
        return await examine(context)


def _print(checks: "Sequence[Check]", *, as_json: bool) -> None:
    from bridge.commands.doctor.report import document, show
    from bridge.telemetry import mask

    if as_json:
        typer.echo(json.dumps(mask(document(checks))))
    else:
        show(checks)

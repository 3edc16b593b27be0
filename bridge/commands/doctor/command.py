"""The command `bridge doctor`.

Imports stay within the functions that need them: `--help` answers at once.
"""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bridge.commands.options import AsJson, ConfigPath
from bridge.errors import ConfigError

if TYPE_CHECKING:
    from bridge.commands.doctor.check import Check
    from bridge.commands.doctor.context import Context
    from bridge.config.settings import Config

SelfTest = Annotated[
    bool, typer.Option("--self-test", help="Start one worker on each endpoint, which tests itself. RunPod bills it.")
]
Wait = Annotated[float, typer.Option(min=10, max=86_400, help="Seconds that --self-test waits for each answer.")]
Fix = Annotated[bool, typer.Option("--fix", help="Do the repairs that are safe, each after a question.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before a repair.")]
Bundle = Annotated[
    Path | None, typer.Option(metavar="FILE.zip", help="Write report, configuration and versions, without secrets.")
]


@dataclass(frozen=True, kw_only=True)
class _Options:
    """What the command line asks for."""

    as_json: bool
    self_test: bool
    wait: float
    fix: bool
    yes: bool
    bundle: Path | None


def doctor(  # noqa: PLR0913, PLR0917 - one per option
    config: ConfigPath = None,
    as_json: AsJson = False,
    self_test: SelfTest = False,
    wait: Wait = 600.0,
    fix: Fix = False,
    yes: Yes = False,
    bundle: Bundle = None,
) -> None:
    """Check the configuration, GitHub, RunPod, the ledger and the service, and say how to fix what is wrong.

    Changes nothing without --fix. Exit status: 0 no check failed, 1 a check failed, 2 the configuration cannot be
    loaded or an option cannot be used.
    """
    from bridge.commands.doctor.report import is_healthy

    options = _Options(as_json=as_json, self_test=self_test, wait=wait, fix=fix, yes=yes, bundle=bundle)
    try:
        checks = _checked(config, options)
    except ConfigError as error:
        _tell(f"bridge: {error}")
        raise typer.Exit(2) from None
    raise typer.Exit(0 if is_healthy(checks) else 1)


def _checked(config: Path | None, options: _Options) -> "Sequence[Check]":
    """Load the configuration, and do what the options say.

    Raises:
        ConfigError: an option cannot be used.
    """
    from bridge.commands.doctor.bundle import refuse_existing, secrets_in_environment
    from bridge.commands.doctor.check import failed
    from bridge.config import file
    from bridge.config.settings import load
    from bridge.telemetry import configure_logging

    if options.bundle:
        refuse_existing(options.bundle)
    configure_logging(secrets_in_environment())
    try:
        settings = load(config)
        configure_logging([*settings.secrets(), *secrets_in_environment()])
        return asyncio.run(_examined(settings, file.find(config), options))
    except _Unusable as error:
        raise ConfigError(error.message) from None
    except ConfigError as error:
        setting, _, _ = str(error).partition(":")
        checks = [failed("configuration", str(error), f"correct {setting}")]
        _print(checks, as_json=options.as_json)
        asyncio.run(_bundle(checks, None, file.find(config), options))
        raise typer.Exit(2) from None


class _Unusable(Exception):
    """An option that cannot be used, found while the checks ran.

    Args:
        message: one line.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


async def _examined(settings: "Config", path: Path | None, options: _Options) -> "Sequence[Check]":
    from bridge.commands.doctor.context import opened
    from bridge.commands.doctor.examine import SUBJECTS, examine
    from bridge.commands.doctor.self_test import self_tests

    tests = {"self_test": self_tests(options.wait, _tell)} if options.self_test else {}
    async with opened(settings, path) as context:
        checks = await examine(context, {**SUBJECTS, **tests})
        if not (options.as_json and options.fix):
            _print(checks, as_json=options.as_json)
        if options.fix:
            checks = await _fixed(context, checks, options)
    try:
        await _bundle(checks, settings, path, options)
    except ConfigError as error:
        raise _Unusable(str(error)) from None
    return checks


async def _fixed(context: "Context", checks: "tuple[Check, ...]", options: _Options) -> "tuple[Check, ...]":
    """Do the repairs, and check again what was repaired."""
    from bridge.commands.doctor import fix
    from bridge.commands.doctor.examine import examine

    tried: list[Check] = []
    if fix.repairs(checks):
        try:
            ask = fix.asker(yes=options.yes)
        except ConfigError as error:
            raise _Unusable(str(error)) from None
        tried = await fix.repair_all(checks, ask, _tell)
    now = fix.again(tried, await examine(context)) if tried else []
    after = fix.replaced(checks, tried, now)
    if options.as_json or tried:
        _print(after if options.as_json else now, as_json=options.as_json)
    return after


async def _bundle(checks: "Sequence[Check]", settings: "Config | None", path: Path | None, options: _Options) -> None:
    from bridge.commands.doctor import bundle

    if options.bundle:
        bundle.write(options.bundle, await bundle.collected(checks, settings, path))
        _tell(f"wrote {options.bundle}: read it before you send it")


def _tell(line: str) -> None:
    from bridge.telemetry import plain

    typer.echo(plain(line), err=True)


def _print(checks: "Sequence[Check]", *, as_json: bool) -> None:
    from bridge.commands.doctor.report import document, show
    from bridge.telemetry import mask

    if as_json:
        typer.echo(json.dumps(mask(document(checks))))
    else:
        show(checks)

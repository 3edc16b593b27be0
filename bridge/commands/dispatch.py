"""`bridge dispatch`, also `python -m bridge.dispatch`: one pass, repeated passes, or a service.

Heavy imports stay within the functions that need them: `--help` and `--version` answer at once.
"""

import math
import time
from typing import TYPE_CHECKING, Annotated

import typer

from bridge.commands.options import ConfigPath, Version
from bridge.errors import BridgeError, ConfigError

if TYPE_CHECKING:
    from collections import Counter
    from contextlib import AbstractAsyncContextManager

    from bridge.commands.composition import Bridge
    from bridge.config.settings import Config
    from bridge.service.sender import Sender

ADDRESS = "127.0.0.1:8080"
"""Where `--serve` listens by default."""


def dispatch(  # noqa: PLR0913, PLR0917 - each is an option of its own
    address: Annotated[
        str | None, typer.Argument(metavar="HOST:PORT", help=f"Where --serve listens. Default: {ADDRESS}.")
    ] = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="Run as a service: receive webhooks, until SIGINT or SIGTERM.")
    ] = False,
    config: ConfigPath = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan; change nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document per pass.")] = False,
    watch: Annotated[
        float | None,
        typer.Option(min=1, metavar="SECONDS", help="Repeat the pass every SECONDS, until SIGINT or SIGTERM."),
    ] = None,
    _version: Version = False,
) -> None:
    """Find queued jobs, and request a RunPod worker for each.

    Exit status: 0 done, 1 something failed (each problem is printed), 2 the configuration is wrong.
    """
    import asyncio

    from bridge.config.settings import load

    _refuse_together(address, serve=serve, others=dry_run or as_json or watch is not None)
    try:
        settings = load(config)
        if serve:
            from bridge.commands.serve import run_service

            raise typer.Exit(run_service(settings, *_host_and_port(address or ADDRESS)))
        raise typer.Exit(asyncio.run(_run(settings, dry_run=dry_run, as_json=as_json, watch=watch)))
    except ConfigError as error:
        from bridge.telemetry import mask

        typer.echo(mask(f"bridge: {error}"), err=True)
        raise typer.Exit(2) from None


def _refuse_together(address: str | None, *, serve: bool, others: bool) -> None:
    if address and not serve:
        raise typer.BadParameter("needs --serve", param_hint="HOST:PORT")
    if serve and others:
        raise typer.BadParameter("cannot be used with --dry-run, --json or --watch", param_hint="--serve")


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise typer.BadParameter(f"must be HOST:PORT, such as {ADDRESS}", param_hint="HOST:PORT")
    return host.strip("[]"), int(port)


async def _run(settings: "Config", *, dry_run: bool, as_json: bool, watch: float | None) -> int:
    """Run one pass, or one every `watch` seconds until a signal; the exit status of the last pass."""
    from collections import Counter

    from bridge.commands.composition import composed
    from bridge.commands.pricing import RETRY_EVERY, try_to_read
    from bridge.commands.signals import is_set_within, stop_event

    stop = None if watch is None else stop_event()
    if watch is not None:
        settings = settings.with_interval(watch)
    async with composed(settings, dry_run=dry_run) as bridge, _sending(settings, bridge, dry_run=dry_run) as sender:
        before: dict[str, Counter[str]] = {service: Counter() for service in bridge.calls()}
        if dry_run:
            await bridge.learn_time()
        read_at = -math.inf
        while True:
            if not dry_run and time.monotonic() >= read_at + RETRY_EVERY:
                read_at = time.monotonic()
                await try_to_read(bridge.ledger, settings, bridge.clock())
            status = await _pass(bridge, sender, before, dry_run=dry_run, as_json=as_json)
            before = bridge.calls()
            if watch is None or stop is None or await is_set_within(watch, stop):
                return status


def _sending(settings: "Config", bridge: "Bridge", *, dry_run: bool) -> "AbstractAsyncContextManager[Sender | None]":
    """What sends traces and messages; None in a dry run."""
    from contextlib import nullcontext

    from bridge.commands.sending import sending

    return nullcontext() if dry_run else sending(settings, bridge.ledger, bridge.clock)


async def _pass(
    bridge: "Bridge", sender: "Sender | None", before: "dict[str, Counter[str]]", *, dry_run: bool, as_json: bool
) -> int:
    """Run and print one pass, then send what is due; `before` counts the calls of the earlier passes."""
    import json

    from bridge.commands.report import document, show
    from bridge.telemetry import mask

    try:
        report = await (bridge.reconciler.preview() if dry_run else bridge.reconciler.resync())
    except BridgeError as error:  # of the ledger; an error of GitHub or RunPod is a problem in the report
        typer.echo(mask(f"bridge: {error}"), err=True)
        return 1
    if as_json:
        now = bridge.calls()
        calls = {name: {k: n - before[name][k] for k, n in count.items()} for name, count in now.items()}
        typer.echo(json.dumps(mask(document(report, dry_run=dry_run, calls=calls))))
    else:
        show(report, dry_run=dry_run)
    if sender:
        sender.passed(report)
        await sender.round()
    return 1 if report.problems else 0

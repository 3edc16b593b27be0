"""`python -m bridge.dispatch`: one pass, one every so many seconds, or a service.

Imports stay within the functions that need them: `--help` and `--version` answer at once.
"""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bridge import __version__
from bridge.errors import BridgeError, ConfigError

if TYPE_CHECKING:
    from collections import Counter

    from bridge.commands.composition import Bridge
    from bridge.config.settings import Config

ADDRESS = "127.0.0.1:8080"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"runpod-actions-bridge {__version__}")
        raise typer.Exit


@app.command()
def dispatch(  # noqa: PLR0913, PLR0917 - each is an option of its own
    address: Annotated[str | None, typer.Argument(metavar="HOST:PORT", help=f"Of --serve. Default: {ADDRESS}.")] = None,
    serve: Annotated[bool, typer.Option("--serve", help="Take webhooks, and run until SIGINT or SIGTERM.")] = False,
    config: Annotated[
        Path | None, typer.Option(help="bridge.toml. Default: BRIDGE_CONFIG, else the environment alone.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan; change nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document per pass.")] = False,
    watch: Annotated[
        float | None, typer.Option(min=1, metavar="SECONDS", help="Repeat until SIGINT or SIGTERM.")
    ] = None,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Find queued jobs and ask RunPod for their runners.

    Exit status: 0 done, 1 something could not be done (each is named), 2 the configuration cannot work.
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
        raise typer.BadParameter("only --serve takes an address", param_hint="HOST:PORT")
    if serve and others:
        raise typer.BadParameter("is not for --dry-run, --json or --watch", param_hint="--serve")


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise typer.BadParameter(f"must be HOST:PORT, such as {ADDRESS}", param_hint="HOST:PORT")
    return host.strip("[]"), int(port)


async def _run(settings: "Config", *, dry_run: bool, as_json: bool, watch: float | None) -> int:
    """Run one pass, or one every `watch` seconds until a signal; the exit status is the last one's."""
    import asyncio
    import signal
    from collections import Counter
    from dataclasses import replace

    from bridge.commands.composition import composed

    settings = settings if watch is None else replace(settings, interval=watch)
    stop = asyncio.Event()
    if watch is not None:
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with composed(settings, dry_run=dry_run) as bridge:
        before: dict[str, Counter[str]] = {service: Counter() for service in bridge.calls()}
        if dry_run:
            await bridge.learn_time()
        while True:
            status = await _pass(bridge, before, dry_run=dry_run, as_json=as_json)
            before = bridge.calls()
            if watch is None or stop.is_set():
                return status
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), watch)
            if stop.is_set():
                return status


async def _pass(bridge: "Bridge", before: "dict[str, Counter[str]]", *, dry_run: bool, as_json: bool) -> int:
    """Run and print one pass; `before` are the calls that were made until the last one ended."""
    import json

    from bridge.commands.report import document, show
    from bridge.telemetry import mask

    try:
        report = await (bridge.reconciler.preview() if dry_run else bridge.reconciler.resync())
    except BridgeError as error:  # the ledger; what lies outside is a problem in the report
        typer.echo(mask(f"bridge: {error}"), err=True)
        return 1
    if as_json:
        now = bridge.calls()
        calls = {name: {k: n - before[name][k] for k, n in count.items()} for name, count in now.items()}
        typer.echo(json.dumps(mask(document(report, dry_run=dry_run, calls=calls))))
    else:
        show(report, dry_run=dry_run)
    return 1 if report.problems else 0

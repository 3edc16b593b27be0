"""`python -m bridge.dispatch`: the composition root. One pass, or one every so many seconds.

Imports stay within the functions that need them: `--help` and `--version` answer at once.
"""

import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bridge import __version__
from bridge.errors import BridgeError, ConfigError

if TYPE_CHECKING:
    import httpx

    from bridge.config import Config
    from bridge.github.auth import AppAuth, PatAuth
    from bridge.model import Scope
    from bridge.reconcile import Reconciler

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"runpod-actions-bridge {__version__}")
        raise typer.Exit


@app.command()
def dispatch(
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

    from bridge.config import load

    try:
        settings = load(config)
        raise typer.Exit(asyncio.run(_run(settings, dry_run=dry_run, as_json=as_json, watch=watch)))
    except ConfigError as error:
        typer.echo(f"bridge: {error}", err=True)
        raise typer.Exit(2) from None


async def _run(settings: "Config", *, dry_run: bool, as_json: bool, watch: float | None) -> int:
    """Run one pass, or one every `watch` seconds until a signal; the exit status is the last one's."""
    import asyncio
    import signal

    stop = asyncio.Event()
    if watch is not None:
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with _composed(settings, dry_run=dry_run) as bridge:
        while True:
            status = await _pass(bridge, dry_run=dry_run, as_json=as_json)
            if watch is None or stop.is_set():
                return status
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), watch)
            if stop.is_set():
                return status


async def _pass(bridge: "Bridge", *, dry_run: bool, as_json: bool) -> int:
    """Run and print one pass."""
    import json

    from bridge.report import document, show

    before = bridge.calls()
    try:
        report = await (bridge.reconciler.preview() if dry_run else bridge.reconciler.run())
    except BridgeError as error:  # the ledger; what lies outside is a problem in the report
        typer.echo(f"bridge: {error}", err=True)
        return 1
    if as_json:
        now = bridge.calls()
        calls = {name: {k: n - before[name][k] for k, n in count.items()} for name, count in now.items()}
        typer.echo(json.dumps(document(report, dry_run=dry_run, calls=calls)))
    else:
        show(report, dry_run=dry_run)
    return 1 if report.problems else 0


@dataclass(frozen=True, kw_only=True)
class Bridge:
    """The parts put together."""

    reconciler: "Reconciler"
    calls: Callable[[], "dict[str, Counter[str]]"]


@contextlib.asynccontextmanager
async def _composed(settings: "Config", *, dry_run: bool) -> "AsyncIterator[Bridge]":
    """Put the parts together, and take them apart in the end."""
    import structlog

    from bridge.github.api import GitHub
    from bridge.github.auth import AppAuth
    from bridge.github.deliveries import DeliveryLog
    from bridge.github.transport import http_client
    from bridge.ledger import Ledger
    from bridge.reconcile import Reconciler
    from bridge.runpod_api import RunPod
    from bridge.telemetry import configure_logging

    configure_logging(settings.secrets())
    async with http_client() as http:
        auth = _auth(settings, http)
        github = GitHub(http, auth, api_url=settings.github_api_url)
        log = DeliveryLog(auth) if isinstance(auth, AppAuth) else None
        runpod = RunPod(api_key=settings.runpod_api_key, base_url=settings.runpod_base_url)
        opened = Ledger.open_to_look if dry_run else Ledger.open
        ledger = opened(settings.database_url)
        structlog.get_logger().info("ledger opened", url=ledger.url)
        try:
            yield Bridge(
                reconciler=Reconciler(_scope(settings), github, runpod, ledger, log),
                calls=lambda: {"github": Counter(github.calls), "runpod": Counter(runpod.calls)},
            )
        finally:
            runpod.close()
            ledger.close()


def _scope(settings: "Config") -> "Scope":
    from bridge.github.api import web_url_of
    from bridge.model import Scope

    return Scope(
        owner=settings.owner,
        organisation=settings.organisation,
        repositories=settings.repositories,
        routes=settings.routes,
        prefix=settings.prefix,
        web_url=web_url_of(settings.github_api_url),
        public_url=settings.public_url,
        callback_key=settings.callback_key,
        full_scan_every=settings.full_scan_every,
        retention=settings.retention,
    )


def _auth(settings: "Config", http: "httpx.AsyncClient") -> "AppAuth | PatAuth":
    from bridge.config import Pat
    from bridge.github.auth import AppAuth, AppKey, PatAuth

    if isinstance(settings.github, Pat):
        return PatAuth(settings.github.token)
    return AppAuth(
        http,
        api_url=settings.github_api_url,
        issuer=settings.github.issuer,
        key=AppKey.load(settings.github.private_key),
        owner=settings.owner,
        installation_id=settings.github.installation_id,
    )


if __name__ == "__main__":
    app()

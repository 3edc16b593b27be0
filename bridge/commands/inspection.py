"""`python -m bridge jobs | submissions | retry`: what the ledger thinks, and a nudge for one job."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from bridge.commands.composition import Bridge, composed
from bridge.core.model import JobStatus
from bridge.core.submissions import Submission
from bridge.errors import BridgeError, ConfigError
from bridge.telemetry import mask

RECENT = 86_400.0
"""s that a submission that has ended is still listed."""

T = TypeVar("T")
ConfigPath = Annotated[Path | None, typer.Option("--config", help="bridge.toml, as for bridge.dispatch.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def jobs(config: ConfigPath = None, as_json: AsJson = False) -> None:
    """List the jobs that the ledger knows as open, and for each what is done about it."""
    rows = _with_ledger(config, _jobs)
    _print(rows, ("id", "repository", "name", "status", "why"), as_json=as_json)


def submissions(config: ConfigPath = None, as_json: AsJson = False) -> None:
    """List the runners asked for: the open ones, and those that ended within a day."""
    rows = _with_ledger(config, _submissions)
    _print(rows, ("runner", "route", "state", "since", "result", "why"), as_json=as_json)


def retry(
    job: Annotated[int, typer.Argument(help="The job's id, as `jobs` lists it.")], config: ConfigPath = None
) -> None:
    """Forget a job's failed attempts, so that the next pass asks for a runner again."""

    async def forget(bridge: Bridge) -> bool:
        return await bridge.ledger.transact(lambda transaction: transaction.retry(job, time.time()))

    if not _with_ledger(config, forget):
        typer.echo(f"bridge: the ledger knows no open job {job}", err=True)
        raise typer.Exit(1)
    typer.echo(f"job {job}: its attempts are forgotten; the next pass asks again")


def _with_ledger(config: Path | None, work: Callable[[Bridge], Awaitable[T]]) -> T:
    """Do something with the ledger that the settings name; what cannot work is one line."""
    from bridge.config.settings import load

    async def run() -> T:
        async with composed(load(config), dry_run=True) as bridge:
            return await work(bridge)

    try:
        return asyncio.run(run())
    except BridgeError as error:
        typer.echo(mask(f"bridge: {error}"), err=True)
        raise typer.Exit(2 if isinstance(error, ConfigError) else 1) from None


async def _jobs(bridge: Bridge) -> list[dict[str, Any]]:
    from bridge.commands.report import queued_jobs

    decision = await bridge.reconciler.explain()
    running = [
        {
            "id": job.id,
            "repository": job.repository,
            "name": job.name,
            "labels": list(job.labels),
            "status": job.status,
            "route": None,
            "why": f"runs on {job.runner_name}" if job.runner_name else f"GitHub has it as {job.status}",
        }
        for job in decision.jobs
        if job.status is not JobStatus.QUEUED
    ]
    kept = ("id", "repository", "name", "labels", "route", "why")
    waiting = [{**{k: row[k] for k in kept}, "status": JobStatus.QUEUED} for row in queued_jobs(decision)]
    return [*waiting, *running]


async def _submissions(bridge: Bridge) -> list[dict[str, Any]]:
    since = time.time() - RECENT
    rows = await bridge.ledger.read(lambda transaction: transaction.submissions(since=since, names=()))
    return [_submission(each) for each in sorted(rows, key=lambda s: (s.created_at, s.name))]


def _submission(row: Submission) -> dict[str, Any]:
    return {
        "runner": row.name,
        "route": row.pool.route,
        "target": row.pool.target,
        "state": row.state,
        "since": row.since,
        "request_id": row.request_id,
        "job_id": row.job_id,
        "held_job_id": row.held_job_id,
        "reason": row.reason,
        "result": row.result,
        "why": row.detail,
    }


def _print(rows: Sequence[dict[str, Any]], shown: Sequence[str], *, as_json: bool) -> None:
    """Print rows: all of them as JSON, or for a person what is `shown`."""
    if as_json:
        typer.echo(json.dumps(mask(list(rows))))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from bridge.commands.report import plain

    if not rows:
        typer.echo("none")
        return
    table = Table()
    for name in shown:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(plain(_cell(name, row[name]))) for name in shown))
    Console().print(table)


def _cell(key: str, value: Any) -> str:
    if key == "since":
        return f"{time.time() - value:.0f} s ago"
    return "-" if value is None else str(value)

"""What the commands print: passes and lists, as JSON for programs or as tables for people."""

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import typer

from bridge.controller.report import Decision, Report
from bridge.core.actions import Plan
from bridge.core.model import JobStatus, WorkflowJob
from bridge.telemetry import mask, plain


def document(report: Report, *, dry_run: bool, calls: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    """A pass as a JSON document.

    Args:
        report: of the pass.
        dry_run: whether it was a dry run, which changes nothing.
        calls: the number of calls in this pass, by service (`github`, `runpod`) and kind of call.
    """
    plan = report.decision.plan
    jobs = list(queued_jobs(report.decision))
    return {
        "dry_run": dry_run,
        "jobs": jobs,
        "transitions": [
            {"runner": m.submission.name, "from": m.submission.state, "to": m.to, "detail": m.detail}
            for m in plan.transitions
        ],
        "withdrawals": [{"runner": w.submission.name, "to": w.to, "detail": w.detail} for w in plan.withdrawals],
        "deleted_registrations": [s.runner.name for s in plan.garbage],
        "warnings": list(plan.warnings),
        "submissions": [
            {"submission": s.id, "runner": s.name, "job_id": s.job_id, "request_id": s.request_id}
            for s in report.submitted
        ],
        "counts": {
            "queued_jobs": len(jobs),
            "matched_jobs": sum(job["route"] is not None for job in jobs),
            "claims": len(plan.claims),
            "submitted": len(report.submitted),
        },
        "problems": list(map(str, report.problems)),
        "github_calls": calls["github"],
        "runpod_calls": calls["runpod"],
        "seconds": round(report.seconds, 3),
    }


def queued_jobs(decision: Decision) -> Iterator[dict[str, Any]]:
    """Every queued job, oldest first, with its route, and its new runner or the reason why it gets none now."""
    plan = decision.plan
    claims = {claim.job_id: claim for claim in plan.claims}
    skips = {skip.job_id: skip for skip in plan.skips}
    for job in _queued(decision):
        claim, skip = claims.get(job.id), skips.get(job.id)
        yield {
            "id": job.id,
            "repository": job.repository,
            "name": job.name,
            "labels": list(job.labels),
            "queued_at": job.created_at,
            "route": claim.pool.route if claim else skip and skip.route,
            "nearest": skip and skip.nearest,
            "runner": claim and claim.name,
            "why": f"asking for runner {claim.name}" if claim else skip and skip.why,
        }


def started_jobs(decision: Decision) -> Iterator[dict[str, Any]]:
    """Every open job that is no longer queued, and the runner that it runs on."""
    for job in decision.jobs:
        if job.status is not JobStatus.QUEUED:
            yield {
                "id": job.id,
                "repository": job.repository,
                "name": job.name,
                "labels": list(job.labels),
                "status": job.status,
                "route": None,
                "why": f"runs on {job.runner_name}" if job.runner_name else f"its status on GitHub is {job.status}",
            }


def _queued(decision: Decision) -> list[WorkflowJob]:
    queued = [job for job in decision.jobs if job.status is JobStatus.QUEUED]
    return sorted(queued, key=lambda job: (job.created_at, job.id))


def show(report: Report, *, dry_run: bool) -> None:
    """Print a pass for a person."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    table = Table("job", "name", "labels", "route", "why")
    table.columns[0].no_wrap = True
    for job in queued_jobs(report.decision):
        cells = (
            job["id"],
            f"{job['repository']} {job['name']}",
            ", ".join(job["labels"]),
            job["route"],
            job["why"],
        )
        table.add_row(*(Text(plain(cell or "-")) for cell in cells))  # Text: a job's name is not markup
    if table.row_count:
        console.print(table)
    console.print(_summary(report.decision.plan, report, dry_run=dry_run), markup=False)
    for problem in report.problems:
        console.print(f"problem: {plain(problem)}", style="red", markup=False, soft_wrap=True)


def _summary(plan: Plan, report: Report, *, dry_run: bool) -> str:
    submitted = f"would submit {len(plan.claims)}" if dry_run else f"submitted {len(report.submitted)}"
    removed = f"{len(plan.withdrawals)} withdrawn, {len(plan.garbage)} unused registrations deleted"
    return f"{len(_queued(report.decision))} queued jobs, {submitted}, {removed}, {report.seconds:.1f} s"


def matching(rows: Iterable[dict[str, Any]], **wanted: str | None) -> list[dict[str, Any]]:
    """The rows whose columns have the wanted values, in upper or lower case; None for any value."""
    columns = {name: value.lower() for name, value in wanted.items() if value is not None}
    return [row for row in rows if all(str(row[name]).lower() == value for name, value in columns.items())]


COPIED = ("id", "runner")
"""Columns that a person copies: they are never wrapped."""


def print_rows(rows: Sequence[dict[str, Any]], shown: Sequence[str], *, as_json: bool) -> None:
    """Print rows: as JSON, or as a table of the columns in `shown`."""
    if as_json:
        typer.echo(json.dumps(mask(list(rows))))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not rows:
        typer.echo("none")
        return
    table = Table()
    for name in shown:
        table.add_column(name, overflow="fold", no_wrap=name in COPIED)
    for row in rows:
        table.add_row(*(Text(plain(_cell(name, row[name]))) for name in shown))
    Console().print(table)


def _cell(key: str, value: Any) -> str:
    if key == "since":
        return f"{time.time() - value:.0f} s ago"
    return "-" if value is None else str(value)

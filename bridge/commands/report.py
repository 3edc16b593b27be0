"""What the commands print: passes and lists, as JSON for programs or as tables for people."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import typer

from bridge.controller.report import Decision, Report
from bridge.core.actions import Claim, Plan
from bridge.core.endpoint_names import EndpointNames
from bridge.core.lost import Rerun
from bridge.core.model import JobStatus, WorkflowJob
from bridge.core.routing import match
from bridge.core.scope import Route
from bridge.core.story import placed_at
from bridge.telemetry import mask, plain

MOST_ALIKE = 5
"""Jobs that wait for the same reason and have a row each in the table of a pass; more have one row together."""


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
        "reruns": [
            {"job_id": r.job.id, "route": r.route, "state": r.state, "why": r.why}
            for r in _reruns(report, dry_run=dry_run)
        ],
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
    plan, names = decision.plan, decision.endpoint_names
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
            "kind": None if claim else skip and skip.kind,
            "endpoint": claim and claim.endpoint,
            "endpoint_name": claim and names.get(claim.endpoint),
            "why": _asking(claim, names) if claim else skip and skip.why,
        }


def _asking(claim: Claim, names: EndpointNames) -> str:
    return f"asking for runner {claim.name}{placed_at(claim, names)}"


def started_jobs(decision: Decision, routes: Sequence[Route]) -> Iterator[dict[str, Any]]:
    """Every open job that is no longer queued, its route by its labels, and the runner that it runs on."""
    for job in decision.jobs:
        if job.status is not JobStatus.QUEUED:
            yield {
                "id": job.id,
                "repository": job.repository,
                "name": job.name,
                "labels": list(job.labels),
                "status": job.status,
                "route": _route(job, routes),
                "kind": None,
                "why": f"runs on {job.runner_name}" if job.runner_name else f"its status on GitHub is {job.status}",
            }


def _route(job: WorkflowJob, routes: Sequence[Route]) -> str | None:
    found = match(job.labels, job.repository, routes)
    return found.name if isinstance(found, Route) else None


def lost_jobs(decision: Decision) -> Iterator[dict[str, Any]]:
    """Every failed job that may have lost its worker, and why it is decided later whether it is re-run."""
    for each in decision.plan.reruns:
        if each.state is None:
            yield {
                "id": each.job.id,
                "repository": each.job.repository,
                "name": each.job.name,
                "labels": list(each.job.labels),
                "status": each.job.status,
                "route": each.route,
                "why": f"it failed, and may be re-run: {each.why}",
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
    for jobs in _together(queued_jobs(report.decision)):
        table.add_row(*(Text(plain(cell or "-")) for cell in _cells(jobs)))  # Text: a job's name is not markup
    if table.row_count:
        console.print(table)
    for each in _reruns(report, dry_run=dry_run):
        line = f"job {each.job.id} ({each.job.name}): {each.state or 'decided later'}: {each.why}"
        console.print(plain(line), markup=False, soft_wrap=True)
    console.print(_summary(report.decision.plan, report, dry_run=dry_run), markup=False)
    for problem in report.problems:
        console.print(f"problem: {plain(problem)}", style="red", markup=False, soft_wrap=True)


def _together(jobs: Iterable[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The jobs, each alone, but more than MOST_ALIKE that wait for the same reason together, where the first one is."""
    found: dict[object, list[dict[str, Any]]] = {}
    for job in jobs:
        reason = (job["kind"], job["route"], job["why"])
        found.setdefault(reason if job["kind"] else job["id"], []).append(job)
    groups = [[group] if len(group) > MOST_ALIKE else [[job] for job in group] for group in found.values()]
    return sorted((each for group in groups for each in group), key=lambda each: (each[0]["queued_at"], each[0]["id"]))


def _cells(jobs: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    """A row for one job, or for several that wait for the same reason."""
    first = jobs[0]
    name, labels = f"{first['repository']} {first['name']}", ", ".join(first["labels"])
    if len(jobs) > 1:
        name = f"{name} ({first['id']}) and {len(jobs) - 1} more"
        labels = labels if all(set(job["labels"]) == set(first["labels"]) for job in jobs) else "different ones"
    number = f"{len(jobs)} jobs" if len(jobs) > 1 else str(first["id"])
    return number, name, labels, first["route"], first["why"]


def _reruns(report: Report, *, dry_run: bool) -> tuple[Rerun, ...]:
    """What became of jobs that may have lost their workers; in a dry run, what would be done."""
    return report.decision.plan.reruns if dry_run else report.reruns


def _summary(plan: Plan, report: Report, *, dry_run: bool) -> str:
    submitted = f"would submit {len(plan.claims)}" if dry_run else f"submitted {len(report.submitted)}"
    removed = f"{len(plan.withdrawals)} withdrawn, {len(plan.garbage)} unused registrations deleted"
    queued = len(_queued(report.decision))
    return f"{queued} queued job{'' if queued == 1 else 's'}, {submitted}, {removed}, {report.seconds:.1f} s"


def print_rows(rows: Sequence[dict[str, Any]], shown: Sequence[str], *, as_json: bool) -> None:
    """Print rows: as JSON, or as a table of the columns in `shown`."""
    from rich.console import Console

    typer.echo(text_of(rows, shown, Console().width, as_json=as_json))


def text_of(rows: Sequence[dict[str, Any]], shown: Sequence[str], width: int, *, as_json: bool) -> str:
    """Rows as JSON, or as a table of the columns in `shown` for a terminal of `width` characters."""
    from bridge.commands.tables import lines

    if as_json:
        return json.dumps(mask(list(rows)))
    return "\n".join(lines(rows, shown, width))

"""`bridge explain`: the story of a job, or of each job of a run."""

from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, NoReturn

import typer

from bridge.commands.ledger_access import NO_LEDGER, with_ledger
from bridge.commands.options import AsJson, ConfigPath

if TYPE_CHECKING:
    from pathlib import Path

    from bridge.commands.composition import Bridge
    from bridge.commands.live import Live
    from bridge.core.endpoint_names import EndpointNames
    from bridge.core.history import JobRecord, SubmissionRecord
    from bridge.core.reference import Reference
    from bridge.core.steps import Step
    from bridge.core.story import Story


MOST_LIVE = 10
"""Jobs of a run about which GitHub and RunPod are asked."""


class Told(NamedTuple):
    """What is told of one job, with the names of endpoints; `live` if GitHub and RunPod were asked."""

    record: "JobRecord"
    story: "Story"
    names: "EndpointNames"
    live: "Live | None" = None


def explain(
    job: Annotated[str, typer.Argument(metavar="JOB", help="The job's URL or id, or the URL of its run.")],
    config: ConfigPath = None,
    as_json: AsJson = False,
    live: Annotated[bool, typer.Option("--live", help="Also ask GitHub and RunPod about it now.")] = False,
) -> None:
    """Say why a job waits or what happened to it, with each step and its duration.

    It reads only the ledger, unless --live is given.
    """
    from bridge.core.reference import parse

    reference = parse(job)
    if reference is None:
        _fail(f"{job[:200]!r} is no job: give the URL or the id of a job, or the URL of its run")

    async def look(bridge: "Bridge") -> "str | list[Told]":
        if not bridge.ledger.is_stored:
            return NO_LEDGER
        told = await _told(bridge, reference) or _unknown(reference)
        return await _asked(bridge, told, config) if live and not isinstance(told, str) else told

    told = with_ledger(config, look)
    if isinstance(told, str):
        _fail(told)
    if as_json:
        _print_json(told)
        return
    for number, each in enumerate(told):
        if number:
            typer.echo()
        _print(each)


async def _told(bridge: "Bridge", reference: "Reference") -> "list[Told]":
    from bridge.core.story import outlook, story

    records = await bridge.ledger.read(lambda transaction: transaction.named(reference))
    if not records:
        return []
    decision = await bridge.reconciler.explain()
    names, now = bridge.scope.endpoint_names, bridge.clock()
    seen = [outlook(decision.plan, record.job.id, names) for record in records]
    return [Told(record, story(record, each, now, names), names) for record, each in zip(records, seen, strict=True)]


async def _asked(bridge: "Bridge", told: "list[Told]", config: "Path | None") -> "list[Told]":
    """The same with what GitHub and RunPod say now of the first jobs."""
    from bridge.commands.live import ask
    from bridge.config import file
    from bridge.config.management import load_if_managed
    from bridge.telemetry import configure_logging

    managed = load_if_managed(file.find(config))
    if managed:
        configure_logging([*managed.secrets(), *bridge.secrets])
    asked = [each._replace(live=await ask(bridge, each.record, managed)) for each in told[:MOST_LIVE]]
    return [*asked, *told[MOST_LIVE:]]


def _unknown(reference: "Reference") -> str:
    if reference.job_id is None:
        what = f"job of run {reference.run_id}"
    else:
        what = f"job {reference.job_id}" if reference.run_id else f"job or run {reference.job_id}"
    return f"the ledger has no {what}; `bridge dispatch --dry-run` shows every queued job, with the reason why it waits"


def _fail(problem: str) -> NoReturn:
    from bridge.telemetry import plain

    typer.echo(f"bridge: {plain(problem)}", err=True)
    raise typer.Exit(1)


def _print(told: Told) -> None:
    """The sentence, which job it is, what was asked now, and a line for each step."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from bridge.telemetry import plain

    job, story = told.record.job, told.story
    typer.echo(plain(story.sentence))
    typer.echo(plain(f"{job.repository}, {job.name[:200]}, {job.html_url or f'run {job.run_id}'}"))
    for each in told.live.lines() if told.live else ():
        typer.echo(plain(each))
    table = Table("UTC", "took", "what", box=None, pad_edge=False)
    table.columns[0].no_wrap = table.columns[1].no_wrap = True
    for step in story.steps:
        table.add_row(*(Text(plain(cell)) for cell in _cells(step)))  # Text: a job's labels are not markup
    Console().print(table)


def _cells(step: "Step") -> tuple[str, str, str]:
    from datetime import UTC, datetime

    from bridge.core.steps import span

    at = datetime.fromtimestamp(step.at, UTC).strftime("%m-%d %H:%M:%S")
    return at, "" if step.seconds is None else span(step.seconds), step.what


def _print_json(told: "list[Told]") -> None:
    import json

    from bridge.telemetry import mask

    typer.echo(json.dumps(mask([_document(each) for each in told])))


def _document(told: Told) -> dict[str, Any]:
    from dataclasses import asdict

    record, story = told.record, told.story
    return {
        "job": {**asdict(record.job), "first_seen_at": record.first_seen_at, "source": record.source},
        "sentence": story.sentence,
        "steps": [{"at": s.at, "seconds": s.seconds, "runner": s.runner, "what": s.what} for s in story.steps],
        "waits": [asdict(each) for each in record.waits],
        "submissions": [_submission(each, told.names) for each in record.submissions],
        "rerun": asdict(record.rerun) if record.rerun else None,
        **({"live": told.live.document()} if told.live else {}),
    }


def _submission(record: "SubmissionRecord", names: "EndpointNames") -> dict[str, Any]:
    from dataclasses import asdict

    from bridge.commands.submissions import row

    return {
        **row(record.submission, names),
        "execution": asdict(record.execution),
        "usd": record.usd,
        "transitions": [
            {"from": each.start, "to": each.to, "at": each.at, "reason": each.reason, "detail": each.detail}
            for each in record.transitions
        ],
    }

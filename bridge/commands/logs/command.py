"""`bridge logs`: the log of a job's worker."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from bridge.commands.ledger_access import NO_LEDGER, finish, with_ledger
from bridge.commands.options import ConfigPath
from bridge.errors import ConfigError

if TYPE_CHECKING:
    from bridge.commands.composition import Bridge
    from bridge.config.management import ManagementConfig
    from bridge.core.history import SubmissionRecord
    from bridge.runpod.management import Management
    from bridge.runpod.worker_logs import LogLine, Source

LOOK_EVERY = 5.0
"""s between two looks for the worker of a request that waits."""

KEY_MISSING = (
    "RUNPOD_MANAGEMENT_API_KEY: missing; set it to a RunPod key that may read endpoints: "
    "the log of a worker comes from RunPod's management API"
)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is shown.

    Args:
        job: as a person named it.
        follow: go on until the worker is gone.
        source: container or system; None for both.
        tail: lines of the past.
        worker: RunPod's id; None to find it.
        as_json: one JSON object for each line.
    """

    job: str
    follow: bool
    source: "Source | None"
    tail: int
    worker: str | None
    as_json: bool


def logs(  # noqa: PLR0913, PLR0917 - each is an option of its own
    job: Annotated[str, typer.Argument(metavar="JOB", help="The job's URL or id.")],
    config: ConfigPath = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the worker has ended, or Ctrl-C.")
    ] = False,
    source: Annotated[
        str | None, typer.Option(metavar="container|system", help="Only the program's output, or only the host's.")
    ] = None,
    tail: Annotated[int, typer.Option(min=0, max=5000, help="How many lines of the past.")] = 100,
    worker: Annotated[str | None, typer.Option(metavar="ID", help="The worker, if RunPod does not name it.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object for each line.")] = False,
) -> None:
    """Show the log of the worker that a job runs on. Secrets are masked. RunPod has it while the worker lives.

    Exit status: 0 shown, 1 there is no log (the line says why), 2 the configuration cannot work.
    """
    from bridge.runpod.worker_logs import Source

    if source not in (None, *Source):
        raise typer.BadParameter(f"must be {' or '.join(Source)}", param_hint="--source")
    wanted = Wanted(
        job=job,
        follow=follow,
        source=Source(source) if source else None,
        tail=tail,
        worker=worker,
        as_json=as_json,
    )

    async def work(bridge: "Bridge") -> str | None:
        from bridge.config import file
        from bridge.config.management import load_if_managed

        settings = load_if_managed(file.find(config))
        if settings is None:
            raise ConfigError(KEY_MISSING)
        return await _until_stopped(bridge, settings, wanted)

    if problem := with_ledger(config, work):
        finish(problem, "")


async def _until_stopped(bridge: "Bridge", settings: "ManagementConfig", wanted: Wanted) -> str | None:
    """Show the log until it ends or a person stops it; what did not work."""
    from bridge.commands.signals import stop_event
    from bridge.telemetry import configure_logging

    configure_logging([*settings.secrets(), *bridge.secrets])
    showing = asyncio.create_task(_show(bridge, settings, wanted))
    stopped = asyncio.create_task(stop_event().wait())
    await asyncio.wait((showing, stopped), return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    showing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        return await showing
    return None


async def _show(bridge: "Bridge", settings: "ManagementConfig", wanted: Wanted) -> str | None:
    from bridge.commands.management import management, worker_logs
    from bridge.core.endpoint_names import with_id
    from bridge.runpod.worker_logs import WorkerGone

    found = await _record(bridge, wanted.job)
    if isinstance(found, str):
        return found
    endpoint, name = found.submission.endpoint, found.submission.name
    async with management(api_key=settings.api_key, url=settings.url, key_setting=settings.key_setting) as client:
        worker = wanted.worker or await _worker(bridge, client, found, follow=wanted.follow)
    if isinstance(worker, _NoWorker):
        return worker.why
    async with worker_logs(api_key=settings.api_key, url=settings.url, key_setting=settings.key_setting) as reader:
        read = reader.follow if wanted.follow else reader.past
        try:
            await _print(read(endpoint, worker, source=wanted.source, tail=wanted.tail), wanted)
        except WorkerGone:
            return (
                f"worker {worker} of runner {name} is gone: RunPod streams the logs of live workers only; "
                f"its console keeps the logs of endpoint {with_id(endpoint, bridge.scope.endpoint_names)} for 90 days"
            )
    return None


class _NoWorker:
    def __init__(self, why: str) -> None:
        self.why = why


async def _record(bridge: "Bridge", job: str) -> "SubmissionRecord | str":
    """The submission whose worker is meant, or what is wrong."""
    from bridge.commands.logs.worker import submission_of
    from bridge.core.reference import parse

    reference = parse(job)
    if reference is None:
        return f"{job[:200]!r} is no job: give the URL or the id of a job"
    if not bridge.ledger.is_stored:
        return NO_LEDGER
    records = await bridge.ledger.read(lambda transaction: transaction.named(reference))
    if not records:
        return f"the ledger has no job {job[:200]}; `bridge jobs` lists the open jobs"
    if len(records) > 1:
        ids = ", ".join(str(record.job.id) for record in records[:20])
        return f"the run has {len(records)} jobs; name one of them: {ids}"
    found = submission_of(records[0])
    id_ = records[0].job.id
    return found or f"no runner has been requested for job {id_} yet; `bridge explain {id_}` says why"


async def _worker(
    bridge: "Bridge", client: "Management", record: "SubmissionRecord", *, follow: bool
) -> "str | _NoWorker":
    """The worker's id, or why it is not known. `follow` waits for a worker."""
    from bridge.commands.logs.worker import find

    told = False
    while True:
        found = await find(record, bridge.runpod, client)
        if found.worker:
            return found.worker
        if not (follow and found.later):
            return _NoWorker(found.why)
        if not told:
            typer.echo(f"bridge: waiting for a worker: {found.why}", err=True)
        told = True
        await asyncio.sleep(LOOK_EVERY)


async def _print(lines: "AsyncIterator[LogLine]", wanted: Wanted) -> None:
    from bridge.commands.logs.lines import shown

    async for line in lines:
        ts, source, text = shown(line.ts)[:40], shown(line.source)[:20], shown(line.text)
        if wanted.as_json:
            typer.echo(json.dumps({"ts": ts, "source": source, "line": text}))
        else:
            mark = "" if source == "container" else f"[{source}] "
            typer.echo(f"{ts} {mark}{text}")

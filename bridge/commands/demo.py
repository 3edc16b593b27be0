"""The demo: a repository's workflows from push to result, through the unchanged command and real workers."""

import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge.emulator.cloud import Cloud, cloud, github_state, repository_name
from bridge.emulator.github.state import GitHubState, Job
from bridge.emulator.runpod import EndpointConfig
from bridge.emulator.runpod.state import TERMINAL, Request
from bridge.emulator.synthetic import fill
from bridge.emulator.workflow_jobs import WorkflowError
from bridge.emulator.workflows import runs_of

if TYPE_CHECKING:
    from rich.table import Table

PASS_EVERY = 1.0
"""s between the bridge's passes."""

LOOK_EVERY = 0.1

RESTARTS, RESTART_AFTER = 20, 0.5
"""Of a bridge that died: how many, and s before each."""

REFUSED = 2
"""The exit status of a bridge whose settings cannot work; another start would not help."""


@dataclass(kw_only=True)
class Demo:
    """A demo while it runs.

    Args:
        cloud: the emulators.
        workers: the bridge's cap, and the endpoint's.
        routes: what the bridge's passes said: by job id, the route, None for a job that it leaves alone.
        passes: how many there were.
        problems: what they could not do, each once.
    """

    cloud: Cloud
    workers: int
    routes: dict[int, str | None] = field(default_factory=dict)
    passes: int = 0
    problems: dict[str, None] = field(default_factory=dict)

    def jobs(self) -> list[Job]:
        """Every job that GitHub has queued or skipped, oldest first."""
        return sorted(self.cloud.github.state.jobs.values(), key=lambda job: job.id)

    def matched(self) -> list[Job]:
        """Those that the bridge takes for its own."""
        return [job for job in self.jobs() if self.routes.get(job.id) is not None or job.executions]

    def unsupported(self) -> Iterator[dict[str, str]]:
        """Jobs that cannot run here, and why."""
        for run in self.cloud.github.state.runs.values():
            ended = run.results()
            for spec in run.spec.jobs:
                missing = next((need for need in spec.needs if need not in ended), None)
                if spec.unsupported:
                    yield {"name": spec.name, "reason": spec.unsupported}
                elif missing and spec.key not in run.jobs:
                    yield {"name": spec.name, "reason": f"it needs '{missing}', which did not run here"}

    def request_of(self, job: Job) -> Request | None:
        """The request whose runner ran a job."""
        held = {r.input.get("runner_name"): r for r in self.cloud.runpod.state.requests.values()}
        return held.get(job.executions[-1]) if job.executions else None

    def over(self) -> bool:
        """Whether all that can happen has happened: matched jobs concluded, others seen and left, nothing open."""
        # A bridge that was killed may have served a job without having told of its pass.
        known = all(job.id in self.routes or job.status == "completed" for job in self.jobs())
        waiting = any(job.status != "completed" for job in self.matched())
        requests = any(r.status not in TERMINAL for r in self.cloud.runpod.state.requests.values())
        state = self.cloud.github.state
        return bool(self.passes and known) and not (
            waiting or requests or state.runners or self.cloud.runpod.state.workers
        )

    def document(self) -> dict[str, Any]:
        """What `--json` prints."""
        requests = self.cloud.runpod.state.requests
        return {
            "jobs": [self._row(job) for job in self.jobs()],
            "unsupported": list(self.unsupported()),
            "counts": {
                "matched_jobs": len(self.matched()),
                "requests": len(requests),
                "workers_started": self.cloud.runpod.state.workers_started,
                "github_calls": {**self.cloud.github.calls, "not_modified": self.cloud.github.not_modified},
                "runpod_calls": _client_calls(self.cloud.runpod.calls),
            },
        }

    def _row(self, job: Job) -> dict[str, Any]:
        request = self.request_of(job)
        began = job.started_at if job.executions else None
        return {
            "id": job.id,
            "name": job.spec.name,
            "labels": list(job.spec.labels),
            "route": self.routes.get(job.id),
            "conclusion": job.conclusion,
            "executions": len(job.executions),
            "request_id": request and request.id,
            "runner_name": job.executions[-1] if job.executions else None,
            "queued_at": _iso(job.created_at),
            "submitted_at": _iso(request.created_at if request else None),
            "started_at": _iso(began),
            "completed_at": _iso(job.completed_at),
        }

    def table(self) -> "Table":
        """What a person sees."""
        from rich.table import Table
        from rich.text import Text

        table = Table(title="bridge demo")
        for column in ("job", "route", "request", "runner", "waited", "ran", "result"):
            table.add_column(column, overflow="fold")
        for job in self.jobs():
            request = self.request_of(job)
            cells = (
                job.spec.name,
                self._route(job),
                request.id if request else "-",
                job.executions[-1] if job.executions else "-",
                _seconds(job.created_at, job.started_at if job.executions else None),
                _seconds(job.started_at if job.executions else None, job.completed_at),
                job.conclusion or job.status,
            )
            table.add_row(*map(Text, cells))
        return table

    def _route(self, job: Job) -> str:
        if job.conclusion == "skipped":
            return "-"
        return self.routes.get(job.id, "?") or "none: left alone"


def _client_calls(calls: Counter[str]) -> dict[str, int]:
    return {call: count for call, count in calls.items() if " /v2/" in call}


def _iso(at: float | None) -> str | None:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds") if at is not None else None


def _seconds(start: float | None, end: float | None) -> str:
    return f"{end - start:.1f} s" if start is not None and end is not None else "-"


Queue = Callable[[GitHubState], Awaitable[None]]
"""Queues the jobs of a demo."""


def pushed(path: Path, event: str) -> Queue:
    """The workflows of a repository.

    Args:
        path: a local git repository, absolute.
        event: what is said to have happened to its emulated twin.
    """

    async def queue(state: GitHubState) -> None:
        name = repository_name(path)
        if name not in state.repositories:
            state.add_repository(name)
        specs = await asyncio.to_thread(runs_of, path, event, full_name=name)
        if not specs:
            print(f"bridge: {path} has no workflow that {event} triggers", file=sys.stderr)
        for spec in specs:
            state.add_run(name, spec, path)

    return queue


def forgiving(queue: Queue) -> Queue:
    """The same, where a workflow that is wrong is only reported: somebody may be about to fix it."""

    async def queue_or_report(state: GitHubState) -> None:
        try:
            await queue(state)
        except WorkflowError as error:
            print(f"bridge: {error}", file=sys.stderr)

    return queue_or_report


def trivial(jobs: int) -> Queue:
    """As many jobs as one likes, that do nothing."""

    async def queue(state: GitHubState) -> None:
        fill(state, repositories=1, jobs=jobs)

    return queue


async def run_demo(queue: Queue, *, workers: int, limit: float, as_json: bool) -> int:
    """Queue jobs at the emulated GitHub and follow the bridge until all is done.

    Args:
        queue: queues them.
        workers: at a time.
        limit: s before the demo gives up.
        as_json: print one document instead of a table.

    Returns:
        The exit status: 0 when every matched job reached a conclusion.
    """
    state = github_state()
    async with cloud(state, EndpointConfig(workers_max=workers, idle_timeout=2.0)) as served:
        await queue(state)
        demo = Demo(cloud=served, workers=workers)
        finished = await _follow(demo, limit, as_json=as_json)
        _print(demo, as_json=as_json)
    return 0 if finished else 1


async def _follow(demo: Demo, limit: float, *, as_json: bool) -> bool:
    """Run the bridge beside the emulators until the demo is over; whether it came to that in time."""
    from rich.console import Console
    from rich.live import Live

    deadline = time.monotonic() + limit
    with tempfile.TemporaryFile("w+") as log:
        bridge = asyncio.create_task(_keep_bridge(demo, log.fileno()))
        # The table goes to a terminal as it changes; elsewhere it is printed once, in the end.
        live = Live(console=Console(stderr=True), auto_refresh=False, transient=True)
        showing = not as_json and sys.stderr.isatty()
        try:
            if showing:
                live.start()
            while not demo.over() and time.monotonic() < deadline and not bridge.done():
                await asyncio.sleep(LOOK_EVERY)
                if showing:
                    live.update(demo.table(), refresh=True)
        finally:
            live.stop()
            bridge.cancel()
            await bridge
        for problem in demo.problems:
            print(f"bridge: {problem}", file=sys.stderr)
        if demo.over():
            return True
        log.seek(0)
        print(log.read(), demo.cloud.runpod.scaler.logs(), sep="\n", file=sys.stderr)
        why = "the bridge gave up" if time.monotonic() < deadline else f"{limit:g} s were not enough"
        print(f"bridge: not all jobs have ended: {why}", file=sys.stderr)
        return False


async def _keep_bridge(demo: Demo, log: int) -> None:
    """Run the bridge until cancelled, and start it again when it dies, as a service manager would."""
    for _ in range(RESTARTS + 1):
        starting = asyncio.create_task(_start_bridge(demo, log))
        try:
            bridge = await asyncio.shield(starting)
            await _read_passes(demo, bridge)
            if await bridge.wait() == REFUSED:
                return
            await asyncio.sleep(RESTART_AFTER)
        except asyncio.CancelledError:
            await _stop(demo, await starting)
            return


async def _stop(demo: Demo, bridge: asyncio.subprocess.Process) -> None:
    if bridge.returncode is None:
        bridge.send_signal(signal.SIGTERM)
    await _read_passes(demo, bridge)
    await bridge.wait()


async def _start_bridge(demo: Demo, log: int) -> asyncio.subprocess.Process:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(demo.cloud.folder),
        "BRIDGE_MAX_WORKERS": str(demo.workers),
        **demo.cloud.settings(),
    }
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bridge.dispatch", "--watch", str(PASS_EVERY), "--json"),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=log,
        limit=2**26,  # a pass over many jobs is one long line
    )


async def _read_passes(demo: Demo, bridge: asyncio.subprocess.Process) -> None:
    if bridge.stdout is None:
        return
    async for line in bridge.stdout:
        if not line.endswith(b"\n"):
            return  # killed in the middle of it
        told = json.loads(line)
        for job in told["jobs"]:
            demo.routes[job["id"]] = job["route"]
        demo.problems |= dict.fromkeys(told["problems"])
        demo.passes += 1


def _print(demo: Demo, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(demo.document(), indent=2))
        return
    from rich.console import Console
    from rich.text import Text

    console = Console()
    console.print(demo.table())
    for each in demo.unsupported():
        console.print(Text(f"unsupported: {each['name']}: {each['reason']}"))
    counts = demo.document()["counts"]
    console.print(
        f"{counts['matched_jobs']} jobs matched, {counts['requests']} requests, "
        f"{counts['workers_started']} workers started, {demo.cloud.github.calls.total()} calls to GitHub"
    )

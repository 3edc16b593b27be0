"""What a demo has done: its JSON document, and its table."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from bridge.commands.demo_kill import Killing
from bridge.commands.demo_routes import route_of
from bridge.commands.emulation import notes, printable
from bridge.core.scope import Route
from bridge.emulator.cloud import Cloud
from bridge.emulator.github.state import Job
from bridge.emulator.jobs import RunSpec
from bridge.emulator.runpod.state import TERMINAL, Request

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(kw_only=True)
class Demo:
    """A demo while it runs.

    Args:
        cloud: the emulators.
        configured: the routes of the bridge.
        variables: the environment of the bridge.
        workers: the limit of the bridge and of the endpoint.
        killing: kills a worker, if that is wanted.
        routes: of each job that a pass has reported, by job id; None for a job that the bridge ignores.
        ignored: by id, why the bridge ignores a job.
        passes: the number of passes so far.
        problems: of the passes, each once; the values are not used.
    """

    cloud: Cloud
    configured: tuple[Route, ...]
    variables: Mapping[str, str] = field(repr=False)
    workers: int
    killing: Killing = field(default_factory=Killing)
    routes: dict[int, str | None] = field(default_factory=dict)
    ignored: dict[int, str] = field(default_factory=dict)
    passes: int = 0
    problems: dict[str, None] = field(default_factory=dict)

    def jobs(self) -> list[Job]:
        """Every job that GitHub has queued or skipped, oldest first."""
        return sorted(self.cloud.github.state.jobs.values(), key=lambda job: job.id)

    def matched(self) -> list[Job]:
        """The jobs that have a route, or that a worker has run."""
        return [job for job in self.jobs() if self.routes.get(job.id) is not None or job.executions]

    def note(self, job_id: int, route: str | None, why: str | None) -> None:
        """Store what a pass reports of a job: its route, or why it has none."""
        self.routes[job_id] = route
        if route is None and why:
            self.ignored[job_id] = why
        else:
            self.ignored.pop(job_id, None)

    def unsupported(self) -> Iterator[dict[str, Any]]:
        """The jobs that cannot run on this machine, why, and the route that they would have."""
        for run in self.cloud.github.state.runs.values():
            ended = run.results()
            for spec in run.spec.jobs:
                missing = next((need for need in spec.needs if need not in ended), None)
                reason = spec.unsupported
                if not reason and missing and spec.key not in run.jobs:
                    reason = f"it needs '{missing}', which did not run here"
                if reason:
                    route = route_of(spec, run.repository, self.configured)
                    yield {"name": spec.name, "reason": reason, "labels": list(spec.labels), "route": route}

    def specs(self) -> list[RunSpec]:
        """The workflows of all runs."""
        return [run.spec for run in self.cloud.github.state.runs.values()]

    def unsuitable(self) -> bool:
        """Whether there is something to run, but nothing that the demo can run."""
        return not self.jobs() and any(spec.unsupported or spec.jobs for spec in self.specs())

    def request_of(self, job: Job) -> Request | None:
        """The request whose runner ran the job."""
        held = {r.input.get("runner_name"): r for r in self.cloud.runpod.state.requests.values()}
        return held.get(job.executions[-1]) if job.executions else None

    def over(self) -> bool:
        """Whether the matched jobs have ended, the others are reported, and no request, runner or worker is left."""
        # A bridge that is killed may have served a job in a pass that it did not report.
        known = all(job.id in self.routes or job.status == "completed" for job in self.jobs())
        waiting = any(job.status != "completed" for job in self.matched())
        requests = any(r.status not in TERMINAL for r in self.cloud.runpod.state.requests.values())
        state = self.cloud.github.state
        return bool(self.passes and known and self.killing.over()) and not (
            waiting or requests or state.runners or self.cloud.runpod.state.workers
        )

    def document(self) -> dict[str, Any]:
        """The document that `--json` prints."""
        requests = self.cloud.runpod.state.requests
        return {
            "jobs": [self._row(job) for job in self.jobs()],
            "unsupported": list(self.unsupported()),
            "unsupported_files": [{"path": s.path, "reason": s.unsupported} for s in self.specs() if s.unsupported],
            "filters_not_applied": [{"path": s.path, "filter": name} for s in self.specs() for name in s.not_applied],
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
            "attempt": job.run_attempt,
            "labels": list(job.spec.labels),
            "route": self.routes.get(job.id),
            "ignored": self.ignored.get(job.id),
            "conclusion": job.conclusion,
            "executions": len(job.executions),
            "request_id": request and request.id,
            "runner_name": job.executions[-1] if job.executions else None,
            "queued_at": _iso(job.created_at),
            "submitted_at": _iso(request.created_at if request else None),
            "started_at": _iso(began),
            "completed_at": _iso(job.completed_at),
            "steps": [{"name": s["name"], "conclusion": s.get("conclusion")} for s in _steps(job)],
            "annotations": [{"level": a.get("level"), "message": a.get("message")} for a in job.annotations],
            "log": job.log,
        }

    def table(self) -> "Table":
        """The table that a person sees."""
        from rich.table import Table
        from rich.text import Text

        table = Table(title="bridge demo")
        for column in ("job", "route", "runner", "waited", "ran", "result"):
            table.add_column(column, overflow="fold", no_wrap=column == "runner")
        for job in self.jobs():
            cells = (
                f"{job.spec.name} (attempt {job.run_attempt})" if job.run_attempt > 1 else job.spec.name,
                self._route(job),
                job.executions[-1] if job.executions else "-",
                _seconds(job.created_at, job.started_at if job.executions else None),
                _seconds(job.started_at if job.executions else None, job.completed_at),
                job.conclusion or job.status,
            )
            table.add_row(*(Text(printable(cell)) for cell in cells))
        for each in self.unsupported():
            cells = (each["name"], each["route"] or "none", "-", "-", "-", "unsupported")
            table.add_row(*(Text(printable(cell)) for cell in cells))
        return table

    def _route(self, job: Job) -> str:
        if job.conclusion == "skipped":
            return "-"
        return self.routes.get(job.id, "?") or "none: ignored"

    def _notes(self) -> Iterator[str]:
        for job in self.jobs():
            if job.id in self.ignored:
                yield f"ignored: {job.spec.name}: {self.ignored[job.id]}"
            for step in _steps(job):
                if step.get("conclusion") == "failed":
                    yield f"failed: {job.spec.name}: {step['name']}"
            for annotation in job.annotations:
                yield f"{annotation.get('level')}: {job.spec.name}: {annotation.get('message')}"
        yield from self.killing.notes()
        for spec in self.specs():
            yield from notes(spec)
        for each in self.unsupported():
            yield f"unsupported: {each['name']}: {each['reason']}"

    def show(self, *, as_json: bool) -> None:
        """Print the document, or the table and a summary."""
        if as_json:
            print(json.dumps(self.document(), indent=2))
            return
        from rich.console import Console
        from rich.text import Text

        console = Console()
        if self.jobs() or any(self.unsupported()):
            console.print(self.table())
        if not self.jobs():
            console.print("no job that the demo can run")
        for line in self._notes():
            console.print(Text(printable(line)), soft_wrap=True)
        counts = self.document()["counts"]
        console.print(
            f"{counts['matched_jobs']} jobs matched, {counts['requests']} requests, "
            f"{counts['workers_started']} workers started, {self.cloud.github.calls.total()} calls to GitHub"
        )


def _steps(job: Job) -> list[dict[str, Any]]:
    """What the runner reported of the steps, in their order."""
    return sorted(job.steps.values(), key=lambda step: step.get("number") or 0)


def _client_calls(calls: Counter[str]) -> dict[str, int]:
    return {call: count for call, count in calls.items() if " /v2/" in call}


def _iso(at: float | None) -> str | None:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds") if at is not None else None


def _seconds(start: float | None, end: float | None) -> str:
    return f"{end - start:.1f} s" if start is not None and end is not None else "-"

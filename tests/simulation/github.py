"""GitHub in virtual time: runs, jobs, registrations, and which runner gets which job.

It follows facts/github.md ("Jobs and runners", "workflow_job webhook") and facts/runner.md ("No job, and leaving"),
and shares no decision with the bridge.
"""

import asyncio
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

from bridge.core.model import JobStatus, Runner, Sent, WorkflowJob
from tests.simulation.loop import START
from tests.simulation.scenario import Run, value_at

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation


@dataclass(eq=False)
class RunState:
    """A run. `active` counts its jobs that were given to a runner, picked up or not."""

    id: int
    spec: Run
    jobs: list["Job"] = field(default_factory=list)
    active: int = 0

    @property
    def status(self) -> str:
        """The status of its least advanced job: a job that waits for an approval hides queued ones."""
        found = {job.status for job in self.jobs}
        if found == {JobStatus.COMPLETED}:
            return "completed"
        if JobStatus.WAITING in found:
            return "waiting"
        return "queued" if found == {JobStatus.QUEUED} else "in_progress"


@dataclass(eq=False)
class Job:
    """A workflow job. Times are s since the simulation began."""

    id: int
    name: str
    run: RunState
    status: JobStatus
    created: float
    queued: float | None = None
    started: float | None = None
    ended: float | None = None
    conclusion: str | None = None
    runner: "Registration | None" = None
    executions: int = 0
    to_cancel: bool = False
    shown: WorkflowJob | None = None

    @property
    def repository(self) -> str:
        return self.run.spec.repository


@dataclass(eq=False)
class Registration:
    """A registration at GitHub; all are ephemeral.

    Args:
        owner: the dispatcher that requested it.
        alive: a runner process uses it.
        online: GitHub lists it as online.
        job: the job that GitHub has given to it.
        picked_up: whether its process has taken the job.
        gone: it was deleted.
        news: set when one of these values changes.
    """

    id: int
    name: str
    labels: tuple[str, ...]
    target: str
    group: str
    owner: str
    created: float
    alive: bool = False
    online: bool = False
    job: Job | None = None
    picked_up: bool = False
    gone: bool = False
    news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def wanted(self) -> frozenset[str]:
        return frozenset(label.lower() for label in self.labels)


class GitHubModel:
    """GitHub. All methods return at once; timers do what takes time."""

    def __init__(self, simulation: "Simulation") -> None:
        self._simulation = simulation
        self.facts = simulation.scenario.github
        self.jobs: dict[int, Job] = {}
        self.runs: dict[int, RunState] = {}
        self.registrations: dict[int, Registration] = {}
        self.log: list[tuple[Sent, WorkflowJob]] = []
        self.subscribers: list[Callable[[str, WorkflowJob], None]] = []
        self._queued: dict[int, Job] = {}
        self._ids = count(1_001)
        self._assigning = False
        for window in (*self.facts.outages, *(window for _, window in self.facts.archived)):
            if window.until < simulation.scenario.seconds:
                simulation.at(window.until, self._assign_soon)

    def wall(self) -> float:
        """Unix seconds by GitHub's clock."""
        now = self._simulation.now
        return START + now + value_at(self.facts.skew, now, 0.0)

    # --- runs and jobs ---

    def start(self, spec: Run) -> None:
        """Start a run; all its jobs are announced at once."""
        run = RunState(next(self._ids), spec)
        self.runs[run.id] = run
        for n in range(spec.jobs + spec.waiting):
            waits = n >= spec.jobs
            status = JobStatus.WAITING if waits else JobStatus.QUEUED
            job = Job(next(self._ids), f"{spec.name}-{n}", run, status, self._simulation.now)
            self.jobs[job.id] = job
            run.jobs.append(job)
        for job in run.jobs:
            if job.status is JobStatus.QUEUED:
                self._queue(job)
            elif spec.approved is not None:
                self._simulation.later(spec.approved, self._queue, job)
        if spec.cancelled is not None:
            self._simulation.later(spec.cancelled, self.cancel_run, run)

    def _queue(self, job: Job) -> None:
        if job.status is JobStatus.COMPLETED:
            return
        job.status, job.queued = JobStatus.QUEUED, self._simulation.now
        self._queued[job.id] = job
        self._announce(job)
        if job.run.spec.dispatched:
            self._simulation.later(self.facts.queue_limit, self._too_old, job)
        self._assign_soon()

    def _too_old(self, job: Job) -> None:
        # GitHub fails a self-hosted job that was queued for 24 h.
        if job.status is JobStatus.QUEUED and job.runner is None:
            self._complete(job, "failure")

    def cancel_run(self, run: RunState) -> None:
        """A person cancels a run."""
        for job in run.jobs:
            self.cancel(job)

    def cancel(self, job: Job) -> None:
        """A person cancels a job: it ends at once if no runner has it, else its runner ends it."""
        if job.status is JobStatus.COMPLETED:
            return
        if job.status is JobStatus.IN_PROGRESS and job.runner:
            job.to_cancel = True
            job.runner.news.set()
            return
        if job.runner:
            self._take_back(job, job.runner)
        self._complete(job, "cancelled")

    # --- runners ---

    def register(
        self, *, name: str, labels: tuple[str, ...], target: str, group: str, owner: str
    ) -> Registration | None:
        """Make a registration; None if a runner of this name exists in the target (409)."""
        if any(r.name == name and r.target == target for r in self.registrations.values()):
            return None
        made = Registration(next(self._ids), name, labels, target, group, owner, self._simulation.now)
        self.registrations[made.id] = made
        self._simulation.later(self.facts.unconnected, self._unconnected, made)
        return made

    def _unconnected(self, runner: Registration) -> None:
        if not runner.gone and not runner.online and runner.job is None:
            self._remove(runner)

    def delete(self, runner_id: int) -> bool:
        """Delete a registration; False if its runner has a job (422)."""
        runner = self.registrations.get(runner_id)
        if runner is None:
            return True
        if runner.job is not None:
            return False
        self._remove(runner)
        return True

    def _remove(self, runner: Registration) -> None:
        self.registrations.pop(runner.id, None)
        runner.gone, runner.online = True, False
        runner.news.set()

    def open_session(self, runner: Registration) -> bool:
        """A runner process connects and listens; False if another process has the session."""
        if runner.alive or runner.online:
            return False
        runner.alive = runner.online = True
        runner.news.clear()
        if self.facts.reap:
            self._simulation.later(self._simulation.random.uniform(*self.facts.reap), self._reap, runner)
        self._assign_soon()
        return True

    def _reap(self, runner: Registration) -> None:
        if not runner.gone and runner.online and runner.job is None:
            self._remove(runner)

    def close_session(self, runner: Registration) -> None:
        """The runner process ends its session; the registration stays and is offline."""
        runner.alive = runner.online = False

    def lose(self, runner: Registration) -> None:
        """The runner process dies without closing its session."""
        if runner.gone:
            return
        runner.alive = False
        self._simulation.later(self.facts.offline_after, self._offline, runner)
        if runner.job and runner.picked_up:
            self._simulation.later(self.facts.lost_after, self._lost, runner.job, runner)

    def _offline(self, runner: Registration) -> None:
        if not runner.alive:
            runner.online = False

    def _lost(self, job: Job, runner: Registration) -> None:
        # "lost communication with the server": the job fails and is not requeued.
        if job.runner is runner and job.status is JobStatus.IN_PROGRESS:
            self._complete(job, "failure")

    # --- assignment ---

    def _assign_soon(self) -> None:
        if not self._assigning:
            self._assigning = True
            self._simulation.later(self.facts.assign_delay, self._assign)

    def _assign(self) -> None:
        self._assigning = False
        if self._simulation.within(self.facts.outages):
            return
        idle = [r for r in self.registrations.values() if r.online and r.job is None]
        for job in list(self._queued.values()):
            if not idle:
                return
            runner = next((r for r in idle if self.may_have(r, job)), None) if self._can_run(job) else None
            if runner:
                idle.remove(runner)
                self._give(job, runner)

    def _can_run(self, job: Job) -> bool:
        spec = job.run.spec
        if not spec.dispatched or any(
            spec.repository == name and self._simulation.within((window,)) for name, window in self.facts.archived
        ):
            return False
        return spec.max_parallel is None or job.run.active < spec.max_parallel

    def may_have(self, runner: Registration, job: Job) -> bool:
        """Whether a runner has all labels of a job and the job's repository may use it."""
        place, _, name = runner.target.partition("/")
        if place == "repos" and name.lower() != job.repository.lower():
            return False
        if place == "orgs" and name.lower() != job.repository.partition("/")[0].lower():
            return False
        admitted = self.facts.groups.get(runner.group)
        if place == "orgs" and admitted is not None and job.repository not in admitted:
            return False
        return {label.lower() for label in job.run.spec.labels} <= runner.wanted

    def _give(self, job: Job, runner: Registration) -> None:
        del self._queued[job.id]
        job.runner, runner.job, runner.picked_up = runner, job, False
        job.run.active += 1
        runner.news.set()
        self._simulation.later(self.facts.pickup, self._not_picked_up, job, runner)

    def _not_picked_up(self, job: Job, runner: Registration) -> None:
        if job.runner is runner and job.status is JobStatus.QUEUED:
            self._take_back(job, runner)
            self._queued[job.id] = job
            self._assign_soon()

    def _take_back(self, job: Job, runner: Registration) -> None:
        job.runner = runner.job = None
        job.run.active -= 1
        runner.news.set()

    def pick_up(self, runner: Registration) -> Job | None:
        """The runner process takes its job; None if GitHub has taken the job back or another process has it."""
        job = runner.job
        if job is None or runner.picked_up:
            return None
        runner.picked_up = True
        job.status, job.started = JobStatus.IN_PROGRESS, self._simulation.now
        job.executions += 1
        if job.executions > 1:
            self._simulation.violated(f"job {job.name} runs {job.executions} times")
        self._announce(job)
        return job

    def finish(self, job: Job, runner: Registration, conclusion: str) -> None:
        """The runner reports that its job has ended."""
        if job.runner is runner and job.status is JobStatus.IN_PROGRESS:
            self._complete(job, conclusion)

    def _complete(self, job: Job, conclusion: str) -> None:
        self._queued.pop(job.id, None)
        job.status, job.conclusion, job.ended = JobStatus.COMPLETED, conclusion, self._simulation.now
        if job.runner:
            job.run.active -= 1
            job.runner.job = None
            self._remove(job.runner)
        self._announce(job)
        self._assign_soon()

    # --- API and webhooks ---

    def open_runs(self, repository: str) -> list[RunState]:
        """The runs of a repository that have not ended."""
        found = (run for run in self.runs.values() if run.spec.repository == repository)
        return [run for run in found if run.status != "completed"]

    def view(self, job: Job) -> WorkflowJob:
        """A job as the API shows it; the same object until it changes."""
        if job.shown is None:
            job.shown = WorkflowJob(
                id=job.id,
                run_id=job.run.id,
                repository=job.repository,
                name=job.name,
                labels=job.run.spec.labels,
                status=job.status,
                conclusion=job.conclusion,
                runner_id=job.runner.id if job.runner and job.started is not None else None,
                runner_name=job.runner.name if job.runner and job.started is not None else None,
                created_at=self._at(job.created),
                started_at=self._at(job.created if job.started is None else job.started),
                completed_at=None if job.ended is None else self._at(job.ended),
                fork=False,
            )
        return job.shown

    def runners(self, target: str) -> Iterator[Runner]:
        """The registrations of a target, as the API lists them."""
        for r in self.registrations.values():
            if r.target == target:
                yield Runner(id=r.id, name=r.name, online=r.online, busy=r.job is not None, labels=r.labels)

    def _at(self, seconds: float) -> float:
        return START + seconds + value_at(self.facts.skew, seconds, 0.0)

    def _announce(self, job: Job) -> None:
        """Send a delivery: to the log at once, to the dispatchers late, perhaps never, perhaps twice."""
        job.shown = None
        shown = self.view(job)
        number = len(self.log)
        sent = Sent(
            id=number,
            guid=f"guid-{number}",
            event="workflow_job",
            at=self.wall(),
            action=shown.status,
            repository_id=zlib.crc32(shown.repository.encode()),
        )
        self.log.append((sent, shown))
        if self._simulation.occurs(self.facts.webhooks_lost):
            return
        for _ in range(1 + self._simulation.occurs(self.facts.webhooks_twice)):
            delay = self.facts.webhook_delay * self._simulation.random.uniform(0.5, 1.5)
            self._simulation.later(delay, self._deliver, sent.guid, shown)

    def _deliver(self, guid: str, shown: WorkflowJob) -> None:
        for hear in self.subscribers:
            hear(guid, shown)

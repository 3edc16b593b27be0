"""GitHub's side of Actions as a model: who is given what, and when. No HTTP.

What a call costs does not grow with what has ended: thousands of jobs go through one model in a benchmark.
"""

import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from bridge.emulator.github.dispatching import hindrance, is_full, is_idled_out, pairs
from bridge.emulator.github.model import (
    CONCLUSIONS,
    Choice,
    Job,
    Limits,
    Refused,
    Repository,
    Run,
    Runner,
    iso,
    jit_config,
    longest_waiting,
)
from bridge.emulator.jobs import Gate, JobSpec, RunSpec

__all__ = ["GitHubState", "Job", "Limits", "Refused", "Repository", "Run", "Runner", "iso", "jit_config"]

OnEvent = Callable[[str, Job], None]
"""Told an action of `workflow_job` (queued, waiting, in_progress, completed) and the job that it happened to."""


SWEEPS = 50
"""How often within the shortest patience the runners are looked over."""


def _nobody(_action: str, _job: Job) -> None:
    """Hears no event."""


class GitHubState:
    """All of it. Every method that may be refused raises Refused.

    Args:
        limits: how patient it is.
        clock: Unix seconds.

    Attributes:
        admitted: by runner group id, the repositories (owner/name) that may use it; a group without an entry admits
            all. https://docs.github.com/actions/how-tos/manage-runners/self-hosted-runners/manage-access
        dispatches: whether queued jobs are given to runners; False for an incident (facts/github.md: "broken ones stay
            `queued` for weeks").
    """

    def __init__(self, *, limits: Limits | None = None, clock: Callable[[], float] = time.time) -> None:
        self.limits = limits or Limits()
        self.clock = clock
        self.choose: Choice = longest_waiting
        self.on_event: OnEvent = _nobody
        self.organisations: dict[str, int] = {}
        self.repositories: dict[str, Repository] = {}
        self.redirects: dict[str, int] = {}  # by a repository's old name in lower case, its id
        self.groups: dict[int, str] = {1: "Default"}
        self.admitted: dict[int, frozenset[str]] = {}
        self.dispatches = True
        self.runs: dict[int, Run] = {}
        self.jobs: dict[int, Job] = {}
        self.runners: dict[int, Runner] = {}
        self.oldest_version = (2, 329, 0)
        # https://docs.github.com/rest/actions/workflow-runs#list-workflow-runs-for-a-repository
        self.runs_listed = 1000
        self.registration_tokens: dict[str, tuple[str, float]] = {}
        self._ids = iter(range(1000, 10**9))
        self._runs_of: defaultdict[str, dict[int, Run]] = defaultdict(dict)
        self._open_runs: defaultdict[str, dict[int, Run]] = defaultdict(dict)
        self._queued: dict[int, Job] = {}
        self._idle: dict[int, Runner] = {}
        self._by_name: dict[tuple[str, str], Runner] = {}
        self._by_credential: dict[str, Runner] = {}
        self._unsettled = False
        self._swept_at = 0.0

    # --- what a test or the demo sets up ---

    def add_organisation(self, name: str) -> None:
        """An owner that runners can register at."""
        self.organisations[name] = self.next_id()

    def spelled(self, path: str) -> str:
        """An organisation or owner/name as GitHub spells it, given in any case.

        Raises:
            Refused: there is none.
        """
        known = (*self.organisations, *self.repositories)
        found = path if path in known else next((each for each in known if each.lower() == path.lower()), None)
        if found is None:
            raise Refused(404, "Not Found")
        return found

    def add_repository(self, full_name: str, **given: bool) -> Repository:
        """A repository; its owner need not be an organisation."""
        owner, name = full_name.split("/")
        made = Repository(id=self.next_id(), owner=owner, name=name, **given)
        self.repositories[full_name] = made
        return made

    def add_run(self, repository: str, spec: RunSpec, workspace: Path | None = None) -> Run:
        """Queue a run: its jobs that need no other, at once.

        What would wait for ever, or for what is not emulated, is not queued, and says so.
        """
        others = [run.spec for run in self._open_runs[repository].values()]
        hindrances = {job.key: hindrance(job, spec, self.groups.values(), others) for job in spec.jobs}
        if any(hindrances.values()):
            jobs = tuple(replace(job, unsupported=job.unsupported or hindrances[job.key]) for job in spec.jobs)
            spec = replace(spec, jobs=jobs)
        run = Run(
            id=self.next_id(),
            number=len(self.runs) + 1,
            repository=repository,
            spec=spec,
            workspace=workspace,
            created_at=self.clock(),
        )
        self.runs[run.id] = self._runs_of[repository][run.id] = self._open_runs[repository][run.id] = run
        self._queue_ready(run)
        return run

    def release(self, job: Job) -> None:
        """Open a job's gate. After a review GitHub announces the job as queued, a second time if it did so before."""
        gate, job.gate = job.gate, None
        if gate is None or job.status == "completed":
            return
        job.status = "queued"
        self._enqueue(job)
        if gate is Gate.REVIEW:
            self.on_event("queued", job)

    def cancel_job(self, job: Job) -> None:
        """As a person would: at once while it waits, through its runner while it runs."""
        if job.status == "in_progress":
            job.cancelled = True
        elif job.status != "completed":
            if job.runner:
                self._free(job.runner)
                job.runner = None
            self._conclude(job, "cancelled")

    def runs_of(self, repository: str, status: str | None = None) -> Iterator[Run]:
        """Runs of a repository, newest first, with this status or conclusion."""
        of_it = self._open_runs if status in ("queued", "in_progress", "waiting") else self._runs_of
        for run in reversed(list(of_it[repository].values())):
            if status in (None, run.status, run.conclusion):
                yield run

    # --- runners ---

    def registration_token(self, target: str) -> tuple[str, float]:
        """A token that registers runners at `target`, and its end."""
        token = "A" + secrets.token_hex(14).upper()
        expires_at = self.clock() + self.limits.registration_token
        self.registration_tokens[token] = (target, expires_at)
        return token, expires_at

    def accepts(self, token: str, target: str) -> bool:
        """Whether a registration token is good for `target`."""
        of_target, expires_at = self.registration_tokens.get(token, ("", 0.0))
        return of_target == target and self.clock() < expires_at

    def add_runner(
        self, target: str, name: str, labels: Iterable[str], *, group_id: int = 1, ephemeral: bool = True
    ) -> Runner:
        """Register a runner; a second one of a name is refused."""
        if (target, name) in self._by_name:
            raise Refused(409, f"Already exists - A runner with the name {name} already exists.")
        runner = Runner(
            id=self.next_id(),
            name=name,
            target=target,
            labels=tuple(labels),
            group_id=group_id,
            group=self.groups[group_id],
            ephemeral=ephemeral,
            credential=secrets.token_urlsafe(24),
        )
        self.runners[runner.id] = self._by_name[target, name] = self._by_credential[runner.credential] = runner
        return runner

    def delete_runner(self, target: str, runner_id: int) -> None:
        """Remove a registration; one that holds a job is refused."""
        self.tick()
        runner = self.runners.get(runner_id)
        if not runner or runner.target != target:
            raise Refused(404, "Not Found")
        if runner.job:
            raise Refused(
                422, f'Bad request - Runner "{runner.name}" is still running a job" and cannot be deleted at this time.'
            )
        self._forget(runner)

    def runners_at(self, target: str) -> list[Runner]:
        """Those registered at `target`, by id."""
        self.tick()
        return [r for r in list(self.runners.values()) if r.target == target]

    def by_credential(self, credential: str) -> Runner:
        """The runner that a bearer is."""
        found = self._by_credential.get(credential)
        if not found:
            raise Refused(404, "The runner registration has been deleted from the server")
        return found

    def online(self, runner: Runner) -> bool:
        """Whether it has a session and has been heard of."""
        return runner.session is not None and self.clock() < runner.heard_at + self.limits.heartbeat

    def open_session(self, runner: Runner, version: str) -> str:
        """Begin to listen."""
        if tuple(int(part) for part in version.split(".")) < self.oldest_version:
            raise Refused(403, "version_deprecated")
        if self.online(runner):
            raise Refused(409, "A session for this runner already exists.")
        runner.session, runner.version = secrets.token_hex(8), version
        runner.listening_since = runner.heard_at = self.clock()
        self._listen(runner)
        return runner.session

    def close_session(self, runner: Runner) -> None:
        """Stop to listen; a job that was not finished is lost with it."""
        runner.session = None
        self._idle.pop(runner.id, None)

    # --- jobs ---

    def assigned(self, runner: Runner) -> Job | None:
        """The job that waits for this runner to take it."""
        if not self.online(runner):
            self._unsettled = True
        runner.heard_at = self.clock()
        self.tick()
        return runner.job if runner.job and not runner.job.acquired else None

    def acquire(self, runner: Runner, job_id: int) -> Job:
        """Take an assigned job: from here on it runs."""
        self.tick()
        job = self.jobs.get(job_id)
        if not job or runner.job is not job:
            raise Refused(409, "The job was assigned to another runner")
        now = self.clock()
        job.acquired, job.heard_at, job.started_at = True, now, now
        job.status = "in_progress"
        job.executions.append(runner.name)
        self.on_event("in_progress", job)
        return job

    def renew(self, runner: Runner, job_id: int) -> bool:
        """Say that the job still runs; whether it was cancelled."""
        job = self._held(runner, job_id)
        job.heard_at = runner.heard_at = self.clock()
        return job.cancelled

    def complete(self, runner: Runner, job_id: int, result: str, outputs: dict[str, str], log: str) -> None:
        """End a job; an ephemeral runner's registration ends with it."""
        job = self._held(runner, job_id)
        job.outputs, job.log = outputs, log
        runner.job = None
        if runner.ephemeral:
            self._forget(runner)
        else:
            self._listen(runner)
        self._conclude(job, CONCLUSIONS[result])

    def tick(self) -> None:
        """Let time pass: take jobs from runners that do not take or renew them, delete idle runners, and assign."""
        now = self.clock()
        limits = self.limits
        patience = min(limits.pickup, limits.renewal, limits.heartbeat, *(limits.idle or ()))
        if not 0 <= now - self._swept_at < patience / SWEEPS:
            self._swept_at = now
            self._sweep(now)
        if self._unsettled:
            self._unsettled = False
            self._assign()

    def _sweep(self, now: float) -> None:
        self._unsettled = True
        for runner in list(self.runners.values()):
            job = runner.job
            if job is None and is_idled_out(runner, self.limits.idle, now):
                self._forget(runner)
            elif job is None:
                continue
            elif not job.acquired and now > job.assigned_at + self.limits.pickup:
                self._requeue(runner, job)
            elif job.acquired and now > job.heard_at + self.limits.renewal:
                self._lose(runner, job)

    def _requeue(self, runner: Runner, job: Job) -> None:
        """Queue a job again that its runner did not pick up within 60 s; no event tells of it (facts/github.md)."""
        self._free(runner)
        job.runner = None
        self._enqueue(job)

    def _lose(self, runner: Runner, job: Job) -> None:
        """Fail a job whose runner "lost communication with the server"; it is not queued again (facts/github.md).

        The registration stays, offline: https://github.com/actions/runner/issues/1364
        """
        runner.session = None
        self._free(runner)
        self._conclude(job, "failure")

    def _assign(self) -> None:
        idle = [r for r in list(self._idle.values()) if r.job is None and self.online(r)]
        if not idle or not self.dispatches:
            return
        for job, runner in pairs(list(self._queued.values()), idle, self._admits, self.choose):
            self._idle.pop(runner.id, None)
            self._queued.pop(job.id, None)
            runner.job = job
            job.runner, job.assigned_at, job.acquired = runner, self.clock(), False

    def _admits(self, runner: Runner, job: Job) -> bool:
        """Whether a job's repository may use runners at all, and this runner's group."""
        repository = self.repositories[job.repository]
        allowed = self.admitted.get(runner.group_id)
        return not repository.archived and (allowed is None or job.repository in allowed)

    def _free(self, runner: Runner) -> None:
        runner.job = None
        if runner.session is not None:
            self._listen(runner)

    def _listen(self, runner: Runner) -> None:
        if runner.job is None:
            self._idle[runner.id] = runner
            self._unsettled = True

    def _enqueue(self, job: Job) -> None:
        self._queued[job.id] = job
        self._unsettled = True

    def _forget(self, runner: Runner) -> None:
        self.runners.pop(runner.id, None)
        self._idle.pop(runner.id, None)
        self._by_name.pop((runner.target, runner.name), None)
        self._by_credential.pop(runner.credential, None)

    def _held(self, runner: Runner, job_id: int) -> Job:
        if not runner.job or runner.job.id != job_id or not runner.job.acquired:
            raise Refused(409, "The job is not this runner's")
        return runner.job

    def _conclude(self, job: Job, conclusion: str) -> None:
        self._queued.pop(job.id, None)
        job.status, job.conclusion, job.completed_at = "completed", conclusion, self.clock()
        self.on_event("completed", job)
        self._go_on_with_matrix(self.runs[job.run_id], job)
        self._queue_ready(self.runs[job.run_id])

    def _go_on_with_matrix(self, run: Run, ended: Job) -> None:
        """After the end of one of its jobs: cancel the others, or let the next that waits for its turn run."""
        strategy = ended.spec.strategy
        if strategy is None:
            return
        open_ones = [job for job in run.jobs.values() if job.spec.strategy == strategy and job.status != "completed"]
        if strategy.fail_fast and ended.result().conclusion == "failure":
            for job in open_ones:
                self.cancel_job(job)
            return
        waiting = next((job for job in open_ones if job.gate is Gate.MAX_PARALLEL), None)
        if waiting and not is_full(run, strategy):
            self.release(waiting)

    def _queue_ready(self, run: Run) -> None:
        """Queue what waits no longer; what its condition skips may free others in turn."""
        while ready := list(self._ready(run)):
            for spec in ready:
                message = spec.message(run.results())
                if message is None:
                    self._skip(run, spec)
                else:
                    self._queue(run, spec, dict(message))
        if run.status == "completed":
            self._open_runs[run.repository].pop(run.id, None)

    def _ready(self, run: Run) -> Iterator[JobSpec]:
        results = run.results()
        for spec in run.runnable():
            if spec.key not in run.jobs and all(key in results for key in spec.needs):
                yield spec

    def _skip(self, run: Run, spec: JobSpec) -> None:
        """Make a job that never runs. GitHub sends no event but of its end."""
        job = self._add_job(run, spec, {})
        job.status, job.conclusion, job.completed_at = "completed", "skipped", job.created_at
        self.on_event("completed", job)

    def _add_job(self, run: Run, spec: JobSpec, message: dict[str, object]) -> Job:
        job = Job(
            id=self.next_id(),
            run_id=run.id,
            repository=run.repository,
            spec=spec,
            message=message,
            created_at=self.clock(),
        )
        run.jobs[spec.key] = self.jobs[job.id] = job
        return job

    def _queue(self, run: Run, spec: JobSpec, message: dict[str, object]) -> None:
        waits = spec.strategy is not None and is_full(run, spec.strategy)
        job = self._add_job(run, spec, message)
        job.gate = spec.gate or (Gate.MAX_PARALLEL if waits else None)
        if job.gate is Gate.REVIEW:
            job.status = "waiting"
        if job.gate is None:
            self._enqueue(job)
        self.on_event(job.status, job)

    def next_id(self) -> int:
        """An id that nothing else has."""
        return next(self._ids)

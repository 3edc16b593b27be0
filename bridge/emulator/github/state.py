"""GitHub's side of Actions as a model: repositories, runs, jobs, runners, and who gets what. No HTTP."""

import base64
import json
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from bridge.emulator.jobs import JobResult, JobSpec, RunSpec

CONCLUSIONS = {
    "Succeeded": "success",
    "Failed": "failure",
    "Canceled": "cancelled",
    "Skipped": "skipped",
    "Abandoned": "failure",
}
"""The runner's word for a result -> GitHub's conclusion."""


class Refused(Exception):
    """A call that GitHub would refuse.

    Args:
        status: HTTP status.
        message: as GitHub words it.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How patient GitHub is, in s.

    Args:
        pickup: until an assigned job that its runner has not taken is queued again.
        heartbeat: until a silent runner is held to be dead.
        registration_token: life of one.
        installation_token: life of one.
    """

    pickup: float = 60.0
    heartbeat: float = 30.0
    registration_token: float = 3600.0
    installation_token: float = 3600.0


@dataclass(kw_only=True)
class Repository:
    id: int
    owner: str
    name: str
    private: bool = True
    archived: bool = False
    disabled: bool = False

    @property
    def full_name(self) -> str:
        return f"{self.owner}/{self.name}"


@dataclass(kw_only=True)
class Job:
    """A queued job and what became of it. `executions` holds the name of every runner that ran it."""

    id: int
    run_id: int
    repository: str
    spec: JobSpec
    message: dict[str, object]
    created_at: float
    status: str = "queued"
    conclusion: str | None = None
    started_at: float | None = None
    completed_at: float | None = None
    runner: "Runner | None" = None
    assigned_at: float = 0.0
    acquired: bool = False
    heard_at: float = 0.0
    cancelled: bool = False
    outputs: dict[str, str] = field(default_factory=dict)
    log: str = ""
    executions: list[str] = field(default_factory=list)

    def result(self) -> JobResult:
        """How it ended, for the jobs that need it."""
        return JobResult(conclusion=self.conclusion or "", outputs=self.outputs)


@dataclass(kw_only=True)
class Run:
    id: int
    number: int
    repository: str
    spec: RunSpec
    workspace: Path | None
    created_at: float
    jobs: dict[str, Job] = field(default_factory=dict)
    skipped: dict[str, JobResult] = field(default_factory=dict)

    @property
    def status(self) -> str:
        """queued, in_progress or completed."""
        ended = [job for job in self.jobs.values() if job.status == "completed"]
        expected = len(self.runnable()) - len(self.skipped)
        if len(ended) == expected:
            return "completed"
        begun = ended or any(job.status == "in_progress" for job in self.jobs.values())
        return "in_progress" if begun else "queued"

    @property
    def conclusion(self) -> str | None:
        """Of the whole run: failure if any job failed."""
        if self.status != "completed":
            return None
        return "failure" if any(j.conclusion == "failure" for j in self.jobs.values()) else "success"

    def runnable(self) -> list[JobSpec]:
        """The jobs that this machine can run."""
        return [spec for spec in self.spec.jobs if spec.unsupported is None]

    def results(self) -> dict[str, JobResult]:
        """What is known of ended jobs, by key."""
        ended = {key: job.result() for key, job in self.jobs.items() if job.status == "completed"}
        return {**self.skipped, **ended}


@dataclass(kw_only=True, eq=False)
class Runner:
    id: int
    name: str
    target: str
    labels: tuple[str, ...]
    group_id: int
    ephemeral: bool
    credential: str
    version: str = ""
    session: str | None = None
    listening_since: float = 0.0
    heard_at: float = 0.0
    job: Job | None = None

    def serves(self, job: Job) -> bool:
        """Whether GitHub would give it this job."""
        in_scope = self.target in (f"orgs/{job.repository.split('/')[0]}", f"repos/{job.repository}")
        return in_scope and {x.lower() for x in job.spec.labels} <= {x.lower() for x in self.labels}


Choice = Callable[[Job, Sequence[Runner]], Runner]


def longest_waiting(_job: Job, runners: Sequence[Runner]) -> Runner:
    """The runner that has listened the longest."""
    return min(runners, key=lambda r: (r.listening_since, r.id))


class GitHubState:
    """All of it. Every method that may be refused raises Refused.

    Args:
        limits: how patient it is.
        clock: Unix seconds.
    """

    def __init__(self, *, limits: Limits | None = None, clock: Callable[[], float] = time.time) -> None:
        self.limits = limits or Limits()
        self.clock = clock
        self.choose: Choice = longest_waiting
        self.organisations: dict[str, int] = {}
        self.repositories: dict[str, Repository] = {}
        self.groups: dict[int, str] = {1: "Default"}
        self.runs: dict[int, Run] = {}
        self.jobs: dict[int, Job] = {}
        self.runners: dict[int, Runner] = {}
        self.oldest_version = (2, 329, 0)
        self.registration_tokens: dict[str, tuple[str, float]] = {}
        self._ids = iter(range(1000, 10**9))
        self._queued: dict[int, Job] = {}

    # --- what a test or the demo sets up ---

    def add_organisation(self, name: str) -> None:
        """An owner that runners can register at."""
        self.organisations[name] = self.next_id()

    def add_repository(self, full_name: str, **given: bool) -> Repository:
        """A repository; its owner need not be an organisation."""
        owner, name = full_name.split("/")
        made = Repository(id=self.next_id(), owner=owner, name=name, **given)
        self.repositories[full_name] = made
        return made

    def add_run(self, repository: str, spec: RunSpec, workspace: Path | None = None) -> Run:
        """Queue a run: its jobs that need no other, at once."""
        run = Run(
            id=self.next_id(),
            number=len(self.runs) + 1,
            repository=repository,
            spec=spec,
            workspace=workspace,
            created_at=self.clock(),
        )
        self.runs[run.id] = run
        self._queue_ready(run)
        return run

    def cancel_job(self, job: Job) -> None:
        """As a person would: at once while queued, through its runner while it runs."""
        if job.status == "queued":
            self._conclude(job, "cancelled")
        else:
            job.cancelled = True

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
        if any(r.name == name and r.target == target for r in self.runners.values()):
            raise Refused(409, f"Already exists - A runner with the name {name} already exists.")
        runner = Runner(
            id=self.next_id(),
            name=name,
            target=target,
            labels=tuple(labels),
            group_id=group_id,
            ephemeral=ephemeral,
            credential=secrets.token_urlsafe(24),
        )
        self.runners[runner.id] = runner
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
        del self.runners[runner_id]

    def runners_at(self, target: str) -> list[Runner]:
        """Those registered at `target`, by id."""
        self.tick()
        return [r for r in self.runners.values() if r.target == target]

    def by_credential(self, credential: str) -> Runner:
        """The runner that a bearer is."""
        found = next((r for r in self.runners.values() if r.credential == credential), None)
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
        return runner.session

    def close_session(self, runner: Runner) -> None:
        """Stop to listen; a job that was not finished is lost with it."""
        runner.session = None

    # --- jobs ---

    def assigned(self, runner: Runner) -> Job | None:
        """The job that waits for this runner to take it."""
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
            self.runners.pop(runner.id, None)
        self._conclude(job, CONCLUSIONS[result])

    def tick(self) -> None:
        """Let time pass: jobs that were not picked up and dead runners' jobs are queued again, and all assigned."""
        now = self.clock()
        for runner in [r for r in self.runners.values() if r.job]:
            job = runner.job
            if job and not job.acquired and now > job.assigned_at + self.limits.pickup:
                self._requeue(runner, job)
            elif job and job.acquired and now > job.heard_at + self.limits.heartbeat:
                runner.session = None
                self._requeue(runner, job)
        self._assign()

    def _assign(self) -> None:
        idle = [r for r in self.runners.values() if r.job is None and self.online(r)]
        for job in list(self._queued.values()) if idle else ():
            eligible = [r for r in idle if r.serves(job)]
            if eligible:
                runner = self.choose(job, eligible)
                idle.remove(runner)
                runner.job = job
                job.runner, job.assigned_at, job.acquired = runner, self.clock(), False
                del self._queued[job.id]

    def _requeue(self, runner: Runner, job: Job) -> None:
        runner.job = None
        job.runner, job.acquired, job.status, job.started_at = None, False, "queued", None
        self._queued[job.id] = job

    def _held(self, runner: Runner, job_id: int) -> Job:
        if not runner.job or runner.job.id != job_id or not runner.job.acquired:
            raise Refused(409, "The job is not this runner's")
        return runner.job

    def _conclude(self, job: Job, conclusion: str) -> None:
        self._queued.pop(job.id, None)
        job.status, job.conclusion, job.completed_at = "completed", conclusion, self.clock()
        self._queue_ready(self.runs[job.run_id])

    def _queue_ready(self, run: Run) -> None:
        """Queue what waits no longer; what its condition skips may free others in turn."""
        while ready := list(self._ready(run)):
            for spec in ready:
                results = run.results()
                message = spec.message({key: results[key] for key in spec.needs})
                if message is None:
                    run.skipped[spec.key] = JobResult(conclusion="skipped")
                else:
                    self._queue(run, spec, dict(message))

    def _ready(self, run: Run) -> Iterator[JobSpec]:
        results = run.results()
        for spec in run.runnable():
            pending = spec.key not in run.jobs and spec.key not in run.skipped
            if pending and all(key in results for key in spec.needs):
                yield spec

    def _queue(self, run: Run, spec: JobSpec, message: dict[str, object]) -> None:
        job = Job(
            id=self.next_id(),
            run_id=run.id,
            repository=run.repository,
            spec=spec,
            message=message,
            created_at=self.clock(),
        )
        run.jobs[spec.key] = self.jobs[job.id] = self._queued[job.id] = job

    def next_id(self) -> int:
        """An id that nothing else has."""
        return next(self._ids)


def iso(at: float | None) -> str | None:
    """GitHub's way to write a time."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if at is not None else None


def jit_config(runner: Runner, base_url: str) -> str:
    """The configuration of a just-in-time runner, as GitHub encodes it."""
    files = {
        ".runner": {
            "AgentId": str(runner.id),
            "AgentName": runner.name,
            "ServerUrl": base_url,
            "GitHubUrl": base_url,
            "WorkFolder": "_work",
            "Ephemeral": "True",
        },
        ".credentials": {"Scheme": "OAuth", "Data": {"credential": runner.credential}},
        ".credentials_rsaparams": {},
    }
    encoded = {name: base64.b64encode(json.dumps(content).encode()).decode() for name, content in files.items()}
    return base64.b64encode(json.dumps(encoded).encode()).decode()

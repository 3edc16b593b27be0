"""GitHub's values: repositories, runs, jobs and runners."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa

from bridge.emulator.jobs import Gate, JobResult, JobSpec, RunSpec

CONCLUSIONS = {
    "Succeeded": "success",
    "Failed": "failure",
    "Canceled": "cancelled",
    "Skipped": "skipped",
    "Abandoned": "failure",
}
"""GitHub's conclusion for each result of a runner."""

ADVANCE = ("waiting", "queued", "in_progress", "completed")
"""The states of a job, the least advanced first."""


class Refused(Exception):
    """GitHub refuses a call.

    Args:
        status: HTTP status.
        message: GitHub's message.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How long GitHub waits, in s.

    Args:
        pickup: for a runner to take its assigned job, before the job is queued again. GitHub: 60.
            https://docs.github.com/actions/reference/runners/self-hosted-runners#routing-precedence-for-self-hosted-runners
        heartbeat: for a call of a runner, before it is shown as offline.
        renewal: for the renewal of a job by its runner, before the job fails. GitHub: 600.
        idle: shortest and longest time that an ephemeral runner may listen without a job, before GitHub deletes its
            registration; None for no limit. GitHub: 120 to 360 since September 2026.
            https://github.com/actions/runner/issues/4726
        registration_token: until a registration token expires. GitHub: one hour.
        installation_token: until an installation token expires. GitHub: one hour.
    """

    pickup: float = 60.0
    heartbeat: float = 30.0
    renewal: float = 600.0
    idle: tuple[float, float] | None = None
    registration_token: float = 3600.0
    installation_token: float = 3600.0


@dataclass(frozen=True, kw_only=True)
class GroupRules:
    """Who may use the runners of a group, apart from selected repositories.

    https://docs.github.com/rest/actions/self-hosted-runner-groups

    Args:
        private: only private repositories (visibility `private`).
        public: public repositories, too. They are only shown: jobs of public repositories get runners of every group.
        workflows: the only workflows that may use them, such as `acme/web/.github/workflows/ci.yml@main`; only shown.
    """

    private: bool = False
    public: bool = False
    workflows: tuple[str, ...] = ()


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


@dataclass(kw_only=True, eq=False)
class Job:
    """A queued or skipped job, and its result. `executions` has the names of all runners that ran it."""

    id: int
    run_id: int
    repository: str
    spec: JobSpec
    message: dict[str, object]
    created_at: float
    run_attempt: int = 1
    status: str = "queued"
    conclusion: str | None = None
    started_at: float | None = None
    completed_at: float | None = None
    runner: "Runner | None" = None
    assigned_at: float = 0.0
    told_at: float = 0.0  # when its runner was last sent a message about it
    acquired: bool = False
    heard_at: float = 0.0
    cancelled: bool = False
    reported: bool = False  # its runner has completed it
    gate: Gate | None = None
    outputs: dict[str, str] = field(default_factory=dict)
    log: str = ""
    step_logs: dict[str, str] = field(default_factory=dict)  # and summaries, by name
    steps: dict[str, dict[str, Any]] = field(default_factory=dict)  # by the runner's id of the step
    annotations: list[dict[str, Any]] = field(default_factory=list)
    feed: list[str] = field(default_factory=list)  # lines of the live log
    executions: list[str] = field(default_factory=list)

    @cached_property
    def demands(self) -> frozenset[str]:
        """The labels that its runner must have, in lower case."""
        return frozenset(label.lower() for label in self.spec.labels)

    def result(self) -> JobResult:
        """Its result, for its run and the jobs that need it."""
        tolerated = self.spec.tolerated and self.conclusion == "failure"
        return JobResult(conclusion="success" if tolerated else self.conclusion or "", outputs=self.outputs)


@dataclass(kw_only=True)
class Run:
    id: int
    number: int
    repository: str
    spec: RunSpec
    workspace: Path | None
    created_at: float
    jobs: dict[str, Job] = field(default_factory=dict)
    attempt: int = 1
    attempt_at: float = 0.0  # when the newest attempt began; 0.0 for the first
    shown: str | None = None  # a status that GitHub shows instead, because it may be late

    @property
    def status(self) -> str:
        """The status of its least advanced job.

        A run that waits for a deployment review is `waiting` although other jobs are queued, and a run with a queued
        job is `queued` although others run. This was seen at GitHub; the documentation does not say it.
        """
        if self.shown:
            return self.shown
        statuses = {job.status for job in self.jobs.values()}.intersection(ADVANCE)
        if len(self.jobs) < len(self.runnable()):
            statuses.add("in_progress")  # a job is created when the jobs that it needs have ended
        return min(statuses, key=ADVANCE.index, default="completed")

    @property
    def conclusion(self) -> str | None:
        """The conclusion of the run: failure if any job failed."""
        if self.status != "completed":
            return None
        if self.spec.unsupported:
            return "failure"  # an invalid workflow file: a failed run without jobs
        found = {result.conclusion for result in self.results().values()}
        return next((each for each in ("failure", "cancelled", "success", "skipped") if each in found), "success")

    def runnable(self) -> list[JobSpec]:
        """The jobs that can run here."""
        return [spec for spec in self.spec.jobs if spec.unsupported is None]

    def results(self) -> dict[str, JobResult]:
        """The results of ended jobs, by key."""
        return {key: job.result() for key, job in self.jobs.items() if job.status == "completed"}


@dataclass(kw_only=True, eq=False)
class Runner:
    id: int
    name: str
    target: str
    labels: tuple[str, ...]
    group_id: int
    group: str
    ephemeral: bool
    client_id: str
    public_key: rsa.RSAPublicKey | None = None  # None for the key of just-in-time runners
    version: str = ""
    session: str | None = None
    listening_since: float = 0.0
    heard_at: float = 0.0
    job: Job | None = None

    @cached_property
    def offers(self) -> frozenset[str]:
        """Its labels, in lower case."""
        return frozenset(label.lower() for label in self.labels)

    def serves(self, job: Job) -> bool:
        """Whether this runner is eligible for a job: it needs all labels of the job, compared without case."""
        in_scope = self.target in (f"orgs/{job.repository.split('/')[0]}", f"repos/{job.repository}")
        in_group = job.spec.group is None or job.spec.group.lower() == self.group.lower()
        return in_scope and in_group and job.demands <= self.offers


Choice = Callable[[Job, Sequence[Runner]], Runner]


def longest_waiting(_job: Job, runners: Sequence[Runner]) -> Runner:
    """The runner that has listened the longest."""
    return min(runners, key=lambda r: (r.listening_since, r.id))


def iso(at: float | None) -> str | None:
    """A time in GitHub's format."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if at is not None else None

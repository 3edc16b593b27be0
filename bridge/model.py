"""The values that the bridge's parts exchange. Frozen, without behaviour beyond themselves.

Times are Unix seconds (UTC), durations seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypedDict


class Reason(StrEnum):
    """How a request ended, in the words that the worker and the bridge share."""

    COMPLETED = "completed"
    NO_JOB = "no_job"
    REGISTRATION_LOST = "registration_lost"
    VERSION_DEPRECATED = "version_deprecated"
    CONFIGURATION_FAILED = "configuration_failed"
    NAME_TAKEN = "name_taken"
    CREDENTIAL_EXPIRED = "credential_expired"
    SESSION_CONFLICT = "session_conflict"
    BAD_INPUT = "bad_input"
    STOPPED = "stopped"
    TIMED_OUT = "timed_out"
    CRASHED = "crashed"


class Credentials(StrEnum):
    """What a worker is given to register its runner with."""

    JIT = "jit"
    REGISTRATION = "registration"
    APP = "app"
    PAT = "pat"


class WorkerInput(TypedDict, total=False):
    """The keys of a request's `input` that the worker reads; all others reach the job as `JOB_INPUT`."""

    mode: str  # one of Credentials; without it, what the other keys and the environment allow
    jit_config: str  # base64, secret until used
    registration_token: str  # secret, one hour
    github_pat: str  # secret; discouraged
    github_org: str  # organisation on github.com, instead of runner_url
    runner_url: str  # https://github.com/ORG, https://github.com/OWNER/REPO, or the same on GHES
    runner_name: str  # at most 64 characters
    runner_labels: list[str]  # the whole set; each at most 256 characters, without commas
    runner_group: str  # the group's name
    job_timeout: float  # s, from the job's start
    idle_timeout: float  # s that the bridge lets a runner wait; the worker itself waits 120 s longer
    not_after: float  # Unix seconds; a worker that starts later starts nothing
    submission: str  # the ledger's id, for the log


class WorkerAnswer(TypedDict, total=False):
    """A request's `output`. A failure is instead the string `error`: `{reason}: {detail}`."""

    outcome: str  # Reason.COMPLETED or Reason.NO_JOB
    job: str | None  # the job's display name
    result: str | None  # Succeeded | Failed | Canceled | Skipped | Abandoned, the runner's word
    runner_name: str
    runner_version: str | None
    exit_code: int | None  # the Listener's
    seconds: dict[str, float]  # per phase: configure, listen, job, cleanup


@dataclass(frozen=True, kw_only=True)
class Repository:
    """A repository that may hold queued jobs."""

    full_name: str  # owner/name
    public: bool


class JobStatus(StrEnum):
    """GitHub's status of a workflow job."""

    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    WAITING = "waiting"
    REQUESTED = "requested"
    PENDING = "pending"


@dataclass(frozen=True, kw_only=True)
class WorkflowJob:
    """GitHub's unit of work, as one look-up or event saw it."""

    id: int
    run_id: int
    repository: str  # owner/name
    name: str
    workflow_name: str | None = None
    labels: tuple[str, ...]
    status: JobStatus
    conclusion: str | None = None
    runner_id: int | None = None  # GitHub sends 0 for none; here it is None
    runner_name: str | None = None
    runner_group: str | None = None
    created_at: float  # s; when it was queued
    started_at: float | None = None  # s; set by GitHub even on queued jobs
    completed_at: float | None = None  # s
    head_branch: str | None = None
    html_url: str | None = None
    public: bool = False  # the repository is public
    fork: bool | None = None  # the run comes from a fork; None: nobody has asked


@dataclass(frozen=True, kw_only=True)
class Event:
    """A delivery of GitHub's that the bridge understands.

    Args:
        guid: of the delivery; a redelivery has the same.
        at: Unix seconds, when it was received.
        job: what it tells of a job, None if it tells of something else.
    """

    guid: str
    at: float
    job: WorkflowJob | None


@dataclass(frozen=True, kw_only=True)
class Sent:
    """A delivery as GitHub's log lists it.

    Args:
        id: in the log.
        guid: of the delivery; a redelivery has the same.
        at: Unix seconds, when it was sent.
    """

    id: int
    guid: str
    event: str
    at: float


@dataclass(frozen=True, kw_only=True)
class Runner:
    """A self-hosted runner as GitHub lists it."""

    id: int
    name: str
    online: bool
    busy: bool
    labels: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class JitConfig:
    """A just-in-time runner: registered, and its configuration a secret until a worker used it."""

    runner_id: int
    encoded: str = field(repr=False)  # base64


@dataclass(frozen=True, kw_only=True)
class RegistrationToken:
    """A token that registers any number of runners until it expires."""

    token: str = field(repr=False)
    expires_at: float  # Unix seconds


class RequestStatus(StrEnum):
    """RunPod's states of a request, and MISSING for a 404: expired, deleted by ttl, or never there."""

    IN_QUEUE = "IN_QUEUE"
    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    TIMED_OUT = "TIMED_OUT"
    MISSING = "MISSING"


@dataclass(frozen=True, kw_only=True)
class Request:
    """A RunPod request as `/status` shows it."""

    id: str
    status: RequestStatus
    output: Mapping[str, object] | None = None
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class EndpointHealth:
    """What `/health` of a RunPod endpoint counts; keys that it left out are 0."""

    in_queue: int = 0
    in_progress: int = 0
    workers: Mapping[str, int] = field(default_factory=dict)


IMPLIED_LABELS = ("self-hosted", "linux", "x64")
"""Labels that every runner of ours carries, beside its route's."""

JIT_LIFETIME = 86_400.0
"""s; GitHub removes an ephemeral registration that never connected after a day."""

WORKER_GRACE = 120.0
"""s by which the worker's own idle limit exceeds the route's, so that the bridge acts first."""

BOOT_ALLOWANCE = 300.0
"""s granted to a worker for its cold start and clean-up, beyond the job's own time."""


@dataclass(frozen=True, kw_only=True)
class Route:
    """Which jobs go to which endpoint, and within what limits.

    Args:
        name: unique among the routes.
        labels: in lower case, without the implied ones.
        endpoint: RunPod's endpoint id.
        max_workers: open submissions at a time, over all pools of this route.
        credentials: what the worker is given to register with.
        runner_group: GitHub's runner group, by name.
        job_timeout: s, from the job's start.
        queue_timeout: s that a request may wait for a worker.
        idle_timeout: s that a started runner may wait for a job.
        repositories: owner/name in lower case; empty means all.
        unlabelled: takes jobs without labels (`runs-on: {group: ...}`).
        allow_public_repositories: serves jobs of public repositories.
        allow_forks: serves jobs of runs that come from forks.
    """

    name: str
    labels: frozenset[str]
    endpoint: str
    max_workers: int
    credentials: Credentials = Credentials.JIT
    runner_group: str = "Default"
    job_timeout: float = 21_600.0
    queue_timeout: float = 3_600.0
    idle_timeout: float = 300.0
    repositories: frozenset[str] = frozenset()
    unlabelled: bool = False
    allow_public_repositories: bool = False
    allow_forks: bool = False

    @property
    def label_set(self) -> frozenset[str]:
        """Every label that a runner of this route carries."""
        return self.labels | frozenset(IMPLIED_LABELS)

    @property
    def execution_timeout(self) -> float:
        """Seconds after which RunPod ends a running request, whatever it does."""
        return self.idle_timeout + WORKER_GRACE + self.job_timeout + BOOT_ALLOWANCE

    @property
    def ttl(self) -> float:
        """Seconds after which RunPod forgets a request, counted from its submission."""
        return self.queue_timeout + self.execution_timeout

    @property
    def lease(self) -> float:
        """Seconds after which a runner asked for must have met its job, or serves nothing."""
        return self.queue_timeout + BOOT_ALLOWANCE + self.idle_timeout


@dataclass(frozen=True, kw_only=True)
class Scope:
    """What the bridge serves, and where it is.

    Args:
        owner: of all repositories.
        organisation: where runners register; None means at each repository.
        repositories: owner/name; empty means all that the credentials can see.
        routes: in the order of the configuration.
        prefix: of our runners' names.
        web_url: GitHub's, such as `https://github.com`.
        public_url: ours, such as `https://bridge.example.org`; None if RunPod cannot reach us.
        callback_key: signs the addresses that RunPod posts to.
        full_scan_every: s between two looks at all repositories, where the App's delivery log tells of their jobs.
        retention: s that what has ended is kept.
    """

    owner: str
    organisation: str | None
    repositories: tuple[str, ...]
    routes: tuple[Route, ...]
    prefix: str
    web_url: str
    public_url: str | None = None
    callback_key: str | None = field(default=None, repr=False)
    full_scan_every: float = 600.0
    retention: float = 14 * 86_400.0


@dataclass(frozen=True, order=True)
class Pool:
    """A route at one registration target: its runners can serve each other's jobs."""

    route: str
    target: str  # orgs/ORG or repos/OWNER/NAME


class State(StrEnum):
    """Where a submission stands. See docs/architecture.md for the arrows."""

    CLAIMED = "claimed"
    MINTED = "minted"
    SUBMITTING = "submitting"
    UNKNOWN = "unknown"
    SUBMITTED = "submitted"
    STARTED = "started"
    BUSY = "busy"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"
    NO_JOB = "no_job"
    EXPIRED = "expired"
    LOST = "lost"
    RELEASED = "released"


WAITING_STATES = frozenset(
    {State.CLAIMED, State.MINTED, State.SUBMITTING, State.UNKNOWN, State.SUBMITTED, State.STARTED}
)
"""States of a submission that holds no job yet: it is supply."""

OPEN_STATES = WAITING_STATES | {State.BUSY}
"""States of a submission that counts against its route's max_workers."""

ATTEMPT_STATES = frozenset({State.FAILED, State.NO_JOB, State.LOST})
"""Ends that count as an attempt, unless their reason is in FREE_REASONS."""

FREE_REASONS = frozenset({Reason.NAME_TAKEN, Reason.CREDENTIAL_EXPIRED, Reason.REGISTRATION_LOST})
"""Ends that say nothing about the job or its endpoint, and so do not count as an attempt."""

BREAKER_REASONS = frozenset({Reason.VERSION_DEPRECATED, Reason.CONFIGURATION_FAILED, Reason.CRASHED})
"""Ends that say that an endpoint's workers are broken."""

PROOF_STATES = frozenset({State.BUSY, State.FINISHED, State.NO_JOB})
"""States that prove that an endpoint's workers work."""


@dataclass(frozen=True, kw_only=True)
class Submission:
    """One runner asked for, under one name: a row of the ledger.

    Args:
        id: the ledger's own, 32 hex digits.
        name: the runner's name, never used again.
        job_id: the job it was asked for; it may come to hold another.
        generation: counts the names of that job, from 1.
        since: Unix seconds, when `state` began.
        created_at: Unix seconds.
        lease_until: Unix seconds; until then the dispatcher that wrote `state` is taken to be at work.
        not_after: Unix seconds; a worker that starts later starts nothing.
        held_job_id: the job that GitHub says its runner took.
        result: how that job ended.
        detail: one line for a person.
    """

    id: str
    name: str
    job_id: int
    generation: int
    pool: Pool
    endpoint: str
    credentials: Credentials
    state: State
    since: float
    created_at: float
    lease_until: float
    not_after: float
    runner_id: int | None = None
    request_id: str | None = None
    started_at: float | None = None
    held_job_id: int | None = None
    reason: Reason | None = None
    result: str | None = None
    detail: str | None = None


@dataclass(frozen=True, kw_only=True)
class JobHistory:
    """What the ledger knows of earlier submissions for one job.

    Args:
        generation: the highest used.
        attempts: submissions that count as tried and failed.
        last_claim: Unix seconds of the newest submission.
        last_end: Unix seconds when one last ended, 0 if none has.
    """

    generation: int
    attempts: int
    last_claim: float
    last_end: float


@dataclass(frozen=True, kw_only=True)
class Streak:
    """Workers of an endpoint that broke down in a row, none of them doing its work in between.

    Args:
        failures: how many.
        first: Unix seconds.
        last: Unix seconds.
        reason: of one of them.
    """

    failures: int
    first: float
    last: float
    reason: str


class LookKind(StrEnum):
    """What a look outside was at."""

    RUNNERS = "runners"  # key: a target
    HEALTH = "health"  # key: an endpoint
    SCAN = "scan"  # of all repositories
    DELIVERIES = "deliveries"  # of the App's delivery log


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a look outside showed, for the dispatchers that did not look.

    Args:
        kind: at what.
        key: at which of them, or empty.
        at: Unix seconds, when it began.
        value: JSON.
    """

    kind: LookKind
    key: str
    at: float
    value: Any


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """All that a plan is made from.

    Args:
        looked_at: Unix seconds, when the last look at GitHub and RunPod began.
        ledger_born: Unix seconds, when the ledger was made.
        prefix: of our runners' names.
        organisation: where runners register; None means at each repository.
        routes: in the order of the configuration.
        jobs: those not completed, and those that an open submission's runner took.
        seen_at: by job id, Unix seconds of the look-up or event that told its state.
        submissions: the open ones, those that ended after `looked_at`, and those whose runner is listed.
        history: by job id.
        runners: by target; a target that could not be read is absent.
        runners_at: by target, Unix seconds, when the look at its runners began.
        requests: by submission id, for those that RunPod answered for.
        health: by endpoint id, where it was asked for.
        streaks: by endpoint id, the breakdowns of its workers in a row.
    """

    looked_at: float
    ledger_born: float
    prefix: str
    organisation: str | None
    routes: tuple[Route, ...]
    jobs: tuple[WorkflowJob, ...]
    seen_at: Mapping[int, float] = field(default_factory=dict)
    submissions: tuple[Submission, ...] = ()
    history: Mapping[int, JobHistory] = field(default_factory=dict)
    runners: Mapping[str, tuple[Runner, ...]] = field(default_factory=dict)
    runners_at: Mapping[str, float] = field(default_factory=dict)
    requests: Mapping[str, Request] = field(default_factory=dict)
    health: Mapping[str, EndpointHealth] = field(default_factory=dict)
    streaks: Mapping[str, Streak] = field(default_factory=dict)

    def target_of(self, job: WorkflowJob) -> str:
        """Where a runner for `job` registers: an API path without its leading slash."""
        return f"orgs/{self.organisation}" if self.organisation else f"repos/{job.repository}"


@dataclass(frozen=True, kw_only=True)
class Claim:
    """Ask for one runner: claim its name, mint its credential, submit its request."""

    pool: Pool
    job_id: int
    name: str
    generation: int


@dataclass(frozen=True, kw_only=True)
class Move:
    """Record what was seen of a submission; nothing is called."""

    submission: Submission
    to: State
    reason: Reason | None = None
    held_job_id: int | None = None
    result: str | None = None
    detail: str | None = None


@dataclass(frozen=True, kw_only=True)
class Withdraw:
    """Delete a submission's registration and, only if GitHub agrees, cancel its request.

    Args:
        to: the state when GitHub agreed; when it refused the runner holds a job, and the state is busy.
        runner_id: the registration, None if there is none to delete.
    """

    submission: Submission
    to: State
    runner_id: int | None
    detail: str


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Delete a registration of ours that no open submission needs, if GitHub agrees."""

    target: str
    runner: Runner


@dataclass(frozen=True, kw_only=True)
class Skip:
    """Why a queued job gets no new submission now.

    Args:
        why: one line for a person.
        route: the route it matches, if any.
        nearest: the route that came nearest, for a job that matches none.
    """

    job_id: int
    why: str
    route: str | None = None
    nearest: str | None = None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to do now, and for every queued job that is left alone, why."""

    claims: tuple[Claim, ...] = ()
    moves: tuple[Move, ...] = ()
    withdrawals: tuple[Withdraw, ...] = ()
    sweeps: tuple[Sweep, ...] = ()
    skips: tuple[Skip, ...] = ()

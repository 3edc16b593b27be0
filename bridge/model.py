"""The world outside, and what the bridge is told to serve, as values. Frozen, without behaviour beyond themselves.

Times are Unix seconds (UTC), durations seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypedDict


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
    GITHUB_UNREACHABLE = "github_unreachable"
    EXPIRED = "expired"
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
    runner_url: str  # https://github.com/ORG, https://github.com/OWNER/REPO, or the same on the GHES of the endpoint
    runner_name: str  # at most 64 characters
    runner_labels: list[str]  # the whole set; each at most 256 characters, without commas
    runner_group: str  # the group's name
    job_timeout: float  # s, from the job's start
    idle_timeout: float  # s that the bridge lets a runner wait; the worker itself waits 120 s longer
    not_after: float  # Unix seconds; a worker that starts later starts nothing
    submission: str  # the ledger's id, for the log


class WorkerAnswer(TypedDict, total=False):
    """A request's `output`.

    A failure has `outcome` and, once the runner was started, `seconds`, and beside the output the string `error`:
    `{reason}: {detail}`.
    """

    outcome: str  # Reason.COMPLETED, NO_JOB (the runner listened) or EXPIRED (nothing was started), or a failure's
    job: str | None  # the job's display name
    result: str | None  # Succeeded | Failed | Canceled | Skipped | Abandoned, the runner's word
    runner_name: str
    runner_version: str | None
    exit_code: int | None  # the Listener's
    seconds: dict[str, float]  # per phase: configure, connect, listen (with GitHub, for a job), job, leave, cleanup


@dataclass(frozen=True, kw_only=True, slots=True)
class Repository:
    """A repository that may hold queued jobs."""

    full_name: str  # owner/name
    public: bool
    id: int = 0  # stays when the repository is renamed; 0 if unknown


@dataclass(frozen=True, kw_only=True, slots=True)
class WaitingRun:
    """A workflow run that waits for a deployment review; other jobs of it may be queued.

    Args:
        created_at: Unix seconds.
        updated_at: Unix seconds.
        details: what its jobs do not say themselves, as `GitHub.run_jobs` needs it.
    """

    id: int
    repository: str  # owner/name
    created_at: float
    updated_at: float
    details: Mapping[str, object] = field(repr=False, default_factory=dict)


class JobStatus(StrEnum):
    """GitHub's status of a workflow job."""

    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    WAITING = "waiting"
    REQUESTED = "requested"
    PENDING = "pending"


@dataclass(frozen=True, kw_only=True, slots=True)
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


@dataclass(frozen=True, kw_only=True, slots=True)
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Sent:
    """A delivery as GitHub's log lists it.

    Args:
        id: in the log.
        guid: of the delivery; a redelivery has the same.
        at: Unix seconds, when it was sent.
        action: of the event, such as `queued`; None if unknown.
        repository_id: of the event's repository; None if unknown.
    """

    id: int
    guid: str
    event: str
    at: float
    action: str | None = None
    repository_id: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Runner:
    """A self-hosted runner as GitHub lists it."""

    id: int
    name: str
    online: bool
    busy: bool
    labels: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Deleted:
    """GitHub's agreement to end a runner: it deleted this registration, which it refuses while the runner has a job.

    So the runner holds no job and can be given none. Only GitHub's client makes one, from the answer 204.
    """

    target: str
    runner_id: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Absent:
    """GitHub knows no registration of this id (404). It proves nothing about a job: that of an ephemeral runner is gone
    when its job ends, and the same name may be registered under another id.
    """

    target: str
    runner_id: int


@dataclass(frozen=True, kw_only=True, slots=True)
class JitConfig:
    """A just-in-time runner: registered, and its configuration a secret until a worker used it."""

    runner_id: int
    encoded: str = field(repr=False)  # base64


@dataclass(frozen=True, kw_only=True, slots=True)
class Cancellation:
    """Which request may be cancelled, and why it can hold no job.

    Args:
        endpoint: RunPod's id.
        request_id: RunPod's id.
        proof: the deletion of the registration that its worker uses; or, where the worker makes that itself, a
            registration of the bridge's own under the same name, which GitHub refuses while there is another.
    """

    endpoint: str
    request_id: str
    proof: Deleted | JitConfig


@dataclass(frozen=True, kw_only=True, slots=True)
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """A RunPod request as `/status` shows it."""

    id: str
    status: RequestStatus
    output: Mapping[str, object] | None = None
    error: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
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
        generic_jobs: takes jobs that ask for implied labels only (`runs-on: self-hosted`).
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
    generic_jobs: bool = False
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
        interval: s between two looks.
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
    interval: float = 30.0

"""The values that the bridge's parts exchange. Frozen, without behaviour beyond themselves.

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
    fork: bool = False  # the run comes from a fork


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

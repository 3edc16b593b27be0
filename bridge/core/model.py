"""GitHub's and RunPod's objects as values: frozen, and without behaviour.

Times are Unix seconds (UTC), durations are seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

LONGEST_NAME = 256
"""Characters in a runner's name or a delivery's guid, which the ledger indexes. GitHub's are shorter."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Repository:
    """A repository that may hold queued jobs."""

    full_name: str  # owner/name
    public: bool
    id: int = 0  # does not change when the repository is renamed; 0 if unknown


@dataclass(frozen=True, kw_only=True, slots=True)
class WaitingRun:
    """A workflow run that waits for a deployment review. Some of its jobs may be queued.

    Args:
        created_at: Unix seconds.
        updated_at: Unix seconds.
        details: of the run, which `GitHub.run_jobs` needs and its jobs do not contain.
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


class Source(StrEnum):
    """How the bridge first learned of a job."""

    WEBHOOK = "webhook"
    DELIVERY_LOG = "delivery log"
    POLL = "poll"


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkflowJob:
    """GitHub's unit of work, as a look-up or an event shows it."""

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
    run_attempt: int | None = None  # from 1; a job that is re-run has a new id
    public: bool = False  # the repository is public
    fork: bool | None = None  # the run comes from a fork; None: not looked up


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """The content of a delivery.

    Args:
        event: GitHub's name of it.
        owner: of the repository or installation that it is about; None if it has none.
        job: of a `workflow_job` event.
    """

    event: str
    owner: str | None
    job: WorkflowJob | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """A delivery from GitHub that the bridge understands.

    Args:
        guid: of the delivery; a redelivery has the same.
        at: Unix seconds, when it was received.
        job: that it is about; None if it is about something else.
        source: how it reached the bridge.
    """

    guid: str
    at: float
    job: WorkflowJob | None
    source: Source = Source.WEBHOOK


@dataclass(frozen=True, kw_only=True, slots=True)
class Sent:
    """A delivery as GitHub's delivery log lists it.

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
    """The proof that a runner can be ended: GitHub deleted its registration, and refuses that if the runner has a job.

    So the runner holds no job and can get none. Only the GitHub client makes this value, from the answer 204.
    """

    target: str
    runner_id: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Absent:
    """GitHub has no registration with this id (404). That proves nothing about a job: the registration of an ephemeral
    runner is gone when its job ends, and the same name may be registered under another id.
    """

    target: str
    runner_id: int


@dataclass(frozen=True, kw_only=True, slots=True)
class JitConfig:
    """A just-in-time runner: it is registered, and its configuration is secret until a worker has used it."""

    runner_id: int
    encoded: str = field(repr=False)  # base64


@dataclass(frozen=True, kw_only=True, slots=True)
class Cancellation:
    """A request that may be cancelled, and the proof that it holds no job.

    Args:
        endpoint: RunPod's id.
        request_id: RunPod's id.
        proof: the deletion of the registration that its worker uses. If the worker registers itself: a registration
            that the bridge made under the same name, which GitHub refuses while there is another.
    """

    endpoint: str
    request_id: str
    proof: Deleted | JitConfig


@dataclass(frozen=True, kw_only=True)
class SelfTestRequest:
    """A request whose input asks for a self-test, so that it holds no job and may be cancelled.

    Args:
        endpoint: RunPod's id.
        request_id: RunPod's id.
    """

    endpoint: str
    request_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RegistrationToken:
    """A token that can register any number of runners until it expires."""

    token: str = field(repr=False)
    expires_at: float  # Unix seconds


class RequestStatus(StrEnum):
    """RunPod's states of a request. MISSING is a 404: it has expired, its ttl has ended, or it never existed."""

    IN_QUEUE = "IN_QUEUE"
    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    TIMED_OUT = "TIMED_OUT"
    MISSING = "MISSING"


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """A RunPod request as `/status` shows it.

    Args:
        delay: s that it waited for a worker.
        execution: s that its worker had it.
        worker_id: RunPod's id of its last worker.
    """

    id: str
    status: RequestStatus
    output: Mapping[str, object] | None = None
    error: str | None = None
    delay: float | None = None
    execution: float | None = None
    worker_id: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class EndpointHealth:
    """The counts in `/health` of a RunPod endpoint. Keys that are missing there are 0."""

    in_queue: int = 0
    in_progress: int = 0
    workers: Mapping[str, int] = field(default_factory=dict)


def storable(text: object) -> str:
    """A text that every database can store: PostgreSQL refuses NUL, and an unpaired surrogate is not valid text."""
    return str(text).replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()

"""The world outside, and what the bridge is told to serve, as values. Frozen, without behaviour beyond themselves.

Times are Unix seconds (UTC), durations seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

LONGEST_NAME = 256
"""Characters of a runner's name or a delivery's guid, which the ledger indexes; GitHub's are shorter."""


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
class Delivery:
    """What a delivery tells.

    Args:
        event: as GitHub names it.
        owner: of the repository or installation that it is about, as far as it tells.
        job: of a `workflow_job`.
    """

    event: str
    owner: str | None
    job: WorkflowJob | None = None


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


def storable(text: object) -> str:
    """A text that every database can store: PostgreSQL refuses NUL, and an unpaired surrogate is not valid text."""
    return str(text).replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()

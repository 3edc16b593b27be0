"""The values of the ledger and of the decision: submissions, their states, and what became of runners.

They are frozen and have no behaviour. Times are Unix seconds (UTC), durations are seconds.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import TypedDict

from bridge.core.worker import Credentials, Reason


@dataclass(frozen=True, order=True, slots=True)
class Pool:
    """A route at one registration target. Each runner of a pool can serve each of its jobs."""

    route: str
    target: str  # orgs/ORG or repos/owner/name


def target_of_repository(repository: str) -> str:
    """Where a runner for a single repository registers. Upper and lower case mean the same to GitHub."""
    return f"repos/{repository.lower()}"


class State(StrEnum):
    """The state of a submission. docs/architecture.md shows the transitions."""

    CLAIMED = "claimed"
    MINTED = "minted"
    SUBMITTING = "submitting"
    UNKNOWN = "unknown"
    SUBMITTED = "submitted"
    STARTED = "started"
    BUSY = "busy"
    WITHDRAWN = "withdrawn"
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
"""States of a submission that holds no job yet: it counts as supply."""


OPEN_STATES = WAITING_STATES | {State.BUSY, State.WITHDRAWN}
"""States of a submission that counts against its route's max_workers."""


LEASED_STATES = frozenset({State.CLAIMED, State.MINTED, State.SUBMITTING})
"""States in which a dispatcher is working on a submission, unless it has died."""


FAILURE_STATES = frozenset({State.FAILED, State.LOST})
"""End states that count as a failed attempt, unless the reason is in FREE_REASONS or the runner was idle."""


FREE_REASONS = frozenset({Reason.NAME_TAKEN, Reason.CREDENTIAL_EXPIRED})
"""Reasons that say nothing about the job or its endpoint, and do not count as an attempt."""


IDLE_STATES = frozenset({State.NO_JOB, State.LOST, State.EXPIRED, State.FAILED})
"""End states of a runner that listened and got no job."""


IDLE_REASONS = frozenset({Reason.NO_JOB, Reason.REGISTRATION_LOST})
"""Reasons for the end of such a runner. GitHub removes registrations that are idle for minutes."""


BREAKER_REASONS = frozenset(
    {Reason.VERSION_DEPRECATED, Reason.CONFIGURATION_FAILED, Reason.GITHUB_UNREACHABLE, Reason.CRASHED}
)
"""Reasons that count as a failure of an endpoint's workers."""


PROOF_STATES = frozenset({State.BUSY, State.FINISHED, State.NO_JOB})
"""States that prove that an endpoint's workers work."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Submission:
    """One runner that was requested, under one name: a row of the ledger.

    Args:
        id: the ledger's own, 32 hex digits.
        name: the runner's name, which is never used again.
        job_id: the job that it was requested for. Its runner may get another one.
        generation: number of the name among that job's names, from 1.
        since: Unix seconds, when `state` began.
        created_at: Unix seconds.
        lease_until: Unix seconds; until then the dispatcher that wrote `state` is assumed to be working.
        not_after: Unix seconds; a worker that starts later starts no runner.
        held_job_id: the job that its runner took, as GitHub shows it.
        result: how that job ended.
        detail: one line for a person.
        taken_at: Unix seconds, when the bridge first saw that its runner had a job.
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
    taken_at: float | None = None


class Changes(TypedDict, total=False):
    """Fields of a submission that a transition may change, besides its state. See `Submission`."""

    since: float
    not_after: float
    runner_id: int | None
    request_id: str
    held_job_id: int
    reason: Reason
    result: str
    detail: str


@dataclass(frozen=True, kw_only=True, slots=True)
class JobHistory:
    """What the ledger knows about earlier submissions for one job.

    Args:
        generation: the highest that was used.
        attempts: submissions that failed, without runners that were idle.
        first_claim: Unix seconds of the first submission since the job was last retried by hand, 0 for none.
        last_claim: Unix seconds of the newest submission.
        last_end: Unix seconds when one last ended, 0 if none has; without those that moved to another endpoint.
        moves: submissions that left an endpoint without capacity.
    """

    generation: int
    attempts: int
    last_claim: float
    last_end: float
    first_claim: float = 0.0
    moves: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class IdleRunner:
    """A runner that listened and ended without a job.

    Args:
        began: Unix seconds, when it began to listen.
        ended: Unix seconds.
        refuted: a job that was queued while it listened has run later, so it is no evidence against other jobs.
    """

    pool: Pool
    began: float
    ended: float
    refuted: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class RunnerUse:
    """A job of a run on one of our runners.

    Args:
        began: Unix seconds.
        ended: Unix seconds, None while the job is in progress.
    """

    run_id: int
    pool: Pool
    began: float
    ended: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Streak:
    """Failures of an endpoint's workers in a row, with no success in between.

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


@dataclass(frozen=True, kw_only=True, slots=True)
class Starvation:
    """Requests that recently left an endpoint because RunPod had no capacity for its workers.

    Args:
        first: Unix seconds, when the first one left since a worker last started there; None if one has started since
            the last one left.
        last: Unix seconds, when the last one left.
        started: how many workers have started there since.
    """

    first: float | None
    last: float
    started: int = 0

"""The values of the ledger and of the decision: submissions, what a plan is made from, and what it says.

Frozen, without behaviour beyond themselves. Times are Unix seconds (UTC), durations seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from bridge.model import Credentials, EndpointHealth, Reason, Request, Route, Runner, WorkflowJob


@dataclass(frozen=True, order=True, slots=True)
class Pool:
    """A route at one registration target: its runners can serve each other's jobs."""

    route: str
    target: str  # orgs/ORG or repos/owner/name


def target_of_repository(repository: str) -> str:
    """Where a runner for a repository's own jobs registers; GitHub takes its name in any case."""
    return f"repos/{repository.lower()}"


class State(StrEnum):
    """Where a submission stands. See docs/architecture.md for the arrows."""

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
"""States of a submission that holds no job yet: it is supply."""


OPEN_STATES = WAITING_STATES | {State.BUSY, State.WITHDRAWN}
"""States of a submission that counts against its route's max_workers."""


LEASED_STATES = frozenset({State.CLAIMED, State.MINTED, State.SUBMITTING})
"""States in which a dispatcher is at work, unless it has died."""


FAILURE_STATES = frozenset({State.FAILED, State.LOST})
"""Ends that count as a failed attempt, unless their reason is in FREE_REASONS or the runner was idle."""


FREE_REASONS = frozenset({Reason.NAME_TAKEN, Reason.CREDENTIAL_EXPIRED})
"""Ends that say nothing about the job or its endpoint, and so do not count as an attempt."""


IDLE_STATES = frozenset({State.NO_JOB, State.LOST, State.EXPIRED, State.FAILED})
"""States in which a runner that listened and took no job may have ended."""


IDLE_REASONS = frozenset({Reason.NO_JOB, Reason.REGISTRATION_LOST})
"""Reasons with which such a runner may have ended. GitHub removes registrations that are idle for minutes."""


BREAKER_REASONS = frozenset(
    {Reason.VERSION_DEPRECATED, Reason.CONFIGURATION_FAILED, Reason.GITHUB_UNREACHABLE, Reason.CRASHED}
)
"""Ends that say that an endpoint's workers are broken."""


PROOF_STATES = frozenset({State.BUSY, State.FINISHED, State.NO_JOB})
"""States that prove that an endpoint's workers work."""


@dataclass(frozen=True, kw_only=True, slots=True)
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


@dataclass(frozen=True, kw_only=True, slots=True)
class JobHistory:
    """What the ledger knows of earlier submissions for one job.

    Args:
        generation: the highest used.
        attempts: submissions that failed; runners that were idle are not among them.
        first_claim: Unix seconds of the first submission since the job was last retried by hand, 0 for none.
        last_claim: Unix seconds of the newest submission.
        last_end: Unix seconds when one last ended, 0 if none has.
    """

    generation: int
    attempts: int
    last_claim: float
    last_end: float
    first_claim: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class IdleRunner:
    """A runner that listened and ended without a job.

    Args:
        began: Unix seconds, when it began to listen.
        ended: Unix seconds.
        refuted: a job that was queued while it listened ran later, so it proves nothing about other jobs.
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
    DELIVERIES = "deliveries"  # of the App's delivery log; value: see bridge.missed
    RESCAN = "rescan"  # value: repositories that the last scan could not read
    WAITING = "waiting"  # of runs that wait for a review; value: see bridge.waiting
    NAMES = "names"  # of configured repositories; value: see bridge.repositories
    REFUSAL = "refusal"  # key: of bridge.refusals
    MISSING = "missing"  # requests that RunPod does not know: since when (Unix seconds), by submission id
    RESUMED = "resumed"  # at anything, the first after a gap


@dataclass(frozen=True, kw_only=True, slots=True)
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """What a target, a runner group or an endpoint has refused, and until when it is left alone.

    Args:
        at: Unix seconds, of the last refusal.
        until: Unix seconds of the next try.
        count: refusals in a row; 0 for a rate limit, which ends by itself at `until`.
        why: one line for a person.
    """

    at: float
    until: float
    count: int
    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """All that a plan is made from.

    Args:
        began: Unix seconds, when the observation began that this is made from.
        at: Unix seconds, when its last part began, the look-up of jobs.
        looked_at: Unix seconds, when the last look at GitHub's runners began, this one or one before.
        ledger_born: Unix seconds, when the ledger was made, or went on after a gap: it may have been restored.
        prefix: of our runners' names.
        organisation: where runners register; None means at each repository.
        routes: in the order of the configuration.
        jobs: those not completed, and those that an open submission's runner took.
        seen_at: by job id, Unix seconds of the look-up or event that told its state.
        submissions: the open ones, those that ended after `looked_at`, and those whose runner is listed.
        history: by job id.
        runners: by target; a target that was not read lately is absent.
        runners_at: by target, Unix seconds, when the look at its runners began.
        requests: by submission id, for those that RunPod answered for.
        health: by endpoint id, where it was asked for.
        health_at: by endpoint id, Unix seconds, when the look began that read it.
        missing_since: by submission id, Unix seconds since when RunPod does not know its request.
        streaks: by endpoint id, the breakdowns of its workers in a row.
        queued_since: by job id, Unix seconds since when it is queued, or was retried by hand, by the bridge's clock.
        idle: runners that ended without a job lately.
        last_taken: by pool, Unix seconds when one of its runners last took a job.
        uses: of the runs whose jobs were queued beside an idle runner.
        refusals: by a key of bridge.refusals.
    """

    began: float
    at: float
    looked_at: float
    ledger_born: float
    knows_since: float
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
    health_at: Mapping[str, float] = field(default_factory=dict)
    missing_since: Mapping[str, float] = field(default_factory=dict)
    streaks: Mapping[str, Streak] = field(default_factory=dict)
    queued_since: Mapping[int, float] = field(default_factory=dict)
    idle: tuple[IdleRunner, ...] = ()
    last_taken: Mapping[Pool, float] = field(default_factory=dict)
    uses: tuple[RunnerUse, ...] = ()
    refusals: Mapping[str, Refusal] = field(default_factory=dict)

    def target_of(self, job: WorkflowJob) -> str:
        """Where a runner for `job` registers: an API path without its leading slash."""
        return f"orgs/{self.organisation}" if self.organisation else target_of_repository(job.repository)


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """Ask for one runner: claim its name, mint its credential, submit its request."""

    pool: Pool
    job_id: int
    name: str
    generation: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Move:
    """Record what was seen of a submission; nothing is called."""

    submission: Submission
    to: State
    reason: Reason | None = None
    held_job_id: int | None = None
    result: str | None = None
    detail: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Withdraw:
    """Delete a submission's registration and, only if GitHub agrees, cancel its request.

    Args:
        to: the state when GitHub agreed; when it refused the runner holds a job, and the state is busy.
        runner_id: the registration, None if there is none to delete.
        reason: of that state, None for none.
    """

    submission: Submission
    to: State
    runner_id: int | None
    detail: str
    reason: Reason | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Sweep:
    """Delete a registration of ours that no open submission needs, if GitHub agrees."""

    target: str
    runner: Runner


@dataclass(frozen=True, kw_only=True, slots=True)
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What to do now, and for every queued job that is left alone, why.

    Args:
        given_up: ids of jobs that get no more runners until they are retried by hand.
        warnings: what a person should change, a line each.
    """

    claims: tuple[Claim, ...] = ()
    moves: tuple[Move, ...] = ()
    withdrawals: tuple[Withdraw, ...] = ()
    sweeps: tuple[Sweep, ...] = ()
    skips: tuple[Skip, ...] = ()
    given_up: tuple[int, ...] = ()
    warnings: tuple[str, ...] = ()

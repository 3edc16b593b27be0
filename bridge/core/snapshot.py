"""What a plan is made from: jobs, submissions, and what was read from GitHub and RunPod.

Times are Unix seconds (UTC), durations seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from bridge.core.model import EndpointHealth, Request, Runner, WorkflowJob
from bridge.core.scope import Route
from bridge.core.submissions import IdleRunner, JobHistory, Pool, RunnerUse, Streak, Submission, target_of_repository


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
        refusals: by a key of bridge.core.refusals.
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

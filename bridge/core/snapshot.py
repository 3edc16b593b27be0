"""The input of a plan: jobs, submissions, and what was read from GitHub and RunPod.

Times are Unix seconds (UTC), durations are seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from bridge.core.budget import Budget
from bridge.core.endpoint_names import EndpointNames
from bridge.core.lost import LostJob, RerunRecord, SeenRun
from bridge.core.model import EndpointHealth, Request, Runner, WorkflowJob
from bridge.core.pauses import Pause
from bridge.core.scope import Route
from bridge.core.submissions import (
    IdleRunner,
    JobHistory,
    Pool,
    RunnerUse,
    Starvation,
    Streak,
    Submission,
    target_of_repository,
)
from bridge.core.timing import Timing


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """A refusal by a target, a runner group or an endpoint, and the time of the next try.

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
    """The input of a plan.

    Args:
        began: Unix seconds, when this pass began to read.
        at: Unix seconds, when its last part began, the look-up of jobs.
        runners_read_at: Unix seconds, when GitHub's runners were last read, in this pass or an earlier one.
        ledger_born: Unix seconds, when the ledger was created.
        knows_since: Unix seconds, when the ledger was created or was last used again after a gap. After a gap it may
            be a restored copy.
        prefix: of our runners' names.
        organisation: where runners register; None if they register at each repository.
        routes: in the order of the configuration.
        jobs: those that are not completed, and those of the runners of open submissions.
        seen_at: by job id, Unix seconds of the look-up or event that showed its state.
        submissions: the open ones, those that ended after `runners_read_at`, and those whose runner is listed.
        history: by job id.
        runners: by target; a target that was not read recently is absent.
        runners_at: by target, Unix seconds, when its runners were read.
        requests: by submission id, RunPod's answers.
        health: by endpoint id, if it was read.
        health_at: by endpoint id, Unix seconds, when it was read.
        missing_since: by submission id, Unix seconds since when RunPod answers 404 for its request.
        streaks: by endpoint id, the failures of its workers in a row.
        starvations: by endpoint id, the requests that recently left it because it had no capacity.
        endpoint_names: by endpoint id, the name that people read, where it has one.
        workers_max: by endpoint id, its limit of workers, where it is known.
        worker_quota: the most requests that may be open at all endpoints; None for no limit.
        queued_since: by job id, Unix seconds by the bridge's clock since it was queued or was retried by hand.
        idle: runners that recently ended without a job.
        last_taken: by pool, Unix seconds when one of its runners last took a job.
        uses: of the runs whose jobs were queued while a runner was idle.
        refusals: by a key of bridge.core.refusals.
        pauses: by route, those that people have ordered.
        lost: jobs that may have lost their workers, of those routes that re-run such jobs.
        reruns: what is written down of their runs.
        runs: by run id, what GitHub shows of them, None for one that it does not know; absent if it was not asked.
        timing: the durations.
        budgets: those that are configured.
    """

    began: float
    at: float
    runners_read_at: float
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
    starvations: Mapping[str, Starvation] = field(default_factory=dict)
    endpoint_names: EndpointNames = field(default_factory=dict)
    workers_max: Mapping[str, int] = field(default_factory=dict)
    worker_quota: int | None = None
    queued_since: Mapping[int, float] = field(default_factory=dict)
    idle: tuple[IdleRunner, ...] = ()
    last_taken: Mapping[Pool, float] = field(default_factory=dict)
    uses: tuple[RunnerUse, ...] = ()
    refusals: Mapping[str, Refusal] = field(default_factory=dict)
    pauses: Mapping[str, Pause] = field(default_factory=dict)
    lost: tuple[LostJob, ...] = ()
    reruns: tuple[RerunRecord, ...] = ()
    runs: Mapping[int, SeenRun | None] = field(default_factory=dict)
    timing: Timing = Timing()
    budgets: tuple[Budget, ...] = ()

    def target_of(self, job: WorkflowJob) -> str:
        """Where a runner for `job` registers: an API path without its leading slash."""
        return f"orgs/{self.organisation}" if self.organisation else target_of_repository(job.repository)

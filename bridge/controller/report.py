"""What a pass decided and did."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from bridge.core.actions import Plan
from bridge.core.budget import Budget
from bridge.core.endpoint_names import EndpointNames
from bridge.core.history import Wait
from bridge.core.lost import Rerun
from bridge.core.model import EndpointHealth, WorkflowJob
from bridge.core.pauses import Pause
from bridge.core.snapshot import Refusal
from bridge.core.submissions import State, Streak, Submission
from bridge.errors import Problem


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What a pass decided, with the part of its snapshot that is shown. The rest is freed while requests are sent.

    Args:
        plan: what to do.
        jobs: as of the snapshot.
        standing: by route and state, how many submissions were open.
        at_endpoints: how many submissions are open, by endpoint id and state.
        endpoint_names: as of the snapshot.
        streaks: as of the snapshot.
        refusals: as of the snapshot.
        health: as of the snapshot.
        pauses: by route, as of the snapshot.
        waits: by job id, why each queued job waits; only of a decision that was carried out.
        waiting_since: by endpoint id, Unix seconds since when its oldest request waits for a worker.
        budgets: as of the snapshot.
        costs: by route, USD of the submissions that the plan has ended and whose price is known.
        claimed: the plan's claims, as they were written.
        seconds: how long the decision kept other writers waiting.
    """

    plan: Plan
    jobs: tuple[WorkflowJob, ...] = ()
    standing: Mapping[tuple[str, State], int] = field(default_factory=dict)
    at_endpoints: Mapping[tuple[str, State], int] = field(default_factory=dict)
    endpoint_names: EndpointNames = field(default_factory=dict)
    streaks: Mapping[str, Streak] = field(default_factory=dict)
    refusals: Mapping[str, Refusal] = field(default_factory=dict)
    health: Mapping[str, EndpointHealth] = field(default_factory=dict)
    pauses: Mapping[str, Pause] = field(default_factory=dict)
    waits: Mapping[int, Wait] = field(default_factory=dict)
    waiting_since: Mapping[str, float] = field(default_factory=dict)
    budgets: tuple[Budget, ...] = ()
    costs: Mapping[str, float] = field(default_factory=dict)
    claimed: tuple[Submission, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a pass did.

    Args:
        decision: the plan and what it was made from.
        submitted: submissions whose requests RunPod accepted.
        problems: what could not be done, each once.
        seconds: how long the pass took.
        reruns: what became of jobs that may have lost their workers, as far as it is final.
    """

    decision: Decision
    submitted: tuple[Submission, ...]
    problems: tuple[Problem, ...]
    seconds: float
    reruns: tuple[Rerun, ...] = ()


def standing_problems(decision: Decision) -> list[Problem]:
    """Refusals of earlier passes that jobs still wait for."""
    met = {skip.refusal for skip in decision.plan.skips}
    return [Problem(refusal.why) for key, refusal in decision.refusals.items() if key in met]

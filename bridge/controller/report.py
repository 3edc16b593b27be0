"""What a pass decided and did."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from bridge.core.actions import Plan
from bridge.core.lost import Rerun
from bridge.core.model import EndpointHealth, WorkflowJob
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
        streaks: as of the snapshot.
        refusals: as of the snapshot.
        health: as of the snapshot.
        claimed: the plan's claims, as they were written.
        seconds: how long the decision kept other writers waiting.
    """

    plan: Plan
    jobs: tuple[WorkflowJob, ...] = ()
    standing: Mapping[tuple[str, State], int] = field(default_factory=dict)
    streaks: Mapping[str, Streak] = field(default_factory=dict)
    refusals: Mapping[str, Refusal] = field(default_factory=dict)
    health: Mapping[str, EndpointHealth] = field(default_factory=dict)
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
    reasons = [skip.why for skip in decision.plan.skips]
    refused = decision.refusals.items()
    return [Problem(refusal.why) for key, refusal in refused if any(why.startswith(f"{key} ") for why in reasons)]

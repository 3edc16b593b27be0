"""The reasons for which a job has waited so far. Pure.

A reason is kept when its kind or its route changes. A countdown in its text, or the number of a place, does not count.
"""

from collections.abc import Mapping

from bridge.core.actions import Plan, Skip, SkipKind
from bridge.core.history import Wait

MOST = 200
"""Reasons that are kept of one job. Capacity may come and go for a day, once for each resync."""


def waits_of(plan: Plan, now: float) -> dict[int, Wait]:
    """By job id, why each queued job of a plan waits; a job that gets a runner now waits for that runner.

    Args:
        plan: the decision.
        now: Unix seconds, when it was made.
    """
    waits = {s.job_id: Wait(at=now, kind=s.kind, why=_lasting(s), route=s.route) for s in plan.skips}
    for claim in plan.claims:
        why = f"asking for runner {claim.name}"
        waits[claim.job_id] = Wait(at=now, kind=SkipKind.REQUESTED, why=why, route=claim.pool.route)
    return waits


def _lasting(skip: Skip) -> str:
    return skip.why.removesuffix(f"; {skip.due}") if skip.due else skip.why


def is_new(wait: Wait, last: Wait | None) -> bool:
    """Whether a reason is to be kept.

    Args:
        wait: of a job, now.
        last: that was kept of the job; None for none. The wait for a job's first runner is no news: its submission's
            transitions tell it.
    """
    if last is None:
        return wait.kind != SkipKind.REQUESTED
    return (wait.kind, wait.route) != (last.kind, last.route)


def changed(waits: Mapping[int, Wait], before: Mapping[int, Wait]) -> dict[int, Wait]:
    """The reasons that may have to be kept.

    Args:
        waits: by job id, of this pass.
        before: by job id, of the last pass of this process. What did not change since then is not looked up.
    """
    return {job_id: wait for job_id, wait in waits.items() if job_id not in before or is_new(wait, before[job_id])}

"""The reasons for which a job has waited so far. Pure.

A reason is kept when its kind or its route changes. A countdown in its text, or the number of a place, does not count.
What usually ends with the next pass is kept only if it lasts. So a job that gets its runner at once leaves nothing.
"""

from collections.abc import Mapping

from bridge.core.actions import Plan, Skip, SkipKind
from bridge.core.history import Wait

MOST = 200
"""Reasons that are kept of one job. Capacity may come and go for a day, once for each resync."""

LASTS = 60.0
"""s after which a reason of PASSING is kept."""

PASSING = frozenset({SkipKind.ORIGIN_UNKNOWN, SkipKind.ENDED_UNSEEN, SkipKind.RUNNERS_UNKNOWN})
"""Reasons that the next pass ends by asking GitHub."""


def waits_of(plan: Plan, before: Mapping[int, Wait], now: float) -> dict[int, Wait]:
    """By job id, why each queued job of a plan waits; a job that gets a runner now waits for that runner.

    Args:
        plan: the decision.
        before: of the last pass of this process: a reason that lasts keeps its time.
        now: Unix seconds, when the plan was made.
    """

    def wait(job_id: int, kind: SkipKind, why: str, route: str | None) -> Wait:
        last = before.get(job_id)
        lasts = last is not None and (last.kind, last.route) == (kind, route)
        return Wait(at=last.at if last and lasts else now, kind=kind, why=why, route=route)

    skipped = {s.job_id: wait(s.job_id, s.kind, _lasting(s), s.route) for s in plan.skips}
    return skipped | {
        c.job_id: wait(c.job_id, SkipKind.REQUESTED, f"asking for runner {c.name}", c.pool.route) for c in plan.claims
    }


def to_keep(waits: Mapping[int, Wait], before: Mapping[int, Wait], now: float) -> dict[int, Wait]:
    """The reasons that may be new to the ledger. The others need not be looked up.

    Args:
        waits: by job id, of this pass.
        before: of the last pass of this process.
        now: Unix seconds.
    """
    return {job_id: wait for job_id, wait in waits.items() if _may_be_new(wait, before.get(job_id), now)}


def is_new(wait: Wait, last: Wait | None) -> bool:
    """Whether a reason is to be kept.

    Args:
        wait: of a job, now.
        last: that was kept of the job; None for none. The wait for a requested runner is kept only to end another: the
            transitions of the runner tell it.
    """
    return wait.kind != SkipKind.REQUESTED if last is None else not _same(wait, last)


def _may_be_new(wait: Wait, before: Wait | None, now: float) -> bool:
    if wait.kind in PASSING:
        return now >= wait.at + LASTS
    return is_new(wait, before)


def _same(wait: Wait, other: Wait) -> bool:
    return (wait.kind, wait.route) == (other.kind, other.route)


def _lasting(skip: Skip) -> str:
    return skip.why.removesuffix(f"; {skip.due}") if skip.due else skip.why

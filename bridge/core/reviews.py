"""How often the jobs of runs that wait for a deployment review are read. Pure.

A run has the status of its least advanced job, so a run that waits for a review can have queued jobs. It can wait for
days. Reading it costs a call, which the hourly limit does not count while nothing has changed.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from bridge.core.model import WaitingRun
from bridge.core.timing import Timing

SHARE = 0.1
"""The part of a run's age that passes between two readings."""

MOST_READ = 100
"""Runs that are read in one resync."""


@dataclass(frozen=True, kw_only=True)
class RunRead:
    """When a run was last read.

    Args:
        at: Unix seconds.
        updated_at: Unix seconds, GitHub's value at that time.
    """

    at: float
    updated_at: float


@dataclass(frozen=True, kw_only=True)
class WaitingRuns:
    """What is known of the runs that wait for a review.

    Args:
        next_at: Unix seconds, when they are listed again.
        read: by run id.
    """

    next_at: float = 0.0
    read: Mapping[int, RunRead] = field(default_factory=dict)


def due(runs: Collection[WaitingRun], readings: Mapping[int, RunRead], timing: Timing, now: float) -> list[WaitingRun]:
    """Choose the runs to read now, those first that were read longest ago.

    Args:
        runs: that wait, as GitHub lists them.
        readings: by run id, when it was last read.
        timing: how rarely a run is read.
        now: Unix seconds.
    """
    due_at = {run.id: _due_at(run, readings.get(run.id), timing) for run in runs}
    wanted = [run for run in runs if due_at[run.id] <= now]
    return sorted(wanted, key=lambda run: (due_at[run.id], run.id))[:MOST_READ]


def _due_at(run: WaitingRun, last: RunRead | None, timing: Timing) -> float:
    if last is None or run.updated_at != last.updated_at:
        return -math.inf
    return last.at + min(max((last.at - run.created_at) * SHARE, timing.reviews_every), timing.review_reread)

"""Which of the runs that wait for a deployment review are read, and how rarely. Pure.

A run's status is that of its least advanced job, so a run that waits for a review may hold queued jobs. It may wait for
days. Reading it costs a call, which the hourly limit does not count while nothing has changed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from bridge.core.model import WaitingRun

LIST_EVERY = 300.0
"""s between two looks at which runs wait: a call for each repository."""

READ_WITHIN = 900.0
"""s after which a run that waits is read again, at the latest; a new run, or one that GitHub has updated, at the next
look, and a run of less than 50 min at each look."""

SHARE = 0.1
"""Of a run's age, that passes between two readings."""

MOST_READ = 100
"""Runs read in one look."""


@dataclass(frozen=True, kw_only=True)
class RunRead:
    """When a run was last read.

    Args:
        at: Unix seconds.
        updated_at: GitHub's, as it was then, in Unix seconds.
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


def due(runs: Iterable[WaitingRun], readings: Mapping[int, RunRead], now: float) -> list[WaitingRun]:
    """The runs to read now, those first that were not read for the longest time.

    Args:
        runs: that wait, as GitHub lists them.
        readings: by run id.
        now: Unix seconds.
    """
    wanted = [(_due_at(run, readings.get(run.id)), run.id, run) for run in runs]
    return [run for at, _, run in sorted(wanted, key=lambda each: each[:2]) if at <= now][:MOST_READ]


def _due_at(run: WaitingRun, last: RunRead | None) -> float:
    if last is None or run.updated_at != last.updated_at:
        return 0.0
    return last.at + min(max((last.at - run.created_at) * SHARE, LIST_EVERY), READ_WITHIN)

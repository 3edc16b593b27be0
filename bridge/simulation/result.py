"""The result of a simulation."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Served(NamedTuple):
    """A job that has run.

    Args:
        route: that served it.
        endpoint: that it ran at.
        queued: s from the first job's arrival until it was queued.
        waited: s from then until it started.
        ran: s.
    """

    route: str
    endpoint: str
    queued: float
    waited: float
    ran: float


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a trace costs and how long its jobs wait.

    Args:
        served: the jobs, in the order in which they ended.
        paid: by endpoint id, s that its workers ran: from a worker's start until it has stopped.
        most_workers: by endpoint id, the most workers at a time.
        moves: (Unix seconds, job id, endpoint) of each request that left a starved endpoint.
        passes: how often the bridge decided.
        unserved: jobs that GitHub failed because no runner took them within a day.
    """

    served: tuple[Served, ...]
    paid: Mapping[str, float]
    most_workers: Mapping[str, int]
    moves: tuple[tuple[float, int, str], ...]
    passes: int
    unserved: int = 0

    @property
    def paid_seconds(self) -> float:
        """At all endpoints."""
        return sum(self.paid.values())

    def wait(self, share: float) -> float:
        """The seconds that this share of the jobs, from 0 to 1, waited at most."""
        return quantile([each.waited for each in self.served], share)


def quantile(values: Sequence[float], share: float) -> float:
    """The value that this share of the values, from 0 to 1, does not exceed; 0 without values."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0

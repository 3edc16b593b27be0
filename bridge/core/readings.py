"""What GitHub and RunPod last answered. The ledger keeps it, so that every dispatcher knows what one has read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

from bridge.core.model import EndpointHealth, Runner
from bridge.core.repositories import Names
from bridge.core.reviews import WaitingRuns
from bridge.core.snapshot import Refusal

T = TypeVar("T")


class Timed(NamedTuple, Generic[T]):
    """What was read, and when.

    Args:
        at: Unix seconds, when the reading began.
        value: what was read.
    """

    at: float
    value: T


@dataclass(frozen=True, kw_only=True)
class Place:
    """How far the App's delivery log has been read.

    Args:
        until: Unix seconds of GitHub's clock; every delivery that was sent earlier has been read or skipped.
        tries: by id of each later delivery that could not be read, how often it was tried.
    """

    until: float
    tries: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Readings:
    """Answers of GitHub and RunPod. What was not read is absent or None.

    Args:
        runners: by registration target.
        health: by endpoint id.
        refusals: by a key of bridge.core.refusals; None for one that was lifted.
        names: of the configured repositories.
        full_scan: of all repositories.
        unread: repositories that the last scan could not read.
        waiting: runs that wait for a deployment review.
        place: in the App's delivery log.
        missing: by submission id, Unix seconds since when RunPod does not know its request.
        resumed: the ledger went on after a gap in which nothing was read.
    """

    runners: Mapping[str, Timed[tuple[Runner, ...]]] = field(default_factory=dict)
    health: Mapping[str, Timed[EndpointHealth]] = field(default_factory=dict)
    refusals: Mapping[str, Timed[Refusal | None]] = field(default_factory=dict)
    names: Timed[Names] | None = None
    full_scan: Timed[None] | None = None
    unread: Timed[frozenset[str]] | None = None
    waiting: Timed[WaitingRuns] | None = None
    place: Timed[Place] | None = None
    missing: Timed[Mapping[str, float]] | None = None
    resumed: Timed[None] | None = None

    @property
    def scanned_at(self) -> float:
        """Unix seconds when the last scan of all repositories began, 0 for none."""
        return self.full_scan.at if self.full_scan else 0.0

"""Circuit breaker: whether an endpoint whose workers fail gets another request. Pure."""

from collections.abc import Mapping, Sequence

from bridge.core.submissions import Streak
from bridge.core.timing import Timing

OPENS_AT = 3
"""Failures in a row that open the breaker."""

NO_ANSWER = "RunPod did not answer"
"""The reason of a streak whose last failure was a request that was not answered."""


def with_unanswered(streaks: Mapping[str, Streak], unanswered: Mapping[str, Sequence[float]]) -> dict[str, Streak]:
    """Count requests without an answer as failures, from the second one in a row on.

    Args:
        streaks: by endpoint id, the failures of its workers.
        unanswered: by endpoint id, Unix seconds of the requests without an answer since the last answer.
    """
    found = dict(streaks)
    for endpoint, times in unanswered.items():
        if len(times) > 1:
            again = sorted(times)[1:]
            before = found.get(endpoint) or Streak(failures=0, first=again[0], last=again[-1], reason=NO_ANSWER)
            found[endpoint] = Streak(
                failures=before.failures + len(again),
                first=min(before.first, again[0]),
                last=max(before.last, again[-1]),
                reason=NO_ANSWER if again[-1] >= before.last else before.reason,
            )
    return found


def probe_at(streak: Streak | None, timing: Timing) -> float | None:
    """When an endpoint with an open breaker may get one request as a try.

    Args:
        streak: its failures, None for none.
        timing: the shortest and the longest wait.

    Returns:
        Unix seconds; None while the breaker is closed. The wait is as long as the failures have lasted, so it doubles
        from try to try.
    """
    if streak is None or streak.failures < OPENS_AT:
        return None
    return streak.last + min(max(streak.last - streak.first, timing.breaker_shortest), timing.breaker_longest)

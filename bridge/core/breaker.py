"""Whether an endpoint whose workers break down gets another request. Pure."""

from collections.abc import Mapping, Sequence

from bridge.core.submissions import Streak

OPENS_AT = 3
"""Breakdowns in a row."""

SHORTEST, LONGEST = 60.0, 1800.0
"""s from a breakdown to the next probe."""


NO_ANSWER = "RunPod did not answer"
"""The reason of a streak whose last failure was a request without an answer."""


def with_unanswered(streaks: Mapping[str, Streak], unanswered: Mapping[str, Sequence[float]]) -> dict[str, Streak]:
    """Count requests without an answer as breakdowns, from the second one in a row on.

    Args:
        streaks: by endpoint id, its workers' breakdowns.
        unanswered: by endpoint id, Unix seconds of the requests whose answer did not come, since one last came.
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


def probe_at(streak: Streak | None) -> float | None:
    """When an endpoint may be probed with one request.

    Args:
        streak: of its workers' breakdowns, None for none.

    Returns:
        Unix seconds, None while it may have all the requests that there are. The wait is as long as the trouble
        has lasted, so it doubles from probe to probe.
    """
    if streak is None or streak.failures < OPENS_AT:
        return None
    return streak.last + min(max(streak.last - streak.first, SHORTEST), LONGEST)

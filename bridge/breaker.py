"""Whether an endpoint whose workers break down gets another request. Pure."""

from bridge.decision import Streak

OPENS_AT = 3
"""Breakdowns in a row."""

SHORTEST, LONGEST = 60.0, 1800.0
"""s from a breakdown to the next probe."""


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

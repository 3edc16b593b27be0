"""GitHub's rate limits: https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api"""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

from bridge.emulator.github.state import Refused

UNLIMITED = 10**9
"""A rate limit that no caller reaches."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The limits of each caller: an installation with all its tokens, the App with its JWT, a person with a token.

    Args:
        calls: primary limit, in calls an hour. GitHub: 5,000 and more.
        points: secondary limit, in points a minute: a GET costs 1, any other call 5. GitHub: 900.
        not_modified_costs_points: whether a 304 costs a point; undocumented. It never counts as a call.
        hour: s.
        minute: s.
    """

    calls: int = UNLIMITED
    points: int = UNLIMITED
    not_modified_costs_points: bool = True
    hour: float = 3600.0
    minute: float = 60.0


class SecondaryLimit(Refused):
    """The secondary limit was exceeded.

    Args:
        retry_after: s.
    """

    def __init__(self, retry_after: int) -> None:
        super().__init__(403, "You have exceeded a secondary rate limit. Please wait a few minutes and try again.")
        self.retry_after = retry_after


@dataclass(kw_only=True)
class _Window:
    """The use of a limit until `resets_at` (Unix seconds)."""

    resets_at: float
    used: int = 0


class Spending:
    """Counts the calls of each caller.

    Args:
        budget: the limits of each.
        clock: Unix seconds.

    Attributes:
        refused: number of refused calls by limit, `primary` or `secondary`.
    """

    def __init__(self, budget: Budget, clock: Callable[[], float]) -> None:
        self._budget = budget
        self._clock = clock
        self._windows: dict[tuple[str, float], _Window] = {}
        self.refused = {"primary": 0, "secondary": 0}

    def spend(self, caller: str, method: str) -> None:
        """Count a call, or refuse it."""
        hour, minute = self._hour(caller), self._minute(caller)
        if hour.used >= self._budget.calls:
            self.refused["primary"] += 1
            raise Refused(403, "API rate limit exceeded for installation")
        if minute.used >= self._budget.points:
            self.refused["secondary"] += 1
            raise SecondaryLimit(max(1, ceil(minute.resets_at - self._clock())))
        hour.used += 1
        minute.used += _points(method)

    def not_modified(self, caller: str) -> None:
        """Correct the count for a call that was answered with 304."""
        self._hour(caller).used -= 1
        self._minute(caller).used -= 0 if self._budget.not_modified_costs_points else _points("GET")

    def headers(self, caller: str) -> dict[str, str]:
        """The headers of the primary limit. GitHub has none for the secondary limit."""
        hour = self._hour(caller)
        return {
            "x-ratelimit-limit": str(self._budget.calls),
            "x-ratelimit-remaining": str(max(0, self._budget.calls - hour.used)),
            "x-ratelimit-reset": str(ceil(hour.resets_at)),
            "x-ratelimit-used": str(hour.used),
        }

    def status(self, caller: str) -> dict[str, int]:
        """The primary limit, as `GET /rate_limit` shows it."""
        hour = self._hour(caller)
        left = max(0, self._budget.calls - hour.used)
        return {"limit": self._budget.calls, "remaining": left, "reset": ceil(hour.resets_at), "used": hour.used}

    def _hour(self, caller: str) -> _Window:
        return self._window(caller, self._budget.hour)

    def _minute(self, caller: str) -> _Window:
        return self._window(caller, self._budget.minute)

    def _window(self, caller: str, seconds: float) -> _Window:
        """The caller's current hour or minute. The next one begins with the first call after it."""
        now = self._clock()
        window = self._windows.get((caller, seconds))
        if window is None or now >= window.resets_at:
            window = self._windows[caller, seconds] = _Window(resets_at=int(now) + seconds)
        return window


def _points(method: str) -> int:
    return 1 if method in ("GET", "HEAD", "OPTIONS") else 5

"""When a call may be sent so that looks leave GitHub's limits to registrations. Pure.

GitHub allows 900 points a minute, 1 for a GET and 5 for a change, beside the hourly limit that its headers tell.
https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api
"""

from collections import deque
from enum import StrEnum

WINDOW = 60.0
"""s over which points are counted."""

HOUR = 3600.0
"""s over which the hourly limit is counted."""

NO_TIME = 0.001
"""s; a shorter wait may be too short to change a clock's time at all."""

SHARE = 0.8
"""Of the hourly limit, that looks take at most."""

BURST = 0.2
"""Of the hourly limit, that looks may take at once; the rest of their share comes evenly over the hour."""

RESERVE = 0.05
"""Of the hourly limit, that is left to registrations alone."""


class Priority(StrEnum):
    """What a call is for. Registrations are not paced: a job waits for them."""

    JOB = "job"  # a look at one known job
    LOOK = "look"  # everything else that can wait


PER_MINUTE = {Priority.JOB: 750, Priority.LOOK: 600}
"""Points in WINDOW, whatever they were spent on, above which no call of a priority is sent."""


class Pace:
    """Counts what is sent, and says how long a call must wait. A server that tells no limit has none."""

    def __init__(self) -> None:
        self._sent: deque[tuple[float, int]] = deque()
        self._points = 0
        self._limit: int | None = None
        self._remaining = 0
        self._reset = 0.0
        self._spared = 0  # calls of this hour that are no looks

    def sent(self, method: str, at: float, *, look: bool) -> None:
        """Count a call; one that is answered 304 counts as well, since GitHub does not say that it does not.

        Args:
            method: of HTTP.
            at: Unix seconds.
            look: it was paced.
        """
        points = 1 if method in ("GET", "HEAD") else 5
        self._sent.append((at, points))
        self._points += points
        self._spared += not look

    def told(self, limit: int, remaining: int, reset: float) -> None:
        """Take what an answer's headers say of the hourly limit; `reset` in Unix seconds."""
        if abs(reset - self._reset) > WINDOW:
            self._spared = 0
        self._limit, self._remaining, self._reset = limit, remaining, reset

    def wait(self, priority: Priority, now: float) -> float:
        """Seconds until a call may be sent, 0 for now.

        Args:
            priority: of the call.
            now: Unix seconds.
        """
        if self._limit is None:
            return 0.0
        wait = max(self._minute(PER_MINUTE[priority], now), self._hour(self._limit, priority, now))
        return wait if wait > NO_TIME else 0.0

    def _minute(self, most: int, now: float) -> float:
        while self._sent and self._sent[0][0] <= now - WINDOW:
            self._points -= self._sent.popleft()[1]
        over = self._points + 1 - most
        for at, points in self._sent:
            if over <= 0:
                break
            over -= points
            if over <= 0:
                return at + WINDOW - now
        return 0.0

    def _hour(self, limit: int, priority: Priority, now: float) -> float:
        left = self._reset - now
        if left <= 0:
            return 0.0
        left = min(left, HOUR)
        if self._remaining < limit * RESERVE:
            return left
        if priority is Priority.JOB:
            return 0.0
        used = limit - self._remaining - self._spared
        if used >= limit * SHARE:
            return left
        a_second = limit * (SHARE - BURST) / HOUR
        return min(max(0.0, used - limit * BURST - a_second * (HOUR - left)) / a_second, left)

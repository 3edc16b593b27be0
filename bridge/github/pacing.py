"""When a call may be sent, so that background calls leave GitHub's rate limits to registrations. Pure.

GitHub allows 900 points a minute, 1 for a GET and 5 for a change, in addition to the hourly limit in its headers.
https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api
"""

from collections import deque
from enum import StrEnum

WINDOW = 60.0
"""s over which points are counted."""

HOUR = 3600.0
"""s over which the hourly limit is counted."""

NO_TIME = 0.001
"""s; a shorter wait is no wait: it may be too short to change the clock at all."""

SHARE = 0.8
"""Share of the hourly limit that background calls may use."""

BURST = 0.2
"""Share of the hourly limit that background calls may use at once. The rest of their share is spread over the hour."""

RESERVE = 0.05
"""Share of the hourly limit that is reserved for registrations."""


class Priority(StrEnum):
    """What a call is for."""

    REGISTRATION = "registration"  # never paced: a job waits for it
    JOB = "job"  # reads one known job, or the list of repositories
    BACKGROUND = "background"  # everything else; it can wait


PER_MINUTE = {Priority.JOB: 750, Priority.BACKGROUND: 600}
"""Points in WINDOW, spent on calls of all priorities, from which on calls of a priority wait."""


class Pace:
    """Counts calls and computes how long the next one must wait. If the server states no limit, no call waits."""

    def __init__(self) -> None:
        self._sent: deque[tuple[float, int]] = deque()
        self._points = 0
        self._limit: int | None = None
        self._remaining = 0
        self._reset = 0.0
        self._unpaced = 0  # registrations' calls in this hour

    @property
    def remaining(self) -> int | None:
        """What is left of the hourly limit; None if no answer has stated one."""
        return None if self._limit is None else self._remaining

    def sent(self, method: str, at: float, priority: Priority) -> None:
        """Count a call. A call answered with 304 counts, too: GitHub does not say that it costs no points.

        Args:
            method: the HTTP method.
            at: Unix seconds.
            priority: of the call.
        """
        points = 1 if method in ("GET", "HEAD") else 5
        self._sent.append((at, points))
        self._points += points
        self._unpaced += priority is Priority.REGISTRATION

    def learn(self, limit: int, remaining: int, reset: float) -> None:
        """Note the hourly limit that an answer's headers state; `reset` in Unix seconds."""
        if abs(reset - self._reset) > WINDOW:
            self._unpaced = 0
        self._limit, self._remaining, self._reset = limit, remaining, reset

    def wait(self, priority: Priority, now: float) -> float:
        """Seconds until a call may be sent; 0 if it may be sent now.

        Args:
            priority: of the call.
            now: Unix seconds.
        """
        if self._limit is None or priority is Priority.REGISTRATION:
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
        used = limit - self._remaining - self._unpaced
        if used >= limit * SHARE:
            return left
        a_second = limit * (SHARE - BURST) / HOUR
        return min(max(0.0, used - limit * BURST - a_second * (HOUR - left)) / a_second, left)

"""When a read that failed is tried again. Each key has its own pause, so that one failure delays nothing else."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass

from bridge.core.timing import Timing
from bridge.errors import AuthError, BridgeError, RateLimited, Rejected


@dataclass(kw_only=True)
class _Failure:
    error: BridgeError
    count: int
    until: float


class Backoff:
    """Remembers what failed, by key.

    Args:
        clock: Unix seconds.
        timing: the pauses.
    """

    def __init__(self, clock: Callable[[], float], timing: Timing) -> None:
        self._clock = clock
        self._timing = timing
        self._failures: dict[Hashable, _Failure] = {}

    def check(self, key: Hashable) -> None:
        """Return if `key` may be tried.

        Raises:
            BridgeError: the last error of `key`, whose pause is not over yet.
        """
        failure = self._failures.get(key)
        if failure and self._clock() < failure.until:
            raise failure.error.with_traceback(None)

    def worked(self, key: Hashable) -> None:
        """Forget the failures of `key`."""
        self._failures.pop(key, None)

    def failed(self, key: Hashable, error: BridgeError) -> None:
        """Pause `key`, each time for longer. A rate limit says itself when it ends."""
        before, now = self._failures.get(key), self._clock()
        if isinstance(error, RateLimited) or (before and now < before.until):
            return
        count = before.count + 1 if before and type(before.error) is type(error) else 1
        self._failures[key] = _Failure(error=error, count=count, until=now + self._pause(error, count))

    def _pause(self, error: BridgeError, count: int) -> float:
        refused = isinstance(error, AuthError | Rejected)
        return (self._timing.rejected_read if refused else self._timing.failed_read).pause(count)

"""How often a worker polls RunPod for a request."""

import time
from collections.abc import Callable

QUICK = 0.5
"""s: a poll that ends sooner was refused, or returned a request."""

FREE, SHORTEST, LONGEST = 3, 0.1, 5.0
"""Quick polls in a row without a pause, s of the first pause, and s of the longest. Each pause is twice the last."""


class Pace:
    """The SDK's `concurrency_modifier`: allows one request at a time, and pauses while RunPod refuses every poll.

    The SDK calls it before each poll, and repeats a refused poll at once, about 1,000 times a second. The pause blocks
    the event loop, but only in a worker without a request: during a request the SDK itself waits 1 s between polls.

    Args:
        clock: monotonic, in s.
        sleep: blocks for that many s.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._clock, self._sleep = clock, sleep
        self._polled = clock() - QUICK
        self._quick = 0

    def __call__(self, _current: int) -> int:
        """The number of requests that the worker may hold. The SDK calls this before each poll."""
        self._quick = self._quick + 1 if self._clock() - self._polled < QUICK else 0
        if (over := self._quick - FREE) > 0:
            self._sleep(min(SHORTEST * 2 ** min(over - 1, 10), LONGEST))
        self._polled = self._clock()
        return 1

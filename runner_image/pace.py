"""How often a worker asks RunPod for a request."""

import time
from collections.abc import Callable

QUICK = 0.5
"""s: a poll that ends sooner was refused, or brought a request."""

FREE, SHORTEST, LONGEST = 3, 0.1, 5.0
"""How many quick polls in a row are free, and s of the pause after one more and at most; each is twice the last."""


class Pace:
    """The SDK's `concurrency_modifier`: one request at a time, and pauses when RunPod refuses poll after poll.

    The SDK asks it before each poll, and repeats a refused one at once: a thousand a second. The pause stops the whole
    event loop, but only in a worker without a request: while it has one, the SDK itself waits 1 s between two looks.

    Args:
        clock: s, steady.
        sleep: waits that many s.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._clock, self._sleep = clock, sleep
        self._asked = clock() - QUICK
        self._quick = 0

    def __call__(self, _current: int) -> int:
        """How many requests the worker may hold; called before each poll."""
        self._quick = self._quick + 1 if self._clock() - self._asked < QUICK else 0
        if (over := self._quick - FREE) > 0:
            self._sleep(min(SHORTEST * 2 ** min(over - 1, 10), LONGEST))
        self._asked = self._clock()
        return 1

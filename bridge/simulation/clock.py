"""Virtual time: what happens next, and when."""

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count

START = 1_800_000_000.0
"""Unix seconds (UTC) at which each simulation begins."""


class Clock:
    """The agenda of a simulation. What is due at the same time happens in the order in which it was added.

    Attributes:
        now: Unix seconds.
    """

    def __init__(self) -> None:
        self.now = START
        self._agenda: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = count()

    def at(self, when: float, do: Callable[[], object]) -> None:
        """Do something at `when` (Unix seconds)."""
        heappush(self._agenda, (max(when, self.now), next(self._numbers), do))

    def later(self, seconds: float, do: Callable[[], object]) -> None:
        """Do something after `seconds`."""
        self.at(self.now + seconds, do)

    def step(self) -> bool:
        """Go to the next time at which something happens, and do all that is due then; False if nothing is left."""
        if not self._agenda:
            return False
        self.now = self._agenda[0][0]
        while self._agenda and self._agenda[0][0] <= self.now:
            heappop(self._agenda)[2]()
        return True

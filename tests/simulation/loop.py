"""An event loop with virtual time: when nothing is ready, its clock jumps to the next timer.

No threads and no sockets. A day of timers takes as long as the work between them.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

START = 1_800_000_000.0
"""Unix seconds (UTC) when each simulation begins, by a clock without skew."""

T = TypeVar("T")


class Deadlock(Exception):
    """Every task waits, and no timer is left to wake one."""


class _Timers:
    """Replaces the selector: waiting for files lets virtual time pass."""

    def __init__(self, loop: "VirtualLoop") -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None:
            raise Deadlock("nothing is ready and no timer is set")
        self._loop.now += timeout
        return []

    def close(self) -> None: ...


class VirtualLoop(asyncio.BaseEventLoop):
    """asyncio's loop, whose `time()` is virtual.

    Attributes:
        now: s since the simulation began.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self._selector = _Timers(self)
        self._clock_resolution = 1e-6

    def time(self) -> float:
        return self.now

    def _process_events(self, event_list: list[Any]) -> None: ...

    def _write_to_self(self) -> None: ...


def run(main: Callable[[VirtualLoop], Coroutine[Any, Any, T]]) -> T:
    """Run `main` to its end in a new loop; tasks that are left are cancelled."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(main(loop))
    finally:
        _cancel_all(loop)
        loop.close()


def _cancel_all(loop: VirtualLoop) -> None:
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
    loop.run_until_complete(loop.shutdown_asyncgens())

"""The loop of a service: woken by events, and by a timer that looks the truth up. It never ends by itself."""

import asyncio
import os
import random
import secrets
import socket
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Protocol, TypeVar

import structlog

from bridge.controller.ports import Ledger, Transaction
from bridge.controller.report import Report
from bridge.errors import BridgeError, Problem

TOGETHER = 4
"""Passes woken by events that may run at once: one need not wait for another's requests."""

GAP = 0.05
"""s from the beginning of such a pass to the next one's, at least: in a burst, one takes what several events told."""

SHARE = 0.5
"""Of the time in which something can be written, that such passes take at most: what is left is the intake's."""

PATIENCE = 30.0
"""s after which, at the earliest, a look is overdue: it may take a while itself."""

SLOWEST = 10
"""Times the interval, between looks that break off. What one target refuses slows down nothing but that target."""

TICK = 60.0
"""s after which the ledger is acted upon without an event: something in it may have become due."""

T = TypeVar("T")
log = structlog.get_logger()


class Passes(Protocol):
    """What is run."""

    async def resync(self) -> Report: ...
    async def event_pass(self, ended: Collection[str]) -> Report: ...


class Recorder(Protocol):
    """What counts."""

    def passed(self, kind: str, report: Report) -> None: ...
    def failed(self, kind: str) -> None: ...
    def looked(self, at: float) -> None: ...


class Service:
    """Runs passes until told to stop.

    Args:
        passes: made by bridge.controller.reconcile.
        ledger: of which all copies take turns to look.
        recorder: counts.
        interval: s between two looks.
        clock: Unix seconds.
    """

    def __init__(
        self,
        passes: Passes,
        ledger: Ledger,
        recorder: Recorder,
        *,
        interval: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._passes = passes
        self._ledger = ledger
        self._recorder = recorder
        self._interval = interval
        self._clock = clock
        self._holder = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._woken = asyncio.Event()
        self._due = asyncio.Event()
        self._ended: set[str] = set()
        self._gap = GAP
        self._troubled = 0
        self._problems: dict[str, tuple[Problem, ...]] = {}  # by what met them: looks, passes on events, turns

    def wake(self) -> None:
        """Something was written down."""
        self._woken.set()

    def request_ended(self, submission: str) -> None:
        """RunPod says that a submission's request has ended."""
        self._ended.add(submission)
        self._woken.set()

    def resync_now(self) -> None:
        """There is something new outside: do not wait for the timer."""
        self._due.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Run passes until `stop` is set, and those in hand to their end.

        Should the loop itself break down, it sets `stop`: a service that ends is started again, one that idles is not.
        """
        acting = asyncio.create_task(self._events_until(stop))
        acting.add_done_callback(lambda _: stop.set())
        try:
            await self._resync_until(stop)
        finally:
            stop.set()
            self._woken.set()
            await acting
            await self._take_leader_lease(
                0.0
            )  # whoever starts next, this one again perhaps, need not wait until it is over

    async def ready(self) -> Mapping[str, str | None]:
        """By part, what is out of order with it; None if nothing is."""
        try:
            # Of whichever copy it was that looked.
            looked_at = await self._ledger.read(_looked_at)
        except BridgeError as error:
            return {"database": str(error)}
        return {
            "database": None,
            "resync": self._overdue(looked_at),
            "services": "; ".join(map(str, self._known()[:3])) or None,
        }

    def _overdue(self, looked_at: float) -> str | None:
        if not looked_at:
            return "none has ended yet"
        age = self._clock() - looked_at
        patience = max(3 * self._interval * min(2**self._troubled, SLOWEST), PATIENCE)
        return f"the last one began {age:.0f} s ago" if age > patience else None

    async def _resync_until(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            healthy = await self._resync() if await self._is_leader() else True
            if healthy:
                self._met("event")  # a look shows what a pass on events has met; where another copy looks, time does
            wait = self._interval * min(2**self._troubled, SLOWEST) * random.uniform(0.8, 1.2)  # noqa: S311 - jitter
            await _first([stop, self._due], wait)
            self._due.clear()

    async def _resync(self) -> bool:
        """Look; whether all is in order."""
        report = await self._pass("resync", self._passes.resync())
        healthy = report is not None and not report.problems
        self._troubled = 0 if report is not None else self._troubled + 1
        if healthy:
            self._recorder.looked(self._clock())
        return healthy

    async def _is_leader(self) -> bool:
        """Whether it is for this copy to look: one does at a time, and another when that one has died."""
        return await self._take_leader_lease(3 * self._interval)

    async def _take_leader_lease(self, seconds: float) -> bool:
        now = self._clock()
        taking = self._ledger.transact(
            lambda transaction: transaction.take_leader_lease("resync", self._holder, now, now + seconds)
        )
        taken = await self._tried("turn", taking)
        if taken is not None:
            self._met("turn")
        return bool(taken)

    async def _events_until(self, stop: asyncio.Event) -> None:
        slots = asyncio.Semaphore(TOGETHER)
        async with asyncio.TaskGroup() as passes:
            while not stop.is_set():
                await _first([self._woken], TICK)
                await slots.acquire()
                self._woken.clear()
                passes.create_task(self._event_pass()).add_done_callback(lambda _: slots.release())
                await _first([stop], self._gap)

    async def _event_pass(self) -> None:
        ended, self._ended = frozenset(self._ended), set()
        await self._pass("event", self._passes.event_pass(ended))

    async def _pass(self, kind: str, running: Awaitable[Report]) -> Report | None:
        report = await self._tried(kind, running)
        if report is None:
            self._recorder.failed(kind)
            return None
        self._gap = max(GAP, report.decision.seconds / SHARE)
        self._recorder.passed(kind, report)
        self._met(kind, *report.problems)
        return report

    async def _tried(self, kind: str, doing: Awaitable[T]) -> T | None:
        """What came of it; it may fail, but not end the loop."""
        try:
            return await doing
        except BridgeError as error:
            self._met(kind, Problem.of(error))
        except Exception as error:
            log.exception("broke off", kind=kind)
            self._met(kind, Problem(f"the last {kind} broke off: {type(error).__name__}"))
        return None

    def _met(self, kind: str, *problems: Problem) -> None:
        """Keep what is out of order, and log it when that changes, not each time."""
        before = self._known()
        self._problems[kind] = problems
        now = self._known()
        for problem in now:
            if problem not in before:
                log.warning("failing", problem=str(problem))
        if before and not now:
            log.info("recovered")

    def _known(self) -> list[Problem]:
        return list(dict.fromkeys(problem for problems in self._problems.values() for problem in problems))


def _looked_at(transaction: Transaction) -> float:
    """Unix seconds when GitHub's runners were last read, 0 for never."""
    return max(transaction.runners_read_at().values(), default=0.0)


async def _first(events: Sequence[asyncio.Event], seconds: float) -> None:
    """Wait for any of `events`, or for so long."""
    waiting = [asyncio.create_task(event.wait()) for event in events]
    await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()

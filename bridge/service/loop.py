"""Runs passes: an event pass when something has happened, and a resync by a timer. It runs until it is stopped."""

import asyncio
import os
import random
import secrets
import socket
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import structlog

from bridge.controller.ports import Ledger, Transaction
from bridge.controller.report import Report
from bridge.errors import BridgeError, Problem
from bridge.service.problems import Problems

EVENT_PASSES = 4
"""Event passes at a time, so that one need not wait while another sends its requests."""

RESYNC, EVENT, LEASE = "resync", "event", "leader lease"
"""What the loop does. Metrics call passes by the first two."""

T = TypeVar("T")
log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class LoopTiming:
    """The clock of the loop, and how long it waits. Durations are in seconds.

    Args:
        clock: returns Unix seconds.
        jitter: returns a random number between two bounds.
        gap: shortest time from the start of one event pass to the start of the next. In a burst of events, one pass
            handles several.
        share: largest share of the time in which event passes keep the ledger busy. The rest is for deliveries.
        tick: an event pass starts at least this often, because something in the ledger may have become due.
        overdue: a resync is never overdue before this time, because it may take a while.
        slowest: after each resync that fails, the interval doubles, up to this many times its length.
    """

    clock: Callable[[], float] = time.time
    jitter: Callable[[float, float], float] = random.uniform
    gap: float = 0.05
    share: float = 0.5
    tick: float = 60.0
    overdue: float = 30.0
    slowest: int = 10


DEFAULT_TIMING = LoopTiming()


class Passes(Protocol):
    """The passes; see `bridge.controller.reconcile`."""

    async def resync(self) -> Report: ...
    async def event_pass(self, ended: Collection[str]) -> Report: ...


class Recorder(Protocol):
    """Records metrics."""

    def passed(self, kind: str, report: Report) -> None: ...
    def failed(self, kind: str) -> None: ...
    def resynced(self, at: float) -> None: ...


class Service:
    """Runs passes until it is stopped.

    Args:
        passes: see `bridge.controller.reconcile`.
        ledger: holds the leader lease; of all copies of the bridge, the one that has the lease resyncs.
        recorder: records metrics.
        interval: s between two resyncs.
        timing: the clock and the other waiting times.
    """

    def __init__(
        self,
        passes: Passes,
        ledger: Ledger,
        recorder: Recorder,
        *,
        interval: float,
        timing: LoopTiming = DEFAULT_TIMING,
    ) -> None:
        self._passes = passes
        self._ledger = ledger
        self._recorder = recorder
        self._interval = interval
        self._timing = timing
        self._holder = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._woken = asyncio.Event()
        self._due = asyncio.Event()
        self._ended: set[str] = set()
        self._gap = timing.gap
        self._failures = 0  # resyncs in a row that failed
        self._problems = Problems()

    def wake(self) -> None:
        """Start an event pass: the ledger has a new event."""
        self._woken.set()

    def request_ended(self, submission: str) -> None:
        """Start an event pass: RunPod says that a submission's request has ended."""
        self._ended.add(submission)
        self._woken.set()

    def resync_now(self) -> None:
        """Start a resync now: something has changed that only a resync sees."""
        self._due.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Run passes until `stop` is set, then finish the current ones.

        If the loop itself fails, it sets `stop`: a service that exits is restarted, a service that does nothing is not.
        """
        event_passes = asyncio.create_task(self._event_passes_until(stop))
        event_passes.add_done_callback(lambda _: stop.set())
        try:
            await self._resync_until(stop)
        finally:
            stop.set()
            self._woken.set()
            await event_passes
            await self._take_leader_lease(0.0)  # it ends now, so that another copy, or this one restarted, can take it

    async def ready(self) -> Mapping[str, str | None]:
        """The checks by name: what is wrong, or None."""
        try:
            resynced_at = await self._ledger.read(_resynced_at)  # by any copy
        except BridgeError as error:
            return {"database": str(error)}
        return {
            "database": None,
            "resync": self._overdue(resynced_at),
            "services": "; ".join(map(str, self._problems.all()[:3])) or None,
        }

    def problems(self) -> list[Problem]:
        """What fails at present."""
        return self._problems.all()

    def _overdue(self, resynced_at: float) -> str | None:
        if not resynced_at:
            return "no resync has finished yet"
        age = self._timing.clock() - resynced_at
        return f"the last resync began {age:.0f} s ago" if age > max(3 * self._wait(), self._timing.overdue) else None

    def _wait(self) -> float:
        """Seconds between two resyncs; longer after resyncs that failed."""
        return self._interval * min(1 << self._failures, self._timing.slowest)

    async def _resync_until(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            healthy = await self._resync() if await self._is_leader() else True
            if healthy:
                # A resync shows a problem of an event pass again if it lasts. If another copy resyncs, time has to do.
                self._problems.replace(EVENT)
            await _any_of([stop, self._due], self._wait() * self._timing.jitter(0.8, 1.2))
            self._due.clear()

    async def _resync(self) -> bool:
        """Whether the resync found no problem."""
        report = await self._pass(RESYNC, self._passes.resync())
        healthy = report is not None and not report.problems
        # A problem of one target or repository is in the report: it does not slow down the others.
        self._failures = 0 if report is not None else self._failures + 1
        if healthy:
            self._recorder.resynced(self._timing.clock())
        return healthy

    async def _is_leader(self) -> bool:
        """Whether this copy may resync. If the leader dies, another copy takes its lease when it ends."""
        return await self._take_leader_lease(3 * self._interval)

    async def _take_leader_lease(self, seconds: float) -> bool:
        now = self._timing.clock()
        taking = self._ledger.transact(
            lambda transaction: transaction.take_leader_lease("resync", self._holder, now, now + seconds)
        )
        taken = await self._tried(LEASE, taking)
        if taken is not None:
            self._problems.replace(LEASE)
        return bool(taken)

    async def _event_passes_until(self, stop: asyncio.Event) -> None:
        slots = asyncio.Semaphore(EVENT_PASSES)
        async with asyncio.TaskGroup() as passes:
            while not stop.is_set():
                await _any_of([self._woken], self._timing.tick)
                await slots.acquire()
                self._woken.clear()
                passes.create_task(self._event_pass()).add_done_callback(lambda _: slots.release())
                await _any_of([stop], self._gap)

    async def _event_pass(self) -> None:
        ended, self._ended = frozenset(self._ended), set()
        await self._pass(EVENT, self._passes.event_pass(ended))

    async def _pass(self, kind: str, running: Awaitable[Report]) -> Report | None:
        report = await self._tried(kind, running)
        if report is None:
            self._recorder.failed(kind)
            return None
        self._gap = max(self._timing.gap, report.decision.seconds / self._timing.share)
        self._recorder.passed(kind, report)
        self._problems.replace(kind, *report.problems)
        return report

    async def _tried(self, activity: str, doing: Awaitable[T]) -> T | None:
        """The result; None if it failed. A failure does not end the loop."""
        try:
            return await doing
        except BridgeError as error:
            self._problems.replace(activity, Problem.of(error))
        except Exception as error:
            log.exception("unexpected error", during=activity)
            self._problems.replace(activity, Problem(_unexpected(activity, error)))
        return None


def _unexpected(activity: str, error: Exception) -> str:
    what = {RESYNC: "resync", EVENT: "event pass", LEASE: "attempt to take the leader lease"}[activity]
    return f"the last {what} failed: {type(error).__name__}; the log has the traceback"


def _resynced_at(transaction: Transaction) -> float:
    """Unix seconds when GitHub's runners were last read, which each resync does; 0 for never."""
    return max(transaction.runners_read_at().values(), default=0.0)


async def _any_of(events: Sequence[asyncio.Event], seconds: float) -> None:
    """Wait until any of `events` is set, or the time is over."""
    waiting = [asyncio.create_task(event.wait()) for event in events]
    await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()

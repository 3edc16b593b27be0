"""Sends what others are told: traces to a collector, messages to people. No failure here affects a pass.

The ledger is written before something is sent, so that of several copies one sends it, and a restart does not send it
again. If sending fails, the ledger forgets it, and a later round sends it.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from bridge.controller.report import Report
from bridge.errors import BridgeError, Problem

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class SenderTiming:
    """The clock of the sender, and how long it waits. Durations are in seconds.

    Args:
        clock: returns Unix seconds.
        every: between two rounds.
        oldest: traces of jobs that ended longer ago are not sent, so that turning traces on sends nothing old.
        slowest: after each failure the wait doubles, up to this.
    """

    clock: Callable[[], float] = time.time
    every: float = 5.0
    oldest: float = 3_600.0
    slowest: float = 900.0


DEFAULT_TIMING = SenderTiming()


class Channel(Protocol):
    """Sends one kind of thing."""

    name: str

    def passed(self, report: Report) -> None:
        """Take note of a pass."""

    async def send_due(self) -> None:
        """Send what is due. May raise a BridgeError."""


class Sender:
    """Sends what is due, in rounds.

    Args:
        channels: what is sent; none to send nothing.
        timing: the clock and the waiting times.
    """

    def __init__(self, channels: Sequence[Channel], timing: SenderTiming = DEFAULT_TIMING) -> None:
        self.channels = tuple(channels)
        self._timing = timing
        self._problems: dict[str, Problem] = {}
        self._failures = dict.fromkeys((each.name for each in channels), 0)
        self._retry_at = dict.fromkeys((each.name for each in channels), 0.0)

    def passed(self, report: Report) -> None:
        """Take note of a pass."""
        for each in self.channels:
            each.passed(report)

    async def run(self, stop: asyncio.Event) -> None:
        """Run rounds until `stop` is set, then finish the current one."""
        while self.channels and not stop.is_set():
            await self.round()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), self._timing.every)

    async def round(self) -> None:
        """Send what is due. Nothing is raised: a problem is logged once."""
        now = self._timing.clock()
        await asyncio.gather(*(self._try(each) for each in self.channels if now >= self._retry_at[each.name]))

    async def _try(self, channel: Channel) -> None:
        try:
            await channel.send_due()
        except BridgeError as error:
            self._failed(channel.name, Problem.of(error))
        except Exception as error:
            log.exception("unexpected error", during=channel.name)
            self._failed(channel.name, Problem(f"{channel.name}: {type(error).__name__}; the log has the traceback"))
        else:
            self._failures[channel.name] = 0
            if self._problems.pop(channel.name, None):
                log.info("recovered", what=channel.name)

    def _failed(self, name: str, problem: Problem) -> None:
        wait = min(self._timing.every * 2.0 ** min(self._failures[name], 32), self._timing.slowest)
        self._failures[name] += 1
        self._retry_at[name] = self._timing.clock() + wait
        if self._problems.get(name) != problem:
            log.warning("failing", problem=str(problem))
        self._problems[name] = problem

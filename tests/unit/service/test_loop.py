"""The service's loop goes on after failures, one copy resyncs at a time, and stopping finishes the current passes.

In virtual time, except where a real ledger is used.
"""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Collection, Coroutine
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
import structlog
from structlog.testing import capture_logs

from bridge.controller.report import Decision, Report
from bridge.core.actions import Plan
from bridge.errors import AuthError, Problem, Unavailable
from bridge.ledger import Ledger
from bridge.service.loop import DEFAULT_TIMING, EVENT_PASSES, LoopTiming, Service
from tests.simulation.loop import START, run

SOON = 0.02
"""s between two resyncs."""


def driven(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run `main` in virtual time."""
    run(lambda _: main())


def now() -> float:
    """Seconds by the clock of the event loop."""
    return asyncio.get_running_loop().time()


def a_report(*problems: str | Problem, deciding: float = 0.0) -> Report:
    decision = Decision(plan=Plan(), seconds=deciding)
    found = tuple(each if isinstance(each, Problem) else Problem(each) for each in problems)
    return Report(decision=decision, submitted=(), problems=found, seconds=0.0)


class Passes:
    """Passes that fail while there is trouble. Event passes wait until the gate is open."""

    def __init__(self) -> None:
        self.trouble: Exception | Problem | str | None = None
        self.resynced_at = 0.0
        self.gate = asyncio.Event()
        self.gate.set()
        self.resyncs: list[float] = []  # when each began
        self.event_passes: list[float] = []  # when each began
        self.running = self.most_running = self.finished = 0
        self.ended: list[str] = []
        self.deciding = 0.0

    async def resync(self) -> Report:
        self.resyncs.append(now())
        report = self._report()
        self.resynced_at = START + now()
        return report

    async def event_pass(self, ended: Collection[str]) -> Report:
        self.event_passes.append(now())
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        self.ended += ended
        await self.gate.wait()
        self.running -= 1
        self.finished += 1
        return self._report()

    def _report(self) -> Report:
        if isinstance(self.trouble, Exception):
            raise self.trouble
        return a_report(*([self.trouble] if self.trouble else []), deciding=self.deciding)


class Recorder:
    """What was recorded."""

    def __init__(self) -> None:
        self.passes: list[str] = []
        self.failures: list[str] = []
        self.resyncs: list[float] = []

    def passed(self, kind: str, report: Report) -> None:
        self.passes.append(kind)

    def failed(self, kind: str) -> None:
        self.failures.append(kind)

    def resynced(self, at: float) -> None:
        self.resyncs.append(at)


class Leases:
    """A ledger that may be unavailable, with a leader lease for several services."""

    def __init__(self, passes: Passes) -> None:
        self.passes = passes
        self.unavailable = False
        self.holder: str | None = None
        self.until = 0.0

    def runners_read_at(self) -> dict[str, float]:
        at = self.passes.resynced_at
        return {"orgs/acme": at} if at else {}

    def take_leader_lease(self, name: str, holder: str, now: float, until: float) -> bool:
        if self.holder not in (None, holder) and self.until >= now:
            return False
        self.holder, self.until = holder, until
        return True

    async def transact(self, work: Callable[[Any], Any]) -> Any:
        if self.unavailable:
            raise Unavailable("the ledger could not be written: disk full")
        return work(self)

    read = transact


class Copy:
    """A service, and what it uses.

    Args:
        ledger: shared with other copies, if any.
        interval: s between two resyncs.
        timing: other than the clock.
    """

    def __init__(self, ledger: Any = None, interval: float = SOON, **timing: Any) -> None:
        self.passes, self.recorder = Passes(), Recorder()
        self.ledger: Any = ledger or Leases(self.passes)
        self.ahead = 0.0  # s that its clock is ahead
        given = LoopTiming(**{"clock": lambda: START + now() + self.ahead, **timing})
        self.service = Service(self.passes, cast(Any, self.ledger), self.recorder, interval=interval, timing=given)
        self.stop = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Copy"]:
        task = asyncio.create_task(self.service.run(self.stop))
        try:
            yield self
        finally:
            self.passes.gate.set()
            self.stop.set()
            await asyncio.wait_for(task, 5)

    async def check(self, name: str) -> str:
        """What readiness says about one check."""
        return str((await self.service.ready())[name])


async def until(condition: Callable[[], object], seconds: float = 5) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(seconds / 2500)


async def shows(copy: Copy, name: str, text: str) -> None:
    """Wait until a readiness check contains a text."""
    async with asyncio.timeout(5):
        while text not in await copy.check(name):  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.002)


def _more_resyncs(copy: Copy, than: int) -> bool:
    return len(copy.passes.resyncs) > than


def _finished(copy: Copy, passes: int) -> bool:
    return copy.passes.finished == passes


# --- failures ---


@pytest.mark.parametrize(
    "trouble",
    [Unavailable("GitHub does not answer"), AuthError("rejected"), RuntimeError("a bug")],
    ids=lambda e: type(e).__name__,
)
def test_a_resync_that_fails_is_counted_and_followed_by_the_next_one(trouble: Exception) -> None:
    async def main() -> None:
        async with Copy().running() as copy:
            copy.passes.trouble = trouble
            await until(lambda: copy.recorder.failures)
            copy.passes.trouble = None
            await until(lambda: copy.recorder.resyncs)
            assert set(copy.recorder.failures) == {"resync"}

    driven(main)


@pytest.mark.parametrize("trouble", [Unavailable("RunPod does not answer"), RuntimeError("a bug")])
def test_an_event_pass_that_fails_does_not_end_the_loop(trouble: Exception) -> None:
    async def main() -> None:
        async with Copy(interval=60).running() as copy:
            await until(lambda: copy.recorder.resyncs)
            copy.passes.trouble = trouble
            copy.service.wake()
            await until(lambda: copy.recorder.failures == ["event"])
            copy.passes.trouble = None
            copy.service.wake()
            await until(lambda: "event" in copy.recorder.passes)

    driven(main)


@pytest.mark.parametrize("broken", ["resync", "event"])
def test_a_loop_that_fails_itself_ends_the_service_so_that_it_is_restarted(broken: str) -> None:
    """For example when the log can no longer be written."""

    def unwritable(*_: object) -> Any:
        raise RuntimeError("no space left on device")

    async def main() -> None:
        copy = Copy(interval=60)
        running = asyncio.create_task(copy.service.run(copy.stop))
        await until(lambda: copy.recorder.resyncs)
        structlog.configure(processors=[unwritable])
        copy.passes.trouble = "GitHub: GET /x: 502"
        copy.service.resync_now() if broken == "resync" else copy.service.wake()
        with pytest.raises((RuntimeError, ExceptionGroup)):
            await asyncio.wait_for(running, 5)
        assert copy.stop.is_set()

    try:
        driven(main)
    finally:
        structlog.reset_defaults()


def waits_between_resyncs(trouble: Exception | str) -> list[float]:
    """The times between the resyncs of a service with an interval of 30 s: six fail, the next three do not."""
    begun: list[float] = []

    async def main() -> None:
        async with Copy(interval=30, jitter=lambda _low, _high: 1.0).running() as copy:
            copy.passes.trouble = trouble
            await until(lambda: len(copy.passes.resyncs) == 6, 3600)
            copy.passes.trouble = None
            await until(lambda: len(copy.passes.resyncs) == 9, 3600)
            begun.extend(copy.passes.resyncs)

    driven(main)
    return [round(later - before) for before, later in itertools.pairwise(begun)]


def test_resyncs_that_fail_become_rarer_and_normal_again_after_a_success() -> None:
    waits = waits_between_resyncs(Unavailable("the ledger could not be read"))
    slowest = 30 * DEFAULT_TIMING.slowest
    assert waits[:4] == [60, 120, 240, slowest]
    assert waits[4:] == [slowest, slowest, 30, 30]


def test_a_problem_of_one_target_does_not_slow_down_the_resyncs_of_the_others() -> None:
    """A missing group, a deleted endpoint, or a repository that cannot be seen."""
    assert waits_between_resyncs("GitHub: orgs/acme has no runner group 'x'") == [30] * 8


def test_what_has_become_due_is_handled_without_an_event() -> None:
    """A probe or a failing endpoint's next try need not wait for a resync that may be an hour away."""

    async def main() -> None:
        async with Copy(interval=3600).running() as copy:
            await until(lambda: copy.passes.finished >= 2, 2 * DEFAULT_TIMING.tick + 1)
            assert len(copy.passes.resyncs) == 1

    driven(main)


def test_a_problem_that_occurs_again_with_another_request_id_is_logged_once() -> None:
    async def main() -> None:
        async with Copy().running() as copy:
            for number in range(4):
                copy.passes.trouble = Problem("GitHub: GET /x: 404", f"AB:{number}")
                resyncs = len(copy.passes.resyncs)
                await until(partial(_more_resyncs, copy, resyncs + 1))

    with capture_logs() as logged:
        driven(main)
    assert [each["problem"] for each in logged if each["event"] == "failing"] == ["GitHub: GET /x: 404 (request AB:0)"]


# --- readiness ---


def test_the_service_is_ready_once_a_resync_has_succeeded() -> None:
    async def main() -> None:
        copy = Copy()
        before = await copy.service.ready()
        assert before == {"database": None, "resync": "no resync has finished yet", "services": None}
        async with copy.running():
            await until(lambda: copy.recorder.resyncs)
            assert set((await copy.service.ready()).values()) == {None}

    driven(main)


def test_readiness_names_what_fails() -> None:
    async def main() -> None:
        async with Copy().running() as copy:
            await until(lambda: copy.recorder.resyncs)
            copy.passes.trouble = "GitHub: GET /x: 502"
            await shows(copy, "services", "GitHub: GET /x: 502")
            copy.passes.trouble = RuntimeError("a bug")
            await shows(copy, "services", "the last resync failed: RuntimeError; the log has the traceback")
            copy.ledger.unavailable = True
            await shows(copy, "database", "disk full")

    driven(main)


def test_a_problem_of_an_event_pass_ends_when_all_is_healthy_whether_or_not_this_copy_resyncs() -> None:
    async def main() -> None:
        leader = Copy()
        ledger = leader.ledger
        ledger.holder, ledger.until = "another copy", START + now() + 60
        async with Copy(ledger).running() as waiting, leader.running():
            for copy in (waiting, leader):
                copy.passes.trouble = "GitHub: POST /x: 502"
                copy.service.wake()
                await shows(copy, "services", "POST /x: 502")
                copy.passes.trouble = None
                await shows(copy, "services", "None")
                ledger.until = 0.0  # the other copy has died

    driven(main)


@pytest.mark.parametrize("error", [Unavailable("PostgreSQL is read-only"), RuntimeError("a bug")], ids=str)
def test_a_leader_lease_that_cannot_be_taken_is_reported_and_tried_again(error: Exception) -> None:
    async def main() -> None:
        copy = Copy()
        take, trouble = copy.ledger.take_leader_lease, [error]

        def take_leader_lease(*given: Any) -> bool:
            if trouble:
                raise trouble[0]
            return bool(take(*given))

        copy.ledger.take_leader_lease = take_leader_lease
        reported = "read-only" if isinstance(error, Unavailable) else "the last attempt to take the leader lease failed"
        async with copy.running():
            await shows(copy, "services", reported)
            trouble.clear()
            await until(lambda: copy.recorder.resyncs)
            await shows(copy, "services", "None")

    driven(main)


def test_readiness_shows_the_age_of_a_resync_that_is_overdue() -> None:
    async def main() -> None:
        async with Copy(interval=30).running() as copy:
            await until(lambda: copy.recorder.resyncs)
            copy.ahead = 80.0
            assert await copy.check("resync") == "None"
            copy.ahead = 100.0
            assert await copy.check("resync") == "the last resync began 100 s ago"

    driven(main)


# --- events ---


def test_an_event_is_handled_at_once_and_not_at_the_next_resync() -> None:
    async def main() -> None:
        async with Copy(interval=60).running() as copy:
            copy.service.request_ended("a submission")
            await until(lambda: copy.passes.finished)
            copy.service.wake()
            await until(lambda: copy.passes.finished == 2)
            assert copy.passes.ended == ["a submission"], "reported once"
            resyncs = len(copy.passes.resyncs)
            copy.service.resync_now()
            await until(lambda: len(copy.passes.resyncs) > resyncs)

    driven(main)


def test_a_slow_pass_does_not_delay_the_next_event_and_the_number_of_passes_is_limited() -> None:
    async def main() -> None:
        async with Copy(interval=60).running() as copy:
            copy.passes.gate.clear()
            for number in range(3 * EVENT_PASSES):
                copy.service.request_ended(f"s{number}")
                await asyncio.sleep(1.5 * DEFAULT_TIMING.gap)
            await until(lambda: copy.passes.running == EVENT_PASSES)
            copy.passes.gate.set()
            await until(lambda: copy.passes.running == 0 and len(copy.passes.ended) == 3 * EVENT_PASSES)
            assert copy.passes.most_running == EVENT_PASSES

    driven(main)


def test_event_passes_that_decide_slowly_leave_the_ledger_to_deliveries_for_as_long() -> None:
    """Otherwise a long queue, whose passes are slow, would delay the events that make it shorter."""

    async def main() -> None:
        async with Copy(interval=60).running() as copy:
            await until(lambda: copy.recorder.resyncs)
            copy.passes.deciding = 0.2
            for number in range(1, 4):
                copy.service.wake()
                await until(partial(_finished, copy, number))
            _, second, third = copy.passes.event_passes
            assert third - second >= 0.2 / DEFAULT_TIMING.share

    driven(main)


def test_stopping_does_not_wait_for_the_time_of_the_next_pass() -> None:
    async def main() -> None:
        async with Copy(interval=60).running() as copy:
            await until(lambda: copy.recorder.resyncs)
            copy.passes.deciding = 60.0
            for number in (1, 2):
                copy.service.wake()
                await until(partial(_finished, copy, number))
            began = now()
        assert now() - began < 4

    driven(main)


def test_stopping_waits_for_the_current_passes() -> None:
    async def main() -> None:
        copy = Copy(interval=60)
        running = asyncio.create_task(copy.service.run(copy.stop))
        await until(lambda: copy.recorder.resyncs)
        copy.passes.gate.clear()
        copy.service.wake()
        await until(lambda: copy.passes.running)
        copy.stop.set()
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(running), 0.1)
        assert not running.done()
        copy.passes.gate.set()
        await asyncio.wait_for(running, 5)
        assert copy.passes.finished
        assert not copy.passes.running

    driven(main)


# --- several copies ---


def test_one_copy_resyncs_at_a_time_and_another_takes_over_when_it_stops(tmp_path: Path) -> None:
    async def main() -> None:
        ledger = Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite3")
        one, other = Copy(ledger, 0.1, clock=time.time), Copy(ledger, 0.1, clock=time.time)
        async with one.running():
            await until(lambda: one.passes.resyncs)
            async with other.running():
                await until(lambda: len(one.passes.resyncs) > 3)
                assert not other.passes.resyncs
                other.service.wake()
                await until(lambda: other.passes.finished)  # every copy handles events
                one.stop.set()
                await until(lambda: other.passes.resyncs)
        ledger.close()

    asyncio.run(main())


def test_a_service_that_is_restarted_resyncs_at_once() -> None:
    async def main() -> None:
        before = Copy(interval=60)
        async with before.running():
            await until(lambda: before.passes.resyncs)
        await asyncio.sleep(0.01)
        async with Copy(before.ledger, 60).running() as after:
            await until(lambda: after.passes.resyncs)

    driven(main)


def test_a_ledger_that_is_unavailable_stops_the_resyncs_and_not_the_service() -> None:
    async def main() -> None:
        copy = Copy()
        copy.ledger.unavailable = True
        async with copy.running():
            await shows(copy, "database", "disk full")
            assert not copy.passes.resyncs
            copy.ledger.unavailable = False
            await until(lambda: copy.recorder.resyncs)

    driven(main)

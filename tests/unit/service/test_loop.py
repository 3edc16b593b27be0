"""The loop of a service goes on whatever fails, one copy looks at a time, and stopping leaves nothing in hand."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bridge.controller.reconcile import Decision, Report
from bridge.core.actions import Plan
from bridge.core.snapshot import Reading, ReadingKind
from bridge.errors import AuthError, Unavailable
from bridge.ledger import Ledger
from bridge.service import loop as service
from bridge.service.loop import GAP, SHARE, SLOWEST, TOGETHER, Service

SOON = 0.02
"""s between two looks."""


def a_report(*problems: str, deciding: float = 0.0) -> Report:
    decision = Decision(plan=Plan(), seconds=deciding)
    return Report(decision=decision, submitted=(), problems=problems, seconds=0.0)


class Outside:
    """What passes meet: trouble, while there is some, and a gate that holds those woken by events."""

    def __init__(self) -> None:
        self.trouble: Exception | str | None = None
        self.looked_at = 0.0
        self.gate = asyncio.Event()
        self.gate.set()
        self.readings = self.acts = self.in_hand = self.most_in_hand = 0
        self.ended: list[str] = []
        self.deciding = 0.0
        self.begun: list[float] = []

    async def resync(self) -> Report:
        self.readings += 1
        report = self._met()
        self.looked_at = time.time()
        return report

    async def event_pass(self, ended: Collection[str]) -> Report:
        self.begun.append(time.monotonic())
        self.in_hand += 1
        self.most_in_hand = max(self.most_in_hand, self.in_hand)
        self.ended += ended
        await self.gate.wait()
        self.in_hand -= 1
        self.acts += 1
        return self._met()

    def _met(self) -> Report:
        if isinstance(self.trouble, Exception):
            raise self.trouble
        return a_report(*([self.trouble] if self.trouble else []), deciding=self.deciding)


class Counts:
    """What a recorder was told."""

    def __init__(self) -> None:
        self.passes: list[str] = []
        self.failures: list[str] = []
        self.readings: list[float] = []

    def passed(self, kind: str, report: Report) -> None:
        self.passes.append(kind)

    def failed(self, kind: str) -> None:
        self.failures.append(kind)

    def looked(self, at: float) -> None:
        self.readings.append(at)


class Turns:
    """A ledger that may be out of order; of several services that share it one has the turn."""

    def __init__(self, outside: Outside) -> None:
        self.outside = outside
        self.out_of_order = False
        self.holder: str | None = None
        self.until = 0.0

    def readings(self) -> tuple[Reading, ...]:
        at = self.outside.looked_at
        return (Reading(kind=ReadingKind.RUNNERS, key="orgs/acme", at=at, value=[]),) if at else ()

    def take_leader_lease(self, name: str, holder: str, now: float, until: float) -> bool:
        if self.holder not in (None, holder) and self.until >= now:
            return False
        self.holder, self.until = holder, until
        return True

    async def transact(self, work: Callable[[Any], Any]) -> Any:
        if self.out_of_order:
            raise Unavailable("the ledger could not be written: disk full")
        return work(self)

    read = transact


class Copy:
    """A service with what it stands on."""

    def __init__(self, ledger: Any = None, interval: float = SOON) -> None:
        self.outside, self.counts = Outside(), Counts()
        self.ledger = ledger or Turns(self.outside)
        self.ahead = 0.0  # s by which its clock is
        self.service = Service(
            self.outside, self.ledger, self.counts, interval=interval, clock=lambda: time.time() + self.ahead
        )
        self.stop = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Copy"]:
        task = asyncio.create_task(self.service.run(self.stop))
        try:
            yield self
        finally:
            self.outside.gate.set()
            self.stop.set()
            await asyncio.wait_for(task, 5)


async def until(so: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not so():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.002)


def _more_readings(copy: Copy, than: int) -> bool:
    return copy.outside.readings > than


def _acted(copy: Copy, times: int) -> bool:
    return copy.outside.acts == times


async def shows(copy: Copy, part: str, text: str) -> None:
    """Wait until readiness says so."""
    async with asyncio.timeout(5):
        while text not in str((await copy.service.ready())[part]):  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.002)


# --- what fails ---


@pytest.mark.parametrize(
    "trouble",
    [Unavailable("GitHub is away"), AuthError("refused"), RuntimeError("a bug")],
    ids=lambda e: type(e).__name__,
)
def test_a_look_that_breaks_off_is_counted_and_the_next_one_comes(trouble: Exception) -> None:
    async def main() -> None:
        async with Copy().running() as copy:
            copy.outside.trouble = trouble
            await until(lambda: copy.counts.failures)
            copy.outside.trouble = None
            await until(lambda: copy.counts.readings)
            assert set(copy.counts.failures) == {"resync"}

    asyncio.run(main())


@pytest.mark.parametrize("trouble", [Unavailable("RunPod is away"), RuntimeError("a bug")])
def test_a_pass_on_events_that_breaks_off_does_not_end_the_loop(trouble: Exception) -> None:
    async def main() -> None:
        async with Copy(interval=60).running() as copy:
            await until(lambda: copy.counts.readings)
            copy.outside.trouble = trouble
            copy.service.wake()
            await until(lambda: copy.counts.failures == ["event"])
            copy.outside.trouble = None
            copy.service.wake()
            await until(lambda: "event" in copy.counts.passes)

    asyncio.run(main())


@pytest.mark.parametrize("broken", ["resync", "event"])
def test_a_loop_that_breaks_down_itself_ends_the_service_so_that_it_is_started_again(
    monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """As when its log can no longer be written."""

    class Unwritable:
        def __getattr__(self, _level: str) -> Any:
            raise RuntimeError("no space left on device")

    async def main() -> None:
        copy = Copy(interval=60)
        running = asyncio.create_task(copy.service.run(copy.stop))
        await until(lambda: copy.counts.readings)
        monkeypatch.setattr(service, "log", Unwritable())
        copy.outside.trouble = "GitHub: GET /x: 502"
        copy.service.resync_now() if broken == "resync" else copy.service.wake()
        with pytest.raises((RuntimeError, ExceptionGroup)):
            await asyncio.wait_for(running, 5)
        assert copy.stop.is_set()

    asyncio.run(main())


def waits_between_looks(monkeypatch: pytest.MonkeyPatch, trouble: Exception | str) -> list[float]:
    """What a service with an interval of 30 s waits between looks: six that meet trouble, and two that do not."""
    waits: list[float] = []
    copy_of: list[Copy] = []

    async def first(events: Sequence[asyncio.Event], seconds: float) -> None:
        """No waiting: the sixth trouble ends, and two looks later the service."""
        if copy_of[0].service._due not in events:
            await asyncio.sleep(60)
        waits.append(seconds)
        if len(waits) == 6:
            copy_of[0].outside.trouble = None
        if len(waits) == 8:
            copy_of[0].stop.set()

    monkeypatch.setattr(service, "_first", first)
    monkeypatch.setattr("bridge.service.loop.random.uniform", lambda low, high: 1.0)

    async def main() -> None:
        copy = Copy(interval=30)
        copy_of.append(copy)
        copy.outside.trouble = trouble
        running = asyncio.create_task(copy.service.run(copy.stop))
        await until(lambda: len(waits) >= 8)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running

    asyncio.run(main())
    return waits


def test_looks_that_break_off_slow_down_and_speed_up_after(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = waits_between_looks(monkeypatch, Unavailable("the ledger could not be read"))
    assert waits[:4] == [60, 120, 240, 30 * SLOWEST]
    assert waits[4:] == [30 * SLOWEST, 30 * SLOWEST, 30, 30]


def test_what_one_target_refuses_slows_down_no_look_at_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """One missing group, one endpoint that is gone, one repository that cannot be seen."""
    assert waits_between_looks(monkeypatch, "GitHub: orgs/acme has no runner group 'x'") == [30] * 8


def test_what_has_become_due_is_acted_upon_without_an_event(monkeypatch: pytest.MonkeyPatch) -> None:
    """A probe or a broken endpoint's next try need not wait for a look that may be an hour away."""
    monkeypatch.setattr(service, "TICK", 0.05)

    async def main() -> None:
        async with Copy(interval=3600).running() as copy:
            await until(lambda: copy.outside.acts >= 2)
            assert copy.outside.readings == 1

    asyncio.run(main())


def test_a_problem_that_is_met_again_under_another_request_id_is_logged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(service.log, "warning", lambda _event, problem: said.append(problem), raising=False)

    async def main() -> None:
        async with Copy().running() as copy:
            for number in range(4):
                copy.outside.trouble = f"GitHub: GET /x: 404 (request AB:{number})"
                readings = copy.outside.readings
                await until(partial(_more_readings, copy, readings + 1))

    asyncio.run(main())
    assert said == ["GitHub: GET /x: 404 (request AB:0)"]


# --- readiness ---


def test_it_is_ready_once_a_look_has_ended_well() -> None:
    async def main() -> None:
        copy = Copy()
        before = await copy.service.ready()
        assert before == {"database": None, "resync": "none has ended yet", "services": None}
        async with copy.running():
            await until(lambda: copy.counts.readings)
            assert set((await copy.service.ready()).values()) == {None}

    asyncio.run(main())


def test_readiness_names_what_is_out_of_order() -> None:
    async def main() -> None:
        async with Copy().running() as copy:
            await until(lambda: copy.counts.readings)
            copy.outside.trouble = "GitHub: GET /x: 502"
            await shows(copy, "services", "GitHub: GET /x: 502")
            copy.outside.trouble = RuntimeError("a bug")
            await shows(copy, "services", "the last resync broke off")
            copy.ledger.out_of_order = True
            await shows(copy, "database", "disk full")

    asyncio.run(main())


def test_what_a_pass_on_events_met_is_over_once_all_is_healthy_on_a_copy_that_looks_or_not() -> None:
    async def main() -> None:
        readings = Copy()
        ledger = readings.ledger
        ledger.holder, ledger.until = "another copy", time.time() + 60
        async with Copy(ledger).running() as waits, readings.running():
            for copy in (waits, readings):
                copy.outside.trouble = "GitHub: POST /x: 502"
                copy.service.wake()
                await shows(copy, "services", "POST /x: 502")
                copy.outside.trouble = None
                await shows(copy, "services", "None")
                ledger.until = 0.0  # the other copy has died

    asyncio.run(main())


@pytest.mark.parametrize("error", [Unavailable("PostgreSQL is read-only"), RuntimeError("a bug")], ids=str)
def test_a_turn_that_cannot_be_taken_is_told_and_tried_again(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        copy = Copy()
        take, trouble = copy.ledger.take_leader_lease, [error]

        def take_leader_lease(*given: Any) -> bool:
            if trouble:
                raise trouble[0]
            return bool(take(*given))

        monkeypatch.setattr(copy.ledger, "take_leader_lease", take_leader_lease)
        async with copy.running():
            await shows(copy, "services", "read-only" if isinstance(error, Unavailable) else "the last turn broke off")
            trouble.clear()
            await until(lambda: copy.counts.readings)
            await shows(copy, "services", "None")

    asyncio.run(main())


def test_a_look_that_is_overdue_is_told_by_its_age() -> None:
    async def main() -> None:
        async with Copy(interval=30).running() as copy:
            await until(lambda: copy.counts.readings)
            copy.ahead = 80.0
            assert (await copy.service.ready())["resync"] is None
            copy.ahead = 100.0
            assert str((await copy.service.ready())["resync"]).startswith("the last one began 10")

    asyncio.run(main())


# --- events ---


def test_an_event_is_acted_on_at_once_not_at_the_next_look() -> None:
    async def main() -> None:
        async with Copy(interval=60).running() as copy:
            copy.service.request_ended("a submission")
            await until(lambda: copy.outside.acts)
            copy.service.wake()
            await until(lambda: copy.outside.acts == 2)
            assert copy.outside.ended == ["a submission"], "told once"
            readings = copy.outside.readings
            copy.service.resync_now()
            await until(lambda: copy.outside.readings > readings)

    asyncio.run(main())


def test_a_slow_pass_does_not_hold_up_the_next_event_but_only_so_many_run_at_once() -> None:
    async def main() -> None:
        async with Copy(interval=60).running() as copy:
            copy.outside.gate.clear()
            for number in range(3 * TOGETHER):
                copy.service.request_ended(f"s{number}")
                await asyncio.sleep(1.5 * GAP)
            await until(lambda: copy.outside.in_hand == TOGETHER)
            copy.outside.gate.set()
            await until(lambda: copy.outside.in_hand == 0 and len(copy.outside.ended) == 3 * TOGETHER)
            assert copy.outside.most_in_hand == TOGETHER

    asyncio.run(main())


def test_passes_that_take_long_to_decide_leave_the_ledger_to_the_intake_as_long() -> None:
    """Else a long queue, whose passes are slow, would keep out the very events that make it shorter."""

    async def main() -> None:
        async with Copy(interval=60).running() as copy:
            await until(lambda: copy.counts.readings)
            copy.outside.deciding = 0.2
            for number in range(1, 4):
                copy.service.wake()
                await until(partial(_acted, copy, number))
            _, second, third = copy.outside.begun
            assert third - second >= 0.2 / SHARE

    asyncio.run(main())


def test_stopping_does_not_wait_for_the_next_pass_that_may_be_far_off() -> None:
    async def main() -> None:
        async with Copy(interval=60).running() as copy:
            await until(lambda: copy.counts.readings)
            copy.outside.deciding = 60.0
            for number in (1, 2):
                copy.service.wake()
                await until(partial(_acted, copy, number))
            began = time.monotonic()
        assert time.monotonic() - began < 4

    asyncio.run(main())


def test_stopping_waits_for_the_passes_in_hand() -> None:
    async def main() -> None:
        copy = Copy(interval=60)
        running = asyncio.create_task(copy.service.run(copy.stop))
        await until(lambda: copy.counts.readings)
        copy.outside.gate.clear()
        copy.service.wake()
        await until(lambda: copy.outside.in_hand)
        copy.stop.set()
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(running), 0.1)
        assert not running.done()
        copy.outside.gate.set()
        await asyncio.wait_for(running, 5)
        assert copy.outside.acts
        assert not copy.outside.in_hand

    asyncio.run(main())


# --- several copies ---


def test_one_copy_looks_at_a_time_and_another_when_it_has_stopped(tmp_path: Path) -> None:
    async def main() -> None:
        ledger = Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite3")
        one, other = Copy(ledger, 0.1), Copy(ledger, 0.1)
        async with one.running():
            await until(lambda: one.outside.readings)
            async with other.running():
                await until(lambda: one.outside.readings > 3)
                assert not other.outside.readings
                other.service.wake()
                await until(lambda: other.outside.acts)  # events are for all
                one.stop.set()
                await until(lambda: other.outside.readings)
        ledger.close()

    asyncio.run(main())


def test_a_service_that_is_started_again_looks_at_once() -> None:
    async def main() -> None:
        before = Copy(interval=60)
        async with before.running():
            await until(lambda: before.outside.readings)
        async with Copy(before.ledger, 60).running() as after:
            await until(lambda: after.outside.readings)

    asyncio.run(main())


def test_a_ledger_out_of_order_stops_looks_not_the_service() -> None:
    async def main() -> None:
        copy = Copy()
        copy.ledger.out_of_order = True
        async with copy.running():
            await shows(copy, "database", "disk full")
            assert not copy.outside.readings
            copy.ledger.out_of_order = False
            await until(lambda: copy.counts.readings)

    asyncio.run(main())

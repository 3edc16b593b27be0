"""Deliveries are on disk before they are answered, share commits, and one that fails does not fail the others."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, cast
from unittest.mock import patch

import pytest

from bridge.controller.ports import Ledger
from bridge.core.model import Event
from bridge.errors import Unavailable
from bridge.service.intake import PAUSE, Intake
from tests.support.values import a_job


class Store:
    """A ledger. A commit waits until the gate is open, and fails while the ledger is full."""

    def __init__(self) -> None:
        self.commits: list[list[str]] = []
        self.full: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    @property
    def guids(self) -> set[str]:
        return {guid for commit in self.commits for guid in commit}

    def hear(self, events: Iterable[Event]) -> int:
        fresh = [event.guid for event in events if event.guid not in self.guids]
        self.commits.append(fresh)
        return len(fresh)

    async def transact(self, work: Callable[[Any], Any]) -> Any:
        refusal = self.full
        await self.gate.wait()
        if refusal:
            raise refusal
        return work(self)


class Woken:
    times = 0

    def __call__(self) -> None:
        self.times += 1


def driven(drive: Callable[[Intake, Store, Woken], Any]) -> None:
    async def main() -> None:
        store, woken = Store(), Woken()
        await asyncio.wait_for(drive(Intake(cast(Ledger, store), woken), store, woken), 5)

    asyncio.run(main())


def test_a_delivery_is_answered_only_when_it_is_on_disk() -> None:
    async def drive(intake: Intake, store: Store, woken: Woken) -> None:
        store.gate.clear()
        taking = asyncio.create_task(intake.take("a", a_job(1)))
        await asyncio.sleep(0.01)
        assert not taking.done()
        store.gate.set()
        await taking
        assert store.guids == {"a"}
        assert woken.times == 1

    driven(drive)


def test_deliveries_that_arrive_during_a_commit_share_the_next_one() -> None:
    async def drive(intake: Intake, store: Store, woken: Woken) -> None:
        store.gate.clear()
        first = asyncio.create_task(intake.take("first", None))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        others = [asyncio.create_task(intake.take(f"guid-{n}", a_job(n))) for n in range(100)]
        await asyncio.sleep(0)
        store.gate.set()
        await asyncio.gather(first, *others)
        assert [len(commit) for commit in store.commits] == [1, 100]

    driven(drive)


def test_after_a_shared_commit_the_next_one_waits_for_more_deliveries_and_after_a_single_one_it_does_not() -> None:
    async def main() -> None:
        store, pauses, over = Store(), list[float](), asyncio.Event()

        async def pause(seconds: float) -> None:
            pauses.append(seconds)
            await over.wait()

        intake = Intake(cast(Ledger, store), Woken(), sleep=pause)
        await intake.take("alone", None)
        await intake.take("alone again", None)
        assert pauses == []
        await asyncio.gather(*(intake.take(f"of three, {n}", None) for n in range(3)))
        following = [asyncio.create_task(intake.take(f"after three, {n}", None)) for n in range(2)]
        for _ in range(10):
            await asyncio.sleep(0)
        assert pauses == [PAUSE]
        assert not any(task.done() for task in following)
        over.set()
        await asyncio.gather(*following)
        assert [len(commit) for commit in store.commits] == [1, 1, 3, 2]

    asyncio.run(asyncio.wait_for(main(), 5))


def test_a_delivery_that_the_database_refuses_does_not_fail_the_others_of_its_commit() -> None:
    async def drive(intake: Intake, store: Store, woken: Woken) -> None:
        hear = store.hear

        def picky(events: Iterable[Event]) -> int:
            if any(event.guid == "odd" for event in events):
                raise ValueError("it cannot be encoded")
            return hear(events)

        with patch.object(store, "hear", picky):
            taken = await asyncio.gather(
                *(intake.take(guid, a_job(1)) for guid in ("a", "odd", "b")), return_exceptions=True
            )
        assert [type(each) for each in taken] == [type(None), ValueError, type(None)]
        assert store.guids == {"a", "b"}

    driven(drive)


def test_a_redelivery_does_not_wake_the_loop() -> None:
    async def drive(intake: Intake, store: Store, woken: Woken) -> None:
        await intake.take("a", a_job(1))
        await intake.take("a", a_job(1))
        await asyncio.sleep(0)
        assert woken.times == 1

    driven(drive)


@pytest.mark.parametrize("error", [Unavailable("disk full"), RuntimeError("a bug")])
def test_a_commit_that_fails_fails_only_its_own_deliveries(error: Exception) -> None:
    async def drive(intake: Intake, store: Store, woken: Woken) -> None:
        store.gate.clear()
        store.full = error
        lost = asyncio.create_task(intake.take("lost", a_job(1)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        store.full = None
        taken = asyncio.create_task(intake.take("taken", a_job(2)))
        await asyncio.sleep(0)
        store.gate.set()
        with pytest.raises(type(error)):
            await lost
        await taken
        assert store.guids == {"taken"}
        await intake.take("lost", a_job(1))
        assert store.guids == {"taken", "lost"}, "the sender may redeliver"

    driven(drive)


def test_a_sender_that_disconnects_does_not_fail_the_others_of_its_commit() -> None:
    async def drive(intake: Intake, store: Store, woken: Woken) -> None:
        store.gate.clear()
        senders = [asyncio.create_task(intake.take(f"guid-{n}", a_job(n))) for n in range(3)]
        await asyncio.sleep(0.01)
        senders[0].cancel()  # the one that began the commit
        await asyncio.sleep(0)
        store.gate.set()
        ended = await asyncio.gather(*senders, return_exceptions=True)
        assert [type(each) for each in ended] == [asyncio.CancelledError, type(None), type(None)]
        assert store.guids == {"guid-0", "guid-1", "guid-2"}
        await intake.take("after", None)

    driven(drive)


def test_a_sender_that_disconnects_during_a_commit_that_fails_breaks_nothing() -> None:
    async def drive(intake: Intake, store: Store, woken: Woken) -> None:
        store.gate.clear()
        store.full = Unavailable("disk full")
        senders = [asyncio.create_task(intake.take(f"guid-{n}", a_job(n))) for n in range(2)]
        await asyncio.sleep(0.01)
        senders[0].cancel()
        store.gate.set()
        ended = await asyncio.gather(*senders, return_exceptions=True)
        assert [type(each) for each in ended] == [asyncio.CancelledError, Unavailable]
        store.full = None
        await intake.take("after", None)

    driven(drive)

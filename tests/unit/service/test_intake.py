"""Deliveries are durable before they are answered, share commits, and do not fail for each other."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, cast
from unittest.mock import patch

import pytest

from bridge.core.model import Event
from bridge.errors import Unavailable
from bridge.service.intake import Intake
from tests.support.values import a_job


class Kept:
    """A ledger: what is in it is durable. A commit takes until the gate opens, and fails while it is full."""

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


def driven(drive: Callable[[Intake, Kept, Woken], Any]) -> None:
    async def main() -> None:
        kept, woken = Kept(), Woken()
        await asyncio.wait_for(drive(Intake(cast(Any, kept), woken), kept, woken), 5)

    asyncio.run(main())


def test_a_delivery_is_answered_only_when_it_is_durable() -> None:
    async def drive(intake: Intake, kept: Kept, woken: Woken) -> None:
        kept.gate.clear()
        taking = asyncio.create_task(intake.take("a", a_job(1)))
        await asyncio.sleep(0.01)
        assert not taking.done()
        kept.gate.set()
        await taking
        assert kept.guids == {"a"}
        assert woken.times == 1

    driven(drive)


def test_all_that_comes_while_a_commit_is_under_way_shares_the_next_one() -> None:
    async def drive(intake: Intake, kept: Kept, woken: Woken) -> None:
        kept.gate.clear()
        first = asyncio.create_task(intake.take("first", None))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        others = [asyncio.create_task(intake.take(f"guid-{n}", a_job(n))) for n in range(100)]
        await asyncio.sleep(0)
        kept.gate.set()
        await asyncio.gather(first, *others)
        assert [len(commit) for commit in kept.commits] == [1, 100]

    driven(drive)


def test_in_a_crowd_those_that_come_one_after_the_other_share_a_commit_and_one_alone_does_not_wait() -> None:
    async def drive(intake: Intake, kept: Kept, woken: Woken) -> None:
        for crowd in (1, 3):
            await asyncio.gather(*(intake.take(f"{crowd}-{n}", None) for n in range(crowd)))
            first = asyncio.create_task(intake.take(f"after {crowd}, first", None))
            for _ in range(10):
                await asyncio.sleep(0)
            assert first.done() == (crowd == 1)
            await asyncio.gather(first, intake.take(f"after {crowd}, second", None))
        assert [len(commit) for commit in kept.commits] == [1, 1, 1, 3, 2]

    driven(drive)


def test_one_that_the_database_refuses_does_not_fail_those_that_came_with_it() -> None:
    async def drive(intake: Intake, kept: Kept, woken: Woken) -> None:
        hear = kept.hear

        def picky(events: Iterable[Event]) -> int:
            if any(event.guid == "odd" for event in events):
                raise ValueError("it cannot be encoded")
            return hear(events)

        with patch.object(kept, "hear", picky):
            taken = await asyncio.gather(
                *(intake.take(guid, a_job(1)) for guid in ("a", "odd", "b")), return_exceptions=True
            )
        assert [type(each) for each in taken] == [type(None), ValueError, type(None)]
        assert kept.guids == {"a", "b"}

    driven(drive)


def test_a_redelivery_wakes_nobody() -> None:
    async def drive(intake: Intake, kept: Kept, woken: Woken) -> None:
        await intake.take("a", a_job(1))
        await intake.take("a", a_job(1))
        await asyncio.sleep(0)
        assert woken.times == 1

    driven(drive)


@pytest.mark.parametrize("error", [Unavailable("disk full"), RuntimeError("a bug")])
def test_a_commit_that_fails_fails_its_own_deliveries_and_no_others(error: Exception) -> None:
    async def drive(intake: Intake, kept: Kept, woken: Woken) -> None:
        kept.gate.clear()
        kept.full = error
        lost = asyncio.create_task(intake.take("lost", a_job(1)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        kept.full = None
        taken = asyncio.create_task(intake.take("taken", a_job(2)))
        await asyncio.sleep(0)
        kept.gate.set()
        with pytest.raises(type(error)):
            await lost
        await taken
        assert kept.guids == {"taken"}
        await intake.take("lost", a_job(1))
        assert kept.guids == {"taken", "lost"}, "the sender may redeliver"

    driven(drive)


def test_a_sender_that_hangs_up_does_not_break_the_others_of_its_commit() -> None:
    async def drive(intake: Intake, kept: Kept, woken: Woken) -> None:
        kept.gate.clear()
        senders = [asyncio.create_task(intake.take(f"guid-{n}", a_job(n))) for n in range(3)]
        await asyncio.sleep(0.01)
        senders[0].cancel()  # the one that began the commit
        await asyncio.sleep(0)
        kept.gate.set()
        ended = await asyncio.gather(*senders, return_exceptions=True)
        assert [type(each) for each in ended] == [asyncio.CancelledError, type(None), type(None)]
        assert kept.guids == {"guid-0", "guid-1", "guid-2"}
        await intake.take("after", None)

    driven(drive)


def test_a_sender_that_hangs_up_from_a_commit_that_fails_does_not_either() -> None:
    async def drive(intake: Intake, kept: Kept, woken: Woken) -> None:
        kept.gate.clear()
        kept.full = Unavailable("disk full")
        senders = [asyncio.create_task(intake.take(f"guid-{n}", a_job(n))) for n in range(2)]
        await asyncio.sleep(0.01)
        senders[0].cancel()
        kept.gate.set()
        ended = await asyncio.gather(*senders, return_exceptions=True)
        assert [type(each) for each in ended] == [asyncio.CancelledError, Unavailable]
        kept.full = None
        await intake.take("after", None)

    driven(drive)

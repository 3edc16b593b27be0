"""Pages are updated by one read, whatever the number of people who look, and only while somebody looks."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection

import pytest

from bridge.dashboard.feed import Answers, Feed, FeedTiming, Trouble
from bridge.dashboard.queries import Group, Query
from bridge.dashboard.render import Fragment
from bridge.errors import Unavailable
from tests.support.background import until_async

FAST = FeedTiming(gap=0.02, share=1.0, longest=5.0, beat=1.0)
OVERVIEW, LIST = Query(), Query(group=Group.QUEUED)


class Ledger:
    """Counts its reads."""

    def __init__(self) -> None:
        self.reads: list[frozenset[Query]] = []
        self.content = "one"
        self.fails = False

    async def read(self, queries: Collection[Query]) -> Answers:
        self.reads.append(frozenset(queries))
        await asyncio.sleep(0)
        if self.fails:
            raise Unavailable("the ledger could not be read: it is locked")
        html = self.content
        return {each: Fragment(title="", html=f"{html} {each.path}", digest=f"{html} {each.path}") for each in queries}


class Viewer:
    """A page that is open."""

    def __init__(self, feed: Feed, query: Query = OVERVIEW, seen: str | None = None) -> None:
        self.got: list[str] = []
        self._updates = feed.updates(query, seen)
        self.task = asyncio.create_task(self._look(self._updates))

    async def _look(self, updates: AsyncIterator[Fragment | Trouble | None]) -> None:
        async for update in updates:
            match update:
                case Fragment():
                    self.got.append(update.html)
                case Trouble():
                    self.got.append(update.message)

    async def leave(self) -> None:
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task


def test_many_viewers_share_each_read() -> None:
    async def main() -> None:
        ledger = Ledger()
        feed = Feed(ledger.read, asyncio.Event(), FAST)
        viewers = [Viewer(feed, query) for query in (OVERVIEW, LIST) for _ in range(20)]
        await until_async(lambda: all(viewer.got for viewer in viewers))
        assert len(ledger.reads) <= 2
        ledger.content = "two"
        await until_async(lambda: all(viewer.got[-1].startswith("two") for viewer in viewers))
        assert {len(viewer.got) for viewer in viewers} == {2}, "each change is sent once"
        assert ledger.reads[-1] == {OVERVIEW, LIST}
        for viewer in viewers:
            await viewer.leave()

    asyncio.run(main())


def test_nothing_is_read_while_nobody_looks() -> None:
    async def main() -> None:
        ledger = Ledger()
        feed = Feed(ledger.read, asyncio.Event(), FAST)
        viewer = Viewer(feed)
        await until_async(lambda: viewer.got)
        await viewer.leave()
        await asyncio.sleep(0.1)
        reads = len(ledger.reads)
        await asyncio.sleep(0.2)
        assert len(ledger.reads) == reads

    asyncio.run(main())


def test_pages_that_are_opened_together_share_a_read() -> None:
    async def main() -> None:
        ledger = Ledger()
        feed = Feed(ledger.read, asyncio.Event(), FeedTiming(gap=60.0))
        await asyncio.gather(*(feed.answer(OVERVIEW) for _ in range(30)))
        assert len(ledger.reads) == 1

    asyncio.run(main())


def test_a_page_that_connects_again_gets_only_what_is_new() -> None:
    async def main() -> None:
        ledger = Ledger()
        feed = Feed(ledger.read, asyncio.Event(), FAST)
        viewer = Viewer(feed, seen="one /")
        await until_async(lambda: len(ledger.reads) > 2)
        assert viewer.got == []
        ledger.content = "two"
        await until_async(lambda: viewer.got == ["two /"])
        await viewer.leave()

    asyncio.run(main())


def test_viewers_are_limited_in_number_and_in_time() -> None:
    async def main() -> None:
        feed = Feed(Ledger().read, asyncio.Event(), FeedTiming(gap=0.02, longest=0.3, viewers=2))
        viewers = [Viewer(feed) for _ in range(5)]
        await until_async(lambda: sum(bool(viewer.got) for viewer in viewers) == 2)
        assert feed.is_full
        await asyncio.wait_for(asyncio.gather(*(viewer.task for viewer in viewers)), 5)
        assert not feed.is_full
        assert sum(bool(viewer.got) for viewer in viewers) == 2

    asyncio.run(main())


def test_a_ledger_that_cannot_be_read_is_said_once_and_the_page_goes_on_afterwards() -> None:
    async def main() -> None:
        ledger = Ledger()
        feed = Feed(ledger.read, asyncio.Event(), FAST)
        viewer = Viewer(feed)
        await until_async(lambda: viewer.got == ["one /"])
        ledger.fails = True
        await until_async(lambda: len(viewer.got) == 2)
        with pytest.raises(Unavailable):
            await feed.answer(LIST)
        await asyncio.sleep(0.1)
        ledger.fails = False
        await until_async(lambda: len(viewer.got) == 3)
        assert viewer.got == ["one /", "the ledger could not be read: it is locked", "one /"]
        await viewer.leave()

    asyncio.run(main())


def test_a_service_that_stops_ends_all_updates() -> None:
    async def main() -> None:
        stop = asyncio.Event()
        feed = Feed(Ledger().read, stop, FeedTiming(gap=0.02, longest=60.0, beat=60.0))
        viewer = Viewer(feed)
        await until_async(lambda: viewer.got)
        stop.set()
        await asyncio.wait_for(viewer.task, 5)

    asyncio.run(main())


def test_a_feed_that_is_closed_has_ended_its_read() -> None:
    async def main() -> None:
        ended = False

        async def slow(queries: Collection[Query]) -> Answers:
            nonlocal ended
            await asyncio.sleep(0.3)
            ended = True
            return dict.fromkeys(queries)

        stop = asyncio.Event()
        feed = Feed(slow, stop, FAST)
        viewer = Viewer(feed)
        await asyncio.sleep(0.1)
        stop.set()
        await feed.aclose()
        assert ended
        await viewer.leave()

    asyncio.run(main())

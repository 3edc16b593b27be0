"""What the open pages show: one read of the ledger for each update, however many people look."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass

import structlog

from bridge.dashboard.queries import Query
from bridge.dashboard.render import Fragment
from bridge.errors import BridgeError
from bridge.telemetry import mask

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class FeedTiming:
    """How often the pages are updated, and the limits. Durations are in seconds.

    Args:
        clock: returns seconds that never go back.
        gap: shortest time from one read to the next.
        share: largest share of the time in which the ledger is read, unless one read takes very long.
        longest_gap: longest time from one read to the next.
        longest: a page gets updates for so long, then it connects again. It is below the time that the server gives an
            answer (`ConnectionLimits.answer`).
        beat: a page gets at least a sign of life so often, so that proxies and browsers keep the connection.
        viewers: the most pages that get updates at a time.
    """

    clock: Callable[[], float] = time.monotonic
    gap: float = 1.0
    share: float = 0.1
    longest_gap: float = 5.0
    longest: float = 45.0
    beat: float = 15.0
    viewers: int = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class Trouble:
    """Why a page is not updated, in one line."""

    message: str


Answers = Mapping[Query, Fragment | None]
"""By query, the content of its page; None if there is no such job."""

DEFAULT_TIMING = FeedTiming()


class Feed:
    """Answers queries, again and again while a page is open.

    Args:
        read: answers queries with one read of the ledger.
        stop: ends all updates when it is set.
        timing: the limits.
    """

    def __init__(
        self,
        read: Callable[[Collection[Query]], Awaitable[Answers]],
        stop: asyncio.Event,
        timing: FeedTiming = DEFAULT_TIMING,
    ) -> None:
        self._read = read
        self._stop = stop
        self._timing = timing
        self._lock = asyncio.Lock()
        self._known: Answers = {}
        self._read_at = float("-inf")
        self._took = 0.0
        self._trouble: Trouble | None = None
        self._watched = Counter[Query]()
        self._changed = asyncio.Event()
        self._updating: asyncio.Task[None] | None = None

    @property
    def is_full(self) -> bool:
        """Whether as many pages as are allowed get updates already."""
        return self._watched.total() >= self._timing.viewers

    async def answer(self, query: Query) -> Fragment | None:
        """The content of a page; not older than the shortest time between two reads.

        Raises:
            BridgeError: the ledger could not be read.
        """
        async with self._lock:
            if query not in self._known or self._timing.clock() - self._read_at >= self._gap:
                await self._refresh([query])
            return self._known[query]

    async def updates(self, query: Query, seen: str | None) -> AsyncIterator[Fragment | Trouble | None]:
        """Each new content of a page, trouble if there is none, None as a sign of life. Nothing if the feed is full.

        Args:
            query: of the page.
            seen: the digest of the content that it shows already.
        """
        if self.is_full:
            return
        self._watched[query] += 1
        try:
            ends_at = self._timing.clock() + self._timing.longest
            told: Trouble | None = None
            while not self._stop.is_set() and (left := ends_at - self._timing.clock()) > 0:
                self._update()
                changed, fragment = self._changed, self._known.get(query)
                if self._trouble is not None and self._trouble != told:
                    yield self._trouble
                elif fragment is not None and self._trouble is None and (fragment.digest != seen or told):
                    seen = fragment.digest
                    yield fragment
                told = self._trouble
                if not await _is_set_within(changed, min(left, self._timing.beat)):
                    yield None
        finally:
            self._watched[query] -= 1
            self._watched += Counter()  # drops queries that nobody asks any more

    def expire(self) -> None:
        """Read again for the next answer: the ledger was changed."""
        self._read_at = float("-inf")

    async def aclose(self) -> None:
        """End all updates, and wait until the current read has ended."""
        self._watched.clear()
        if self._updating is not None:
            await self._updating

    @property
    def _gap(self) -> float:
        return max(self._timing.gap, min(self._took / self._timing.share, self._timing.longest_gap))

    def _update(self) -> None:
        """Start to update the pages, unless that goes on already."""
        if self._updating is None or self._updating.done():
            self._updating = asyncio.create_task(self._update_while_watched())

    async def _update_while_watched(self) -> None:
        while self._watched and not self._stop.is_set():
            if await _is_set_within(self._stop, max(0.0, self._read_at + self._gap - self._timing.clock())):
                break
            async with self._lock:
                with contextlib.suppress(BridgeError):  # the pages show it
                    await self._refresh([])
            self._notify()
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _refresh(self, asked: Collection[Query]) -> None:
        """Read the answers to all queries of open pages and to those that are asked."""
        began = self._timing.clock()
        try:
            self._known = await self._read({*self._watched, *asked})
            self._trouble = None
        except BridgeError as error:
            self._trouble = Trouble(message=mask(str(error)))
            raise
        except Exception:
            log.exception("unexpected error", during="reading for the dashboard")
            self._trouble = Trouble(message="the page could not be made; the log has the traceback")
            if asked:
                raise
        finally:
            self._read_at = self._timing.clock()
            self._took = self._read_at - began


async def _is_set_within(event: asyncio.Event, seconds: float) -> bool:
    """Whether an event was set before the time was over."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return event.is_set()
    return True

"""The logs of a live worker, as RunPod's management API streams them: server-sent events that can be resumed.

The call is "Stream serverless worker logs" of https://api.runpod.io/v2/openapi.json: each event has an id, and the
header `Last-Event-ID` resumes the stream there.
"""

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import cast
from urllib.parse import quote

import httpx
from httpx_sse import EventSource, ServerSentEvent, SSEError, aconnect_sse

from bridge import __version__
from bridge.errors import AuthError, BridgeError, RateLimited, Rejected, Unavailable
from bridge.runpod.management_http import LONGEST_PAUSE, retry_after

TRIES = 6
"""Connections in a row that fail, after which the stream is given up."""

FIRST_WAIT, LONGEST_WAIT = 1.0, 30.0
"""s before the next connection: the first wait, which doubles after each failure, and the longest wait."""

LARGEST_EVENT = 1024 * 1024
"""Bytes of one event. RunPod's description has no limit for a line."""

SILENT = 60.0
"""s without a byte after which a new connection takes the place of one that may be dead."""

LASTED = 10.0
"""s after which a connection counts as one that worked."""

QUIET = 2.0
"""s without a line after which the lines of the past have all come: the stream itself does not end."""

ANSWERED, LONGEST_PAST = 15.0, 60.0
"""s for the first line of the past, and about so many for all of them."""


class Source(StrEnum):
    """Which log, in RunPod's words."""

    CONTAINER = "container"  # the output of the worker's program
    SYSTEM = "system"  # what the host does, such as to pull the image


@dataclass(frozen=True, kw_only=True, slots=True)
class LogLine:
    """One line. It is not trusted: a job may print anything.

    Args:
        ts: RunPod's time, RFC 3339.
        source: one of `Source`, as RunPod says it.
        text: of the line.
    """

    ts: str
    source: str
    text: str


class WorkerGone(BridgeError):
    """RunPod has no such worker (404): it has ended, and RunPod streams only the logs of live ones."""


class _Interrupted(Exception):
    """The stream broke off, or could not begin; it may be resumed.

    Args:
        problem: a part of a sentence.
        wait: s to wait at least.
    """

    def __init__(self, problem: str, wait: float = 0.0) -> None:
        super().__init__(problem)
        self.wait = wait


def log_client(silent: float = SILENT) -> httpx.AsyncClient:
    """A client for streams. It follows no redirect, since the key would go with it.

    Args:
        silent: s without a byte after which a connection is given up.
    """
    # Without compression, LARGEST_EVENT bounds what is read and what is kept alike.
    headers = {"User-Agent": f"runpod-actions-bridge/{__version__}", "Accept-Encoding": "identity"}
    return httpx.AsyncClient(timeout=httpx.Timeout(10.0, read=silent), headers=headers, follow_redirects=False)


class WorkerLogs:
    """Reads the logs of workers.

    Args:
        http: made by `log_client`.
        api_key: secret.
        base_url: such as `https://api.runpod.io`.
        key_setting: the setting that the key comes from, for errors.
        sleep: waits so many seconds.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        *,
        api_key: str,
        base_url: str,
        key_setting: str,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._http = http
        self._api_key = api_key
        self._base_url = base_url.rstrip("/")
        self._key_setting = key_setting
        self._sleep = sleep

    async def past(
        self, endpoint: str, worker: str, *, source: Source | None, tail: int
    ) -> AsyncGenerator[LogLine, None]:
        """Yield the last lines of a worker, the oldest first. Arguments and errors are those of `follow`."""
        lines = self.follow(endpoint, worker, source=source, tail=tail)
        async with contextlib.aclosing(lines):
            with contextlib.suppress(TimeoutError, StopAsyncIteration):
                until = time.monotonic() + LONGEST_PAST
                for number in range(tail):
                    if time.monotonic() > until:
                        break  # a worker that prints all the time
                    yield await asyncio.wait_for(anext(lines), QUIET if number else ANSWERED)

    async def follow(
        self, endpoint: str, worker: str, *, source: Source | None, tail: int
    ) -> AsyncGenerator[LogLine, None]:
        """Yield the last lines of a worker and each new one, until the worker is gone.

        Args:
            endpoint: RunPod's id.
            worker: RunPod's id.
            source: which log; None for both.
            tail: how many lines of the past.

        Raises:
            WorkerGone: there is no such worker. If its log was read before, its end is the end of the lines instead.
            AuthError, RateLimited, Rejected: see bridge.errors.
            Unavailable: there is no readable stream, or it broke off and several tries did not resume it.
        """
        path = f"/v2/serverless/{quote(endpoint, safe='')}/workers/{quote(worker, safe='')}/logs"
        params = {"tail": str(tail), **({"source": source.value} if source else {})}
        place, failed = _Place(), 0
        while True:
            began, broken = time.monotonic(), _Interrupted("it ended")
            try:
                async with contextlib.aclosing(self._connection(path, params, place)) as lines:
                    async for line in lines:
                        failed = 0
                        yield line
            except WorkerGone:
                if place.opened:
                    return
                raise
            except _Interrupted as error:
                broken = error
            failed = 1 if time.monotonic() > began + LASTED else failed + 1
            if failed >= TRIES:
                raise Unavailable(f"RunPod: GET {path}: {broken}, {TRIES} times in a row; try again later")
            await self._sleep(max(broken.wait, min(FIRST_WAIT * 2 ** (failed - 1), LONGEST_WAIT)))

    async def _connection(self, path: str, params: dict[str, str], place: "_Place") -> AsyncGenerator[LogLine, None]:
        """Yield the new lines of one connection."""
        headers = {"Authorization": f"Bearer {self._api_key}", **place.headers()}
        try:
            async with aconnect_sse(
                self._http, "GET", f"{self._base_url}{path}", params=params, headers=headers
            ) as source:
                self._check(path, source.response)
                place.open()
                async for event in _events(source):
                    for line in place.taken(event):
                        yield line
        except SSEError:
            kind = source.response.headers.get("content-type", "no content type").split(";")[0][:50]
            raise Unavailable(f"RunPod: GET {path}: the answer is no log ({kind}); is the URL right?") from None
        except httpx.HTTPError as error:
            raise _Interrupted(f"no readable answer ({type(error).__name__})") from None

    def _check(self, path: str, response: httpx.Response) -> None:
        line, status = f"RunPod: GET {path}", response.status_code
        if status == 404:
            raise WorkerGone(f"{line}: 404, no such worker")
        if status == 401:
            raise AuthError(f"{line}: 401, {self._key_setting} was refused; create a key in RunPod's console")
        if status == 403:
            raise AuthError(f"{line}: 403, {self._key_setting} may not do this; give it the permission")
        if status == 429:
            wait = retry_after(response.headers)
            if wait <= LONGEST_PAUSE:
                raise _Interrupted("rate limit of RunPod", wait)
            retry_at = time.time() + wait
            raise RateLimited(f"{line}: rate limit of RunPod; try again in {wait:.0f} s", retry_at=retry_at)
        if status >= 500:
            raise _Interrupted(f"HTTP {status}")
        if status != 200:
            raise Rejected(f"{line}: {status}; is RUNPOD_MANAGEMENT_URL right?", status=status)


class _Place:
    """How far a log was read, over several connections."""

    def __init__(self) -> None:
        self.opened = False
        self._last_id = ""
        self._latest: Counter[tuple[str, str]] = Counter()  # ids and data of the events with the time of the last one
        self._again: Counter[tuple[str, str]] = Counter()  # of these, what a resumed stream may send again

    def headers(self) -> dict[str, str]:
        """What resumes the log here."""
        return {"Last-Event-ID": self._last_id} if self._last_id else {}

    def open(self) -> None:
        """Note that a connection was made."""
        self.opened = True
        self._again = self._latest.copy()

    def taken(self, event: ServerSentEvent) -> Iterator[LogLine]:
        """The line of an event, unless it was taken before: the stream may resume with the last event, not after it."""
        key = (event.id, event.data)
        if self._again[key] > 0:
            self._again[key] -= 1
            return
        if _time_of(event.id) != _time_of(self._last_id):
            self._latest.clear()
        self._latest[key] += 1
        self._last_id = event.id
        if line := _line(event.data):
            yield line


def _time_of(event_id: str) -> str:
    """The time in an id such as `2026-06-01T12:05:04Z/000000000042`."""
    return event_id.partition("/")[0]


def _line(data: str) -> LogLine | None:
    """The line in an event's data; None if it is something else, which a later API may send."""
    try:
        value = json.loads(data)
        return LogLine(ts=str(value["ts"]), source=str(value["source"]), text=str(value["line"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


async def _events(source: EventSource) -> AsyncIterator[ServerSentEvent]:
    """The events of an open stream. The library keeps an event until it is whole, so its size is checked here."""
    source.response.encoding = "utf-8"  # always: https://html.spec.whatwg.org/multipage/server-sent-events.html
    counted = source.response.stream = _Counted(source.response.stream)
    async with contextlib.aclosing(source.aiter_sse()) as events:
        async for event in events:
            counted.since_event = 0
            yield event


class _Counted(httpx.AsyncByteStream):
    """A stream that fails if an event does not end.

    Attributes:
        since_event: bytes since the last whole event.
    """

    def __init__(self, stream: httpx.SyncByteStream | httpx.AsyncByteStream) -> None:
        self._stream = cast("httpx.AsyncByteStream", stream)  # of an AsyncClient
        self.since_event = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._stream:
            self.since_event += len(part)
            if self.since_event > LARGEST_EVENT:
                raise Unavailable(f"RunPod: a line of the log is larger than {LARGEST_EVENT // 2**20} MiB")
            yield part

    async def aclose(self) -> None:
        await self._stream.aclose()

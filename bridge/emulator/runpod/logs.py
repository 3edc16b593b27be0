"""The logs of the emulated workers, as the management API streams them.

The form is that of GET /v2/serverless/{id}/workers/{workerId}/logs in https://api.runpod.io/v2/openapi.json.
"""

import asyncio
import json
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bridge.emulator.runpod.bodies import Problem

SOURCES = ("container", "system")

KEPT = 5000
"""Lines of one worker that are kept: the most that `tail` may ask for."""

CHECK_INTERVAL = 0.05
"""s between two looks for new lines of a stream."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One line. Its event's id is its time with its number, as in the description's example."""

    number: int
    at: float
    source: str
    text: str

    @property
    def stamp(self) -> str:
        """Its time, RFC 3339 with seconds."""
        return datetime.fromtimestamp(self.at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    @property
    def id(self) -> str:
        """Of its event."""
        return f"{self.stamp}/{self.number:012d}"

    def event(self) -> str:
        """As a server-sent event."""
        data = {"ts": self.stamp, "source": self.source, "line": self.text}
        return f"id: {self.id}\ndata: {json.dumps(data)}\n\n"


class Logs:
    """The logs of live workers: RunPod streams no others.

    Args:
        clock: Unix seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lines: dict[str, deque[Line]] = {}
        self._count: defaultdict[str, int] = defaultdict(int)

    def open(self, worker_id: str) -> None:
        """Begin the log of a new worker."""
        self._lines[worker_id] = deque(maxlen=KEPT)

    def close(self, worker_id: str) -> None:
        """Forget the log of a worker that is gone; its streams end."""
        self._lines.pop(worker_id, None)
        self._count.pop(worker_id, None)

    def add(self, worker_id: str, source: str, text: str) -> None:
        """Add a line to the log of a worker, if it is there."""
        if worker_id in self._lines:
            self._count[worker_id] += 1
            line = Line(number=self._count[worker_id], at=self._clock(), source=source, text=text)
            self._lines[worker_id].append(line)

    def events(self, worker_id: str, query: Mapping[str, str], last_event_id: str | None) -> AsyncIterator[str]:
        """The events of one stream, until the worker is gone.

        Args:
            worker_id: of a live worker.
            query: `source`, `tail` and `since`.
            last_event_id: of the header; it counts more than `since`, and both count more than `tail`.

        Raises:
            Problem: 404, there is no such worker; 422, a parameter is wrong.
        """
        source, tail = _source(query), _tail(query)
        if worker_id not in self._lines:
            raise Problem(404, "worker not found")
        kept = [line for line in self._lines[worker_id] if source in (None, line.source)]
        since = last_event_id or query.get("since")
        first = _resumed(kept, since) if since else kept[len(kept) - min(tail, len(kept)) :]
        return self._stream(worker_id, source, first, self._count[worker_id])

    async def _stream(self, worker_id: str, source: str | None, first: list[Line], sent: int) -> AsyncIterator[str]:
        for line in first:
            yield line.event()
        while worker_id in self._lines:
            for line in [line for line in self._lines[worker_id] if line.number > sent]:
                sent = line.number
                if source in (None, line.source):
                    yield line.event()
            await asyncio.sleep(CHECK_INTERVAL)


class LogFile:
    """The output of a worker's program in a file, which is read as it grows.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0
        self._rest = b""

    def new_lines(self, *, ended: bool = False) -> Iterator[str]:
        """The lines that were written since the last call; `ended` if no more will be written."""
        if self._path.exists():
            with self._path.open("rb") as file:
                file.seek(self._read)
                new = file.read()
            self._read += len(new)
            *whole, self._rest = (self._rest + new).split(b"\n")
            yield from (line.decode(errors="replace").rstrip("\r") for line in whole)
        if ended and self._rest:
            yield self._rest.decode(errors="replace")


def _source(query: Mapping[str, str]) -> str | None:
    source = query.get("source")
    if source is not None and source not in SOURCES:
        raise Problem(422, "Request validation failed.", (f"source: must be one of {', '.join(SOURCES)}",))
    return source


def _tail(query: Mapping[str, str]) -> int:
    """How many lines to begin with; 100 by default."""
    given = query.get("tail", "100")
    if not given.isascii() or not given.isdecimal() or int(given) > KEPT:
        raise Problem(422, "Request validation failed.", (f"tail: must be an integer from 0 to {KEPT}",))
    return int(given)


def _resumed(kept: list[Line], since: str) -> list[Line]:
    """The lines after the event of an id, or from a time on."""
    stamp, _, number = since.partition("/")
    try:
        at = datetime.fromisoformat(stamp).timestamp()
        after = int(number or -1)
    except ValueError:
        raise Problem(422, "Request validation failed.", ("Last-Event-ID: must be an RFC 3339 timestamp",)) from None
    if after >= 0:
        return [line for line in kept if line.number > after]
    return [line for line in kept if line.at >= at]

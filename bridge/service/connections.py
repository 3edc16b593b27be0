"""Limits on what a client may use before its signature is checked: bytes, time and connections.

uvicorn sets no such limits with httptools, and with h11 only the size of the headers.
Deadlines are checked once a second for all connections together, so that a request needs no timer.
"""

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import structlog
import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from bridge.service.open_files import allowed_files, open_files

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class ConnectionLimits:
    """What a client may use.

    Args:
        head: bytes of a request's line and headers, or of a trailer. A delivery from GitHub has less than 1 kB.
        receive: s for a whole request to arrive. GitHub gives up after the same time.
        answer: s for its answer to be sent. A commit waits up to 30 s for SQLite's lock.
        keep_alive: s that a connection stays open between two requests.
        linger: s that a connection has to close by itself before it is aborted.
        pipelined: requests that a connection may send before they are answered. GitHub and proxies send one.
        connections: at a time, if the process may open enough files.
        other_files: open files that are left to the ledger and to calls to GitHub and RunPod.
    """

    head: int = 16 * 1024
    receive: int = 10
    answer: int = 60
    keep_alive: int = 5
    linger: int = 5
    pipelined: int = 4
    connections: int = 1000
    other_files: int = 128

    def most_connections(self, files: int) -> int:
        """How many connections may be open if the process may open so many files."""
        return max(1, min(self.connections, files - self.other_files))


DEFAULT_LIMITS = ConnectionLimits()


class Warnings:
    """Logs warnings, each kind at most once a minute.

    Args:
        clock: returns seconds that never go back.
        every: s between two warnings of one kind.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, every: float = 60.0) -> None:
        self._clock = clock
        self._every = every
        self._warned_at: dict[str, float] = {}

    def warn(self, event: str, **values: object) -> None:
        """Log a warning, unless there was one of its kind within `every` seconds."""
        now = self._clock()
        if now - self._warned_at.get(event, -math.inf) >= self._every:
            self._warned_at[event] = now
            log.warning(event, **values)

    def warn_of_open_files(self, opened: int | None, allowed: int) -> None:
        """Warn when the process can soon accept no more connections: the event loop does not say when it fails."""
        if opened is not None and opened > 0.9 * allowed:
            self.warn("open files near their limit", open=opened, limit=allowed, fix="raise LimitNOFILE or ulimit -n")


class Connection(HttpToolsProtocol):
    """A connection to a client, with limits.

    Args:
        limits: of each connection.
        warnings: logs that a limit was reached.
        given: uvicorn's own arguments.
    """

    deadline = math.inf  # s, by the event loop's clock
    closing = False
    _receiving = True  # a request has not arrived completely
    _progress = False  # the last bytes ended a head or belonged to a body
    _unparsed = 0  # bytes since then: of a head, a trailer or the line before a chunk
    _refusal: tuple[int, str] | None = None

    def __init__(self, limits: ConnectionLimits, warnings: Warnings, **given: Any) -> None:
        super().__init__(**given)
        self._limits = limits
        self._warnings = warnings

    def connection_made(self, transport: Any) -> None:
        """Start the connection. At the limit, abort others that wait for their clients."""
        super().connection_made(transport)
        self.deadline = self.loop.time() + self._limits.receive
        most = self._limits.most_connections(allowed_files())
        if len(self.connections) > most:
            _make_room(self.connections)
            self._warnings.warn(
                "connections at their limit", limit=most, effect="the ones that wait longest are closed"
            )

    def data_received(self, data: bytes) -> None:
        """Parse data. Refuse a head or a trailer that is too long."""
        if not self._receiving:
            self._begin()
        self._progress = False
        super().data_received(data)
        self._unparsed = 0 if self._progress else self._unparsed + len(data)
        if self._unparsed > self._limits.head:
            self.send_400_response("the line and headers of the request are too long", 431)

    def on_message_begin(self) -> None:
        """Start a request."""
        super().on_message_begin()
        self._begin()

    def on_headers_complete(self) -> None:
        """Pass the request on, unless its head is too long or too many requests came before it."""
        self._progress = True
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > self._limits.head:
            self._refuse(431, "the line and headers of the request are too long")
        if len(self.pipeline) >= self._limits.pipelined:
            self._refuse(429, "too many requests before their answers were read")
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of a body. After an early answer it is dropped, and the connection can be used again."""
        self._progress = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request. From now on its answer is due."""
        self._receiving = False
        self.deadline = self.loop.time() + (self._limits.answer if self.answers else self._idle)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """End an answer. From now on the next request may come."""
        super().on_response_complete()
        if not self._receiving and not self.answers:
            self.deadline = self.loop.time() + self._idle

    @property
    def answers(self) -> bool:
        """Whether an answer is due."""
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def waits(self) -> bool:
        """Whether the client has to send something."""
        return self._receiving or not self.answers

    @property
    def _idle(self) -> int:
        """Seconds that a connection may be idle: uvicorn closes it after `keep_alive`."""
        return self._limits.keep_alive + self._limits.linger

    def expire(self) -> None:
        """Close the connection: its deadline has passed."""
        if self.closing or not self.waits:
            self.transport.abort()
            return
        self.deadline = self.loop.time() + self._limits.linger
        if self.answers or self._unparsed:
            self.send_400_response(f"the request did not arrive within {self._limits.receive} s", 408)
        self.closing = True
        self.transport.close()

    def send_400_response(self, msg: str, status: int = 400) -> None:
        """Refuse a request, and close the connection."""
        status, msg = self._refusal or (status, msg)
        if self.closing:
            return
        self.closing = True
        if not (self.answers and self.cycle.response_started):
            head = f"content-type: text/plain; charset=utf-8\r\ncontent-length: {len(msg)}\r\nconnection: close\r\n\r\n"
            self.transport.write(STATUS_LINE[status] + head.encode() + msg.encode())
        self.transport.close()

    def _begin(self) -> None:
        self._receiving = True
        self.deadline = self.loop.time() + self._limits.receive

    def _refuse(self, status: int, why: str) -> None:
        """Stop parsing, within a callback of the parser: the parser turns the error into `send_400_response`."""
        self._refusal = status, why
        raise ValueError(why)


def _make_room(connections: "set[Any]") -> None:
    """Abort a tenth of all connections, those that have waited longest, so that the next ones need no search."""
    waiting = sorted((each for each in connections if each.waits), key=lambda each: each.deadline)
    for each in waiting[: max(1, len(connections) // 10)]:
        each.transport.abort()
        connections.discard(each)


class Server(uvicorn.Server):
    """uvicorn's server with deadlines. It leaves signals to its caller, which finishes passes after the last answer.

    Args:
        config: uvicorn's, with `Connection`.
        warnings: logs that open files are near their limit.
    """

    def __init__(self, config: uvicorn.Config, warnings: Warnings) -> None:
        super().__init__(config)
        self._warnings = warnings

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture no signals."""
        yield

    async def on_tick(self, counter: int) -> bool:
        """Check deadlines once a second, and open files every five seconds. uvicorn calls this ten times a second."""
        if counter % 10 == 0:
            now = asyncio.get_running_loop().time()
            for each in [each for each in self.server_state.connections if each.deadline < now]:  # type: ignore[union-attr]
                each.expire()  # type: ignore[union-attr]
        if counter % 50 == 0:
            self._warnings.warn_of_open_files(open_files(), allowed_files())
        return await super().on_tick(counter)

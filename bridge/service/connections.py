"""What a stranger may take of the service before a signature is checked: bytes, time and connections.

uvicorn bounds none of them with httptools, and with h11 only the size of a head.
Deadlines are checked once a second for all connections together, so a request pays for no timer.
"""

import asyncio
import contextlib
import math
import os
import resource
import time
from collections.abc import Iterator
from typing import Any

import structlog
import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

LARGEST_HEAD = 16 * 1024
"""Bytes of a request's line and headers; a delivery of GitHub has less than 1 kB."""

RECEIVE = 10
"""s for a whole request to arrive; GitHub gives up after as many."""

ANSWER = 60
"""s for its answer to be sent; a commit waits up to 30 s for SQLite's lock."""

KEEP_ALIVE = 5
"""s that a connection stays open between two requests."""

LINGER = 5
"""s that a connection has to close by itself before it is cut."""

PIPELINED = 4
"""Requests that one connection may send before they are answered; GitHub and proxies send one."""

MOST_CONNECTIONS = 1000
"""At a time, where the process may open as many files."""

OTHER_FILES = 128
"""Open files that are left to the ledger and to calls of GitHub and RunPod."""

MOST_FILES = 65_536
"""Open files that the process asks for."""

WARN_EVERY = 60
"""s between two warnings of one kind."""

log = structlog.get_logger()


class Connection(HttpToolsProtocol):
    """A connection to a client, with limits."""

    deadline = math.inf  # s, of the loop's clock
    cut = False  # told to close
    _receiving = True  # a request has not arrived whole
    _progress = False  # the last bytes ended a head or were a body's
    _unparsed = 0  # bytes since then: of a head, a trailer or the line before a chunk
    _refusal: tuple[int, str] | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin; at the limit, in place of connections that wait."""
        super().connection_made(transport)
        self.deadline = self.loop.time() + RECEIVE
        if len(self.connections) > most_connections():
            _make_room(self.connections)

    def data_received(self, data: bytes) -> None:
        """Parse; refuse a head or a trailer that does not end."""
        if not self._receiving:
            self._begin()
        self._progress = False
        super().data_received(data)
        self._unparsed = 0 if self._progress else self._unparsed + len(data)
        if self._unparsed > LARGEST_HEAD:
            self.send_400_response("the line and headers of the request are too long", 431)

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self._begin()

    def on_headers_complete(self) -> None:
        """Pass a request on, unless its head is too long or too many came before it."""
        self._progress = True
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > LARGEST_HEAD:
            self._refuse(431, "the line and headers of the request are too long")
        if len(self.pipeline) >= PIPELINED:
            self._refuse(429, "too many requests before their answers were read")
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of a body. After an early answer it is forgotten, and the connection can be used again."""
        self._progress = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request: now the answer is due."""
        self._receiving = False
        self.deadline = self.loop.time() + (ANSWER if self.answers else KEEP_ALIVE + LINGER)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """End an answer: now the next request may come."""
        super().on_response_complete()
        if not self._receiving and not self.answers:
            self.deadline = self.loop.time() + KEEP_ALIVE + LINGER

    @property
    def answers(self) -> bool:
        """Whether an answer is due."""
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def waits(self) -> bool:
        """Whether it is for the client to send something."""
        return self._receiving or not self.answers

    def expire(self) -> None:
        """Close it: its time is up."""
        if self.cut or not self.waits:
            self.transport.abort()
            return
        self.deadline = self.loop.time() + LINGER
        if self.answers or self._unparsed:
            self.send_400_response(f"the request did not arrive within {RECEIVE} s", 408)
        self.cut = True
        self.transport.close()

    def send_400_response(self, msg: str, status: int = 400) -> None:
        """Refuse a request, and close."""
        status, msg = self._refusal or (status, msg)
        if self.cut:
            return
        self.cut = True
        if not (self.answers and self.cycle.response_started):
            head = f"content-type: text/plain; charset=utf-8\r\ncontent-length: {len(msg)}\r\nconnection: close\r\n\r\n"
            self.transport.write(STATUS_LINE[status] + head.encode() + msg.encode())
        self.transport.close()

    def _begin(self) -> None:
        self._receiving = True
        self.deadline = self.loop.time() + RECEIVE

    def _refuse(self, status: int, why: str) -> None:
        """End parsing, within a callback of the parser: what it raises becomes `send_400_response`."""
        self._refusal = status, why
        raise ValueError(why)


def most_connections() -> int:
    """How many connections may be open, within what the process may open."""
    allowed = _allowed_files()
    return max(1, min(MOST_CONNECTIONS, allowed - OTHER_FILES))


def _allowed_files() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_FILES if soft == resource.RLIM_INFINITY else soft


def raise_file_limit() -> None:
    """Open as many files as the system lets the process: systemd and shells give 1,024 where it may have more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _make_room(connections: "set[Any]") -> None:
    """Cut the tenth of all connections that have waited longest, so that the next ones need no search."""
    waiting = sorted((each for each in connections if each.waits), key=lambda each: each.deadline)
    for each in waiting[: max(1, len(connections) // 10)]:
        each.transport.abort()
        connections.discard(each)
    _warn("connections at their limit", limit=most_connections(), effect="the ones that wait longest are closed")


_warned_at: dict[str, float] = {}


def _warn(what: str, **how: object) -> None:
    """Log a warning, at most one of a kind every WARN_EVERY seconds."""
    now = time.monotonic()
    if now - _warned_at.get(what, -math.inf) >= WARN_EVERY:
        _warned_at[what] = now
        log.warning(what, **how)


class Server(uvicorn.Server):
    """uvicorn's server with deadlines. It leaves signals to its caller, who has a pass to end after the last answer."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield

    async def on_tick(self, counter: int) -> bool:
        """Check deadlines once a second, and open files every five."""
        if counter % 10 == 0:
            now = asyncio.get_running_loop().time()
            for each in [each for each in self.server_state.connections if each.deadline < now]:  # type: ignore[union-attr]
                each.expire()  # type: ignore[union-attr]
        if counter % 50 == 0:
            _warn_of_open_files()
        return await super().on_tick(counter)


def _warn_of_open_files() -> None:
    """Log that the process is about to fail to accept connections: the event loop does not say that it has failed."""
    with contextlib.suppress(OSError):  # /proc is Linux's
        count, allowed = len(os.listdir("/proc/self/fd")), _allowed_files()  # noqa: PTH208 - names alone, and fast
        if count > 0.9 * allowed:
            _warn("open files near their limit", open=count, limit=allowed, fix="raise LimitNOFILE or ulimit -n")

"""A program that attacks the service, or sends valid deliveries until its stdin is closed.

It reads a specification from a line of stdin and writes the counted answers to stdout, both as JSON.
"""

import asyncio
import contextlib
import hashlib
import hmac
import itertools
import json
import os
import random
import resource
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import uvloop

from tests.e2e.mutated_deliveries import mutated

ANSWER = 30.0
"""s to wait for an answer."""

PAUSE = 0.05
"""s between two valid deliveries."""


@dataclass(kw_only=True)
class Target:
    """The service, and what a valid delivery to it needs.

    Args:
        host: where it listens.
        port: where it listens.
        secret: the webhook secret.
        payload: the body of a `workflow_job` event.
        numbers: make each delivery's GUID unique.
    """

    host: str
    port: int
    secret: str
    payload: str
    numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self.host, self.port)

    def delivery(self) -> bytes:
        """A valid delivery with a GUID of its own."""
        return self.signed(self.payload.encode(), guid=f"valid-{next(self.numbers)}")

    def signed(self, body: bytes, **headers: str) -> bytes:
        signature = hmac.digest(self.secret.encode(), body, hashlib.sha256).hex()
        given = {"event": "workflow_job", "type": "application/json", "signature": f"sha256={signature}"} | headers
        head = (
            f"POST /webhook HTTP/1.1\r\nHost: bridge\r\nContent-Type: {given['type']}\r\n"
            f"Content-Length: {len(body)}\r\nX-GitHub-Event: {given['event']}\r\n"
            f"X-GitHub-Delivery: {given['guid']}\r\nX-Hub-Signature-256: {given['signature']}\r\n\r\n"
        )
        return head.encode("latin-1", errors="replace") + body


async def status(reader: asyncio.StreamReader) -> int:
    """Read an answer; returns its status, or 0 if the connection was closed instead."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        await reader.readexactly(length)
        return int(head.split(b" ", 2)[1])
    except (asyncio.IncompleteReadError, ConnectionError):
        return 0


@contextlib.asynccontextmanager
async def closing(writer: asyncio.StreamWriter) -> AsyncIterator[None]:
    """Close a connection after the block, even if the other side has closed it."""
    try:
        yield
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def valid(target: Target, given: dict[str, Any]) -> dict[str, Any]:
    """Send valid deliveries, each on a connection of its own, until stdin is closed."""
    closed = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    answers: Counter[str] = Counter()
    seconds = []
    while not closed.done():
        began = time.perf_counter()
        answers[str(await _delivered(target))] += 1
        seconds.append(time.perf_counter() - began)
        await asyncio.sleep(PAUSE)
    return {"answers": answers, "slowest": max(seconds)}


async def _delivered(target: Target) -> int:
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(ANSWER):
            reader, writer = await target.connect()
            async with closing(writer):
                writer.write(target.delivery())
                return await status(reader)
    return 0


async def _sent_without_end(target: Target, start: bytes, part: bytes, size: int) -> int:
    """Send `start` and then `size` bytes in parts; returns the status of the answer, 0 for none."""
    reader, writer = await target.connect()
    async with closing(writer):
        with contextlib.suppress(ConnectionError):
            writer.write(start)
            for _ in range(size // len(part)):
                writer.write(part)
                await writer.drain()
        return await status(reader)


async def _repeated(target: Target, given: dict[str, Any], start: bytes) -> Counter[int]:
    """Do that on several connections, again and again for some seconds."""
    found: Counter[int] = Counter()
    until = time.monotonic() + given["seconds"]

    async def one() -> None:
        while time.monotonic() < until:
            found[await _sent_without_end(target, start, b"a" * 4096, 64 * 2**20)] += 1

    await asyncio.gather(*(one() for _ in range(given["times"])))
    return found


async def endless_header(target: Target, given: dict[str, Any]) -> Counter[int]:
    """A header whose value does not end."""
    return await _repeated(target, given, b"POST /webhook HTTP/1.1\r\nHost: x\r\nA: ")


async def endless_url(target: Target, given: dict[str, Any]) -> Counter[int]:
    """A URL that does not end."""
    return await _repeated(target, given, b"POST /")


async def endless_trailer(target: Target, given: dict[str, Any]) -> Counter[int]:
    """A chunked body with a trailer that does not end."""
    start = target.signed(b"", guid="g").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    return await _repeated(target, given, start + b"0\r\nA: ")


async def endless_chunks(target: Target, given: dict[str, Any]) -> Counter[int]:
    """A chunked body that does not end."""
    start = target.signed(b"", guid="g").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    part = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    return Counter(
        await asyncio.gather(*(_sent_without_end(target, start, part, 27 * 2**20) for _ in range(given["times"])))
    )


async def unfinished_bodies(target: Target, given: dict[str, Any]) -> Counter[int]:
    """Bodies of 25 MB that lack their last byte."""
    size = 25 * 2**20
    start = target.signed(b"", guid="g").replace(b"Content-Length: 0", f"Content-Length: {size}".encode())
    pours = (_sent_without_end(target, start, b"x" * 65535, size - 65536) for _ in range(given["times"]))
    return Counter(await asyncio.gather(*pours))


async def pipelined(target: Target, given: dict[str, Any]) -> Counter[int]:
    """Pipelined requests for the largest page; the answers are not read."""
    pours = (
        _sent_without_end(target, b"", b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 500, 2**20)
        for _ in range(given["times"])
    )
    return Counter(await asyncio.gather(*pours))


async def idle_connections(target: Target, given: dict[str, Any]) -> Counter[int]:
    """Connections that send nothing, one byte or empty lines. Counts -1: refused, 0: closed in time, 1: open."""
    found: Counter[int] = Counter()
    made = []
    for number in range(given["times"]):
        try:
            made.append((number, *await target.connect()))
        except OSError:
            found[-1] += 1
    until = time.monotonic() + given["seconds"]
    for beat in itertools.count():
        for number, _, writer in made:
            if not writer.transport.is_closing():
                writer.write((b"", b"\r\n", b"P" if not beat else b"")[number % 3])
        if time.monotonic() > until:
            break
        await asyncio.sleep(0.5)
    for _, reader, writer in made:
        found[int(await _is_open(reader))] += 1
        writer.close()
    return found


async def _is_open(reader: asyncio.StreamReader) -> bool:
    with contextlib.suppress(ConnectionError):
        try:
            await asyncio.wait_for(reader.read(), 0.1)
        except TimeoutError:
            return True
    return False


async def mutations(target: Target, given: dict[str, Any]) -> Counter[int]:
    """Malformed deliveries, signed and unsigned."""
    numbers = iter(range(given["times"]))
    found: Counter[int] = Counter()
    await asyncio.gather(*(_mutations(target, given["seed"], numbers, found) for _ in range(8)))
    return found


async def _mutations(target: Target, seed: int, numbers: Iterator[int], found: Counter[int]) -> None:
    connection = None
    for number in numbers:
        chance = random.Random(f"{seed}-{number}")
        request = mutated(chance, target.payload, target.signed)
        reader, writer = connection = connection or await target.connect()
        try:
            async with asyncio.timeout(ANSWER):
                writer.write(request)
                got = await status(reader)
        except (TimeoutError, ConnectionError):
            got = 0
        found[got] += 1
        if got in (0, 400, 408, 431):  # the connection was closed, or the service waits for more
            writer.close()
            connection = None
    if connection:
        connection[1].close()


async def main(given: dict[str, Any]) -> dict[str, Any]:
    """Run the attack that `given` names."""
    address = urlsplit(given["url"])
    target = Target(
        host=str(address.hostname), port=int(address.port or 0), secret=given["secret"], payload=given["payload"]
    )
    if given["attack"] == "valid":
        return await valid(target, given)
    os.nice(19)  # an attacker's machine takes no processor time from the service
    return {"answers": await ATTACKS[given["attack"]](target, given)}


ATTACKS: dict[str, Callable[[Target, dict[str, Any]], Awaitable[Counter[int]]]] = {
    each.__name__: each
    for each in (
        endless_header, endless_url, endless_trailer, endless_chunks, unfinished_bodies, pipelined, idle_connections,
        mutations,
    )
}  # fmt: skip

if __name__ == "__main__":
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        json.dump(runner.run(main(json.loads(sys.stdin.readline()))), sys.stdout)

"""A program that sends signed deliveries with little processor time: it shares the machine with the service.

It reads a specification from stdin and writes seconds to stdout, both as JSON.
"""

import asyncio
import hashlib
import hmac
import json
import sys
import time
import uuid
from collections.abc import Iterator
from itertools import count
from typing import Any
from urllib.parse import urlsplit

import uvloop

JOB_ID = 987_654_321
"""Placeholder in the template for the id that each delivery gets."""


class Connection(asyncio.Protocol):
    """Sends a request, waits for its answer and sends the next.

    Args:
        requests: shared by all connections.
        seconds: where each answer's time is added.
    """

    def __init__(self, requests: Iterator[bytes], seconds: list[float]) -> None:
        self._requests = requests
        self._seconds = seconds
        self._received = b""
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("the server hung up"))

    def send(self) -> None:
        """Send the next request if there is one."""
        request = next(self._requests, None)
        if request is None:
            self.done.set_result(None)
            self._transport.close()
            return
        self._began = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, whole, body = self._received.partition(b"\r\n\r\n")
        if not whole or len(body) < int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]):
            return
        self._seconds.append(time.perf_counter() - self._began)
        if not head.startswith(b"HTTP/1.1 202 "):
            self.done.set_exception(RuntimeError(self._received.decode()))
            return
        self._received = b""
        self.send()


async def _round(url: str, requests: list[bytes], connections: int) -> tuple[float, list[float]]:
    """Send all requests; returns the seconds for all, and for each."""
    loop, target, shared, seconds = asyncio.get_running_loop(), urlsplit(url), iter(requests), list[float]()
    made = [
        (
            await loop.create_connection(
                lambda: Connection(shared, seconds), str(target.hostname), int(target.port or 80)
            )
        )[1]
        for _ in range(connections)
    ]
    began = time.perf_counter()
    for each in made:
        each.send()
    await asyncio.gather(*(each.done for each in made))
    return time.perf_counter() - began, seconds


def _request(template: str, secret: str, number: int) -> bytes:
    """A delivery with an id of its own, as bytes."""
    body = template.replace(str(JOB_ID), str(JOB_ID + number)).encode()
    signature = hmac.digest(secret.encode(), body, hashlib.sha256).hex()
    head = (
        f"POST /webhook HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nUser-Agent: GitHub-Hookshot/bench\r\nX-GitHub-Event: workflow_job\r\n"
        f"X-GitHub-Delivery: {uuid.uuid4()}\r\nX-Hub-Signature-256: sha256={signature}\r\n\r\n"
    )
    return head.encode() + body


async def measured(given: dict[str, Any]) -> dict[str, Any]:
    """Send rounds to each URL in turn, so that noise affects all alike. The first round of each does not count."""
    numbers = count(1)
    found: dict[str, Any] = {name: {"seconds": 0.0, "each": []} for name in given["urls"]}
    for number in range(1 + given["rounds"]):
        for name, url in given["urls"].items():
            requests = [_request(given["template"], given["secret"], next(numbers)) for _ in range(given["requests"])]
            took, each = await _round(url, requests, given["connections"])
            if number:
                found[name]["seconds"] += took
                found[name]["each"] += each
    return found


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        json.dump(runner.run(measured(json.load(sys.stdin))), sys.stdout)

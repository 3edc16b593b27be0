"""Bodies that arrive: how much memory they may use together, and which is dropped."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from starlette.requests import ClientDisconnect, Request

from bridge.service.bodies import LARGEST, SMALL, Bodies, Dropped, TooLarge

Part = dict[str, Any]


class Sender:
    """A client that sends parts of a body when the test says so."""

    def __init__(self, length: int | None = None) -> None:
        self._parts: asyncio.Queue[Part] = asyncio.Queue()
        headers = [] if length is None else [(b"content-length", str(length).encode())]
        self.request = Request({"type": "http", "method": "POST", "headers": headers}, self._parts.get)

    async def send(self, size: int, *, last: bool = False) -> None:
        await self._parts.put({"type": "http.request", "body": b"x" * size, "more_body": not last})
        for _ in range(5):
            await asyncio.sleep(0)

    async def leave(self) -> None:
        await self._parts.put({"type": "http.disconnect"})


def driven(drive: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(drive())


def test_a_body_is_read_completely() -> None:
    async def drive() -> None:
        sender = Sender()
        reading = asyncio.create_task(Bodies().read(sender.request))
        await sender.send(3)
        await sender.send(4, last=True)
        assert await reading == b"x" * 7

    driven(drive)


@pytest.mark.parametrize("length", [LARGEST + 1, 10**18])
def test_a_body_whose_declared_length_is_too_large_is_not_read(length: int) -> None:
    async def drive() -> None:
        with pytest.raises(TooLarge):
            await asyncio.wait_for(Bodies().read(Sender(length).request), 1)

    driven(drive)


def test_the_large_body_that_has_been_arriving_longest_is_dropped() -> None:
    async def drive() -> None:
        bodies = Bodies(memory=10 * SMALL)
        small, first, second, honest = Sender(), Sender(), Sender(), Sender()
        tasks = [asyncio.create_task(bodies.read(each.request)) for each in (small, first, second, honest)]
        await small.send(SMALL)
        await first.send(4 * SMALL)
        await second.send(4 * SMALL)
        await honest.send(4 * SMALL, last=True)
        assert await tasks[3] == b"x" * 4 * SMALL
        await first.send(1, last=True)
        with pytest.raises(Dropped):
            await tasks[1]
        await second.send(1, last=True)
        await small.send(0, last=True)
        assert [len(await tasks[2]), len(await tasks[0])] == [4 * SMALL + 1, SMALL]

    driven(drive)


def test_an_incomplete_body_uses_no_memory_after_its_client_has_left() -> None:
    async def drive() -> None:
        bodies = Bodies(memory=4 * SMALL)
        for _ in range(5):
            sender = Sender()
            reading = asyncio.create_task(bodies.read(sender.request))
            await sender.send(3 * SMALL)
            await sender.leave()
            with pytest.raises(ClientDisconnect):
                await reading
        sender = Sender()
        reading = asyncio.create_task(bodies.read(sender.request))
        await sender.send(4 * SMALL, last=True)
        assert len(await reading) == 4 * SMALL

    driven(drive)

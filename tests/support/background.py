"""What runs beside a test: asynchronous services in a thread of their own, and the wait for what they bring about."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def served(service: Callable[[], AbstractAsyncContextManager[T]]) -> Iterator[T]:
    """Keep what `service` makes open in a thread of its own until the block ends."""
    loop = asyncio.new_event_loop()
    ready, over = threading.Event(), asyncio.Event()
    made: list[T] = []
    failed: list[BaseException] = []

    async def serve() -> None:
        try:
            async with service() as opened:
                made.append(opened)
                ready.set()
                await over.wait()
        except BaseException as error:
            failed.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    ready.wait(30)
    try:
        assert made, f"the service did not start: {failed}"
        yield made[0]
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()
    assert not failed, f"the service did not end well: {failed}"


def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait for what must come to pass."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)

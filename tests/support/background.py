"""Asynchronous services in a thread beside a test, and waiting for conditions."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def served(service: Callable[[], AbstractAsyncContextManager[T]]) -> Iterator[T]:
    """Run an asynchronous service in a thread until the block ends.

    Args:
        service: makes the service; the block gets what its context manager returns.
    """
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
    assert not failed, f"the service failed: {failed}"


def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until a condition is true; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"the condition was not true within {seconds:g} s"
        time.sleep(0.02)


def throughout(condition: Callable[[], object], seconds: float) -> None:
    """Check that a condition stays true for `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert condition(), f"the condition became false within {seconds:g} s"
        time.sleep(0.02)


async def until_async(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until the condition holds, and let other tasks run meanwhile."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - a condition, not an event
            await asyncio.sleep(0.005)

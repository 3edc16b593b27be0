"""Background work of an emulator: started from any thread, run in the emulator's loop, cancelled when it ends."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

Work = Callable[[], Coroutine[Any, Any, None]]


class Background:
    """An asynchronous context manager. Work that is started outside of it never runs."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._started: dict[object, asyncio.Task[None] | None] = {}
        self._failed: list[BaseException] = []

    @property
    def pending(self) -> int:
        """Number of pieces of work that are not done."""
        return len(self._started)

    def start(self, work: Work) -> None:
        """Run `work`. Work begins in the order in which it was started."""
        if self._loop is None:
            return
        ticket = object()
        self._started[ticket] = None
        self._loop.call_soon_threadsafe(self._begin, ticket, work)

    def _begin(self, ticket: object, work: Work) -> None:
        if self._loop is not None:
            task = self._loop.create_task(work())
            task.add_done_callback(lambda done: self._end(ticket, done))
            self._started[ticket] = task

    def _end(self, ticket: object, done: "asyncio.Task[None]") -> None:
        del self._started[ticket]
        if not done.cancelled() and (error := done.exception()):
            self._failed.append(error)

    async def __aenter__(self) -> "Background":
        self._loop = asyncio.get_running_loop()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._loop = None
        tasks = [task for task in self._started.values() if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._failed:
            raise self._failed[0]

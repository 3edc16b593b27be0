"""Work that an emulator does beside answering: started from any thread, done on its own loop, over when it ends."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

Work = Callable[[], Coroutine[Any, Any, None]]


class Background:
    """An asynchronous context manager; what is started outside of it is never done."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._begun: dict[object, asyncio.Task[None] | None] = {}
        self._failed: list[BaseException] = []

    @property
    def pending(self) -> int:
        """Pieces of work that are not done."""
        return len(self._begun)

    def start(self, work: Work) -> None:
        """Do `work` after what was started before has begun."""
        if self._loop is None:
            return
        ticket = object()
        self._begun[ticket] = None
        self._loop.call_soon_threadsafe(self._begin, ticket, work)

    def _begin(self, ticket: object, work: Work) -> None:
        if self._loop is not None:
            task = self._loop.create_task(work())
            task.add_done_callback(lambda done: self._end(ticket, done))
            self._begun[ticket] = task

    def _end(self, ticket: object, done: "asyncio.Task[None]") -> None:
        del self._begun[ticket]
        if not done.cancelled() and (error := done.exception()):
            self._failed.append(error)

    async def __aenter__(self) -> "Background":
        self._loop = asyncio.get_running_loop()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._loop = None
        tasks = [task for task in self._begun.values() if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._failed:
            raise self._failed[0]

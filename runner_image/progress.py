"""Sends the worker's progress to RunPod, which shows it in `/status`. Nothing is sent after the answer."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from runner_image.limits import LIMITS

Send = Callable[[Mapping[str, Any]], Awaitable[None]]


class Reporter:
    """Sends one message at a time, always the newest.

    The SDK's `progress_update` sends each message from a thread of its own: in any order, and perhaps after the answer.

    Args:
        transmit: sends one message.
        limit: s that `close` waits for a message that is being sent.
    """

    def __init__(self, transmit: Send, limit: float = LIMITS.progress) -> None:
        self._transmit = transmit
        self._limit = limit
        self._next: Mapping[str, Any] | None = None
        self._sending: asyncio.Task[None] | None = None
        self._closed = False

    def send(self, message: Mapping[str, Any]) -> None:
        """Send `message`. It replaces a message that still waits."""
        if self._closed:
            return
        self._next = message
        if self._sending is None or self._sending.done():
            self._sending = asyncio.ensure_future(self._run())

    async def close(self) -> None:
        """Send nothing more; return when no message is being sent."""
        self._closed, self._next = True, None
        if self._sending:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._sending, self._limit)

    async def _run(self) -> None:
        while (message := self._next) is not None:
            self._next = None
            with contextlib.suppress(Exception):  # progress is optional; the job must go on
                await self._transmit(message)

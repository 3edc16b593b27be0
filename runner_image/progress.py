"""Tells RunPod where the worker stands, so that `/status` shows it; never after the answer."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

LIMIT = 5.0
"""s that an answer waits for a message under way."""

Send = Callable[[Mapping[str, Any]], Awaitable[None]]


class Reporter:
    """Sends one message at a time, the newest. The SDK's `progress_update` sends each from a thread of its own,
    in no order and perhaps after the answer.

    Args:
        send: sends one message.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._next: Mapping[str, Any] | None = None
        self._sending: asyncio.Task[None] | None = None
        self._closed = False

    def tell(self, message: Mapping[str, Any]) -> None:
        """Send `message`; one that has not been sent yet is left out for it."""
        if self._closed:
            return
        self._next = message
        if self._sending is None or self._sending.done():
            self._sending = asyncio.ensure_future(self._run())

    async def close(self) -> None:
        """Send nothing from now on; return when nothing is under way."""
        self._closed, self._next = True, None
        if self._sending:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._sending, LIMIT)

    async def _run(self) -> None:
        while (message := self._next) is not None:
            self._next = None
            with contextlib.suppress(Exception):  # progress is told as far as it can be; the job matters
                await self._send(message)

"""Sends the body of `/status` to the `webhook` of a request when it ends. It is not signed.

https://docs.runpod.io/serverless/endpoints/send-requests#webhook-notifications
"""

import asyncio
import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from bridge.emulator.background import Background
from bridge.emulator.runpod.http import status_body
from bridge.emulator.runpod.state import Request, RunPodState

ATTEMPTS = 3
TIMEOUT = 10.0
"""s that the receiver has for its answer."""


class Callbacks:
    """Sends callbacks.

    Args:
        state: the model with the requests.

    Attributes:
        retry_after: s between two attempts.
        lose_next: number of callbacks to lose.
        sent: number of attempts that were answered.
    """

    def __init__(self, state: RunPodState) -> None:
        self.retry_after = 10.0
        self.lose_next = 0
        self.sent = 0
        self._state = state
        self._background = Background()

    @property
    def pending(self) -> int:
        """Number of callbacks that have not ended."""
        return self._background.pending

    @asynccontextmanager
    async def sending(self) -> AsyncIterator[None]:
        """Send callbacks until the block ends; unfinished ones are cancelled."""
        self._client = httpx.AsyncClient(timeout=TIMEOUT, trust_env=False)
        before, self._state.on_end = self._state.on_end, self._ended
        try:
            async with self._client, self._background:
                yield
        finally:
            self._state.on_end = before

    def _ended(self, request: Request) -> None:
        if not request.webhook:
            return
        if self.lose_next:
            self.lose_next -= 1
            return
        self._background.start(functools.partial(self._send, request.webhook, status_body(request)))

    async def _send(self, url: str, body: dict[str, Any]) -> None:
        for left in reversed(range(ATTEMPTS)):
            if await self._accepted(url, body) or not left:
                return
            await asyncio.sleep(self.retry_after)

    async def _accepted(self, url: str, body: dict[str, Any]) -> bool:
        try:
            answer = await self._client.post(url, json=body)
        except (httpx.HTTPError, httpx.InvalidURL):
            return False
        self.sent += 1
        return answer.status_code == 200

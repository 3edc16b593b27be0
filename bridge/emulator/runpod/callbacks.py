"""Calls back whoever asked for it when a request has ended: the body of `/status`, unsigned."""

import asyncio
import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from bridge.emulator.background import Background
from bridge.emulator.runpod.http import status_body
from bridge.emulator.runpod.state import Request, RunPodState

TRIES = 3
TIMEOUT = 10.0
"""s that the receiver has to answer."""


class Callbacks:
    """The `webhook` of requests: https://docs.runpod.io/serverless/endpoints/send-requests#webhook-notifications

    Args:
        state: the model, whose requests' ends it tells from now on.

    Attributes:
        retry_after: s between two tries.
        lose_next: how many ends nobody is told of.
        sent: tries that were answered.
    """

    def __init__(self, state: RunPodState) -> None:
        self.retry_after = 10.0
        self.lose_next = 0
        self.sent = 0
        self._state = state
        self._background = Background()

    @property
    def pending(self) -> int:
        """Callbacks that were neither taken nor given up."""
        return self._background.pending

    @asynccontextmanager
    async def sending(self) -> AsyncIterator[None]:
        """Call back until the block ends; what is on its way then is given up."""
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
        self._background.start(functools.partial(self._tell, request.webhook, status_body(request)))

    async def _tell(self, url: str, body: dict[str, Any]) -> None:
        for left in reversed(range(TRIES)):
            if await self._taken(url, body) or not left:
                return
            await asyncio.sleep(self.retry_after)

    async def _taken(self, url: str, body: dict[str, Any]) -> bool:
        try:
            answer = await self._client.post(url, json=body)
        except (httpx.HTTPError, httpx.InvalidURL):
            return False
        self.sent += 1
        return answer.status_code == 200

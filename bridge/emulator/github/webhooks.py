"""Sends an App's webhooks: each event once and in order, unless a test asks for something else.

https://docs.github.com/webhooks/using-webhooks/best-practices-for-using-webhooks
"""

import asyncio
import hashlib
import hmac
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx

from bridge.emulator.background import Background
from bridge.emulator.github.access import App
from bridge.emulator.github.deliveries import Answer, Delivery, DeliveryLog
from bridge.emulator.github.events import HOOK_ID, Payloads
from bridge.emulator.github.state import GitHubState, Job, Repository

TIMEOUT = 10.0
"""s that the receiver has for its answer."""

Mishap = Callable[[Delivery], Sequence[float]]
"""Returns the delay in s of each copy of a delivery: no copy loses the delivery, two duplicate it."""


def no_mishap(_delivery: Delivery) -> Sequence[float]:
    """Send it once, without delay."""
    return (0.0,)


class Webhooks:
    """The App's webhook. Its methods may be called from any thread. Without a URL nothing is sent.

    Args:
        state: the model whose events are sent.
        app: the App; its `webhook_url` is read for each event.

    Attributes:
        mishap: called once for each delivery, in order.
        log: of the deliveries.
        slots: how many deliveries may be on their way. By default each waits for the answer to the one before it.
    """

    def __init__(self, state: GitHubState, app: App) -> None:
        self.payloads = Payloads(state, app)
        self.log = DeliveryLog(state.clock)
        self.mishap: Mishap = no_mishap
        self._state = state
        self._app = app
        self._background = Background()
        self.slots = asyncio.Semaphore(1)

    @property
    def pending(self) -> int:
        """Number of deliveries that have not ended."""
        return self._background.pending

    def workflow_job(self, action: str, job: Job) -> None:
        """Send an event with the current state of a job, even if the action did not happen."""
        repository = self._state.repositories[job.repository]
        if self._app.webhook_url and repository.owner == self._app.owner:
            payload = self.payloads.workflow_job(action, job)
            self.send("workflow_job", payload, repository_id=repository.id, subject=job.id)

    def ping(self) -> None:
        """Send `ping`."""
        self.send("ping", self.payloads.ping())

    def installation(self, action: str = "created") -> None:
        """Send an event of the installation."""
        self.send("installation", self.payloads.installation(action))

    def installation_repositories(
        self, action: str, *, added: Sequence[Repository] = (), removed: Sequence[Repository] = ()
    ) -> None:
        """Send an event of repositories that were added or removed."""
        self.send("installation_repositories", self.payloads.installation_repositories(action, added, removed))

    def send(
        self, event: str, payload: dict[str, Any], *, repository_id: int | None = None, subject: int | None = None
    ) -> None:
        """Send any event."""
        if not self._app.webhook_url:
            return
        delivery = Delivery(
            guid=str(uuid.uuid4()),
            event=event,
            action=payload.get("action"),
            body=json.dumps(payload, separators=(",", ":")).encode(),
            installation_id=self._app.installation_id,
            repository_id=repository_id,
            subject=subject,
            url=self._app.webhook_url,
        )
        self._background.start(lambda: self._deliver(delivery))

    @asynccontextmanager
    async def sending(self, api: str) -> AsyncIterator[None]:
        """Send until the block ends; unfinished deliveries are cancelled.

        Args:
            api: the base URL of GitHub's API.
        """
        self.payloads.api = api
        # GitHub does not use this process's environment, such as its proxy.
        self._client = httpx.AsyncClient(timeout=TIMEOUT, trust_env=False)
        before, self._state.on_event = self._state.on_event, self.workflow_job
        try:
            async with self._client, self._background:
                yield
        finally:
            self._state.on_event = before

    async def _deliver(self, delivery: Delivery) -> None:
        """Send all copies of a delivery. A delayed copy does not delay others."""
        delays = list(self.mishap(delivery))
        if not delays:
            self.log.add(delivery, self._headers(delivery), Answer.failed("failed to connect", 502), copy=False)
        await asyncio.gather(*(self._copy(delivery, delay, number > 0) for number, delay in enumerate(delays)))

    async def _copy(self, delivery: Delivery, delay: float, copy: bool) -> None:
        if delay:
            await asyncio.sleep(delay)
        async with self.slots:
            headers, began = self._headers(delivery), time.monotonic()
            answer = await self._post(delivery, headers)
            self.log.add(delivery, headers, answer, duration=time.monotonic() - began, copy=copy)

    async def _post(self, delivery: Delivery, headers: dict[str, str]) -> Answer:
        try:
            answer = await self._client.post(self._app.webhook_url or "", content=delivery.body, headers=headers)
        except httpx.TimeoutException:
            return Answer.failed("timed out", 504)
        except (httpx.HTTPError, httpx.InvalidURL):
            return Answer.failed("failed to connect", 502)
        status = "OK" if answer.is_success else f"Invalid HTTP Response: {answer.status_code}"
        return Answer(status=status, status_code=answer.status_code, headers=dict(answer.headers), payload=answer.text)

    def _headers(self, delivery: Delivery) -> dict[str, str]:
        digest = hmac.new(self._app.webhook_secret.encode(), delivery.body, hashlib.sha256).hexdigest()
        return {
            "Accept": "*/*",
            "Content-Type": "application/json",
            "User-Agent": "GitHub-Hookshot/emulated",
            "X-GitHub-Delivery": delivery.guid,
            "X-GitHub-Event": delivery.event,
            "X-GitHub-Hook-ID": str(HOOK_ID),
            "X-GitHub-Hook-Installation-Target-ID": str(self._app.app_id),
            "X-GitHub-Hook-Installation-Target-Type": "integration",
            "X-Hub-Signature-256": f"sha256={digest}",
        }

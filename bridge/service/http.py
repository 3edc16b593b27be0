"""HTTP: GitHub's deliveries and RunPod's callbacks come in, health and metrics go out.

Nothing is decided here: a delivery is written down and the loop is woken.
"""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bridge.core import callback
from bridge.core.model import LONGEST_NAME, Delivery, WorkflowJob
from bridge.core.scope import Scope
from bridge.errors import BridgeError, Malformed
from bridge.service.bodies import LARGEST, Bodies, Dropped, TooLarge
from bridge.telemetry import mask

UNSIGNED = "refused: the signature in X-Hub-Signature-256 is missing or wrong"


class Intake(Protocol):
    """Where deliveries go."""

    async def take(self, guid: str, job: WorkflowJob | None) -> None: ...


class Loop(Protocol):
    """What is woken, and asked how it does."""

    def request_ended(self, submission: str) -> None: ...
    def resync_now(self) -> None: ...
    async def ready(self) -> Mapping[str, str | None]: ...


class Webhook(Protocol):
    """Reads GitHub's deliveries; see `bridge.github.webhook`."""

    @property
    def events(self) -> Collection[str]: ...
    def may_be_signature(self, signature: str) -> bool: ...
    def is_signed(self, body: bytes, signature: str) -> bool: ...
    def read(self, event: str, body: bytes, content_type: str) -> Delivery: ...


class Recorder(Protocol):
    """What counts."""

    def delivery(self, event: str, outcome: str) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Dependencies:
    """What the server stands before.

    Args:
        scope: what the bridge serves.
        is_served: whether a job may be for a runner of ours.
        webhook: reads deliveries.
        intake: takes deliveries.
        loop: is woken.
        recorder: counts.
        metrics: the page of metrics.
    """

    scope: Scope
    is_served: Callable[[WorkflowJob], bool]
    webhook: Webhook
    intake: Intake
    loop: Loop
    recorder: Recorder
    metrics: Callable[[], bytes]


def application(dependencies: Dependencies) -> Starlette:
    """The ASGI application."""
    server = _Server(dependencies)
    return Starlette(
        routes=[
            Route("/webhook", server.webhook, methods=["POST"]),
            Route("/runpod/{submission}/{signature}", server.runpod, methods=["POST"]),
            Route("/healthz", server.healthz, methods=["GET"]),
            Route("/readyz", server.readyz, methods=["GET"]),
            Route("/metrics", server.metrics, methods=["GET"]),
        ]
    )


class _Server:
    def __init__(self, dependencies: Dependencies) -> None:
        self._dependencies = dependencies
        self._bodies = Bodies()

    async def webhook(self, request: Request) -> Response:
        event = request.headers.get("x-github-event", "")
        status, outcome = await self._received(request, event)
        known = event if event in self._dependencies.webhook.events else "other"
        self._dependencies.recorder.delivery(known, outcome.partition(":")[0])
        return JSONResponse({"outcome": outcome}, status)

    async def _received(self, request: Request, event: str) -> tuple[int, str]:
        """The status that GitHub's log shows for a delivery, and why."""
        signature = request.headers.get("x-hub-signature-256", "")
        if not self._dependencies.webhook.may_be_signature(signature):
            return 401, UNSIGNED  # unread
        try:
            body = await self._bodies.read(request)
        except TooLarge:
            return 413, f"refused: over {LARGEST} bytes"
        except Dropped:
            return 429, "refused: too many large deliveries at a time; send it again"
        except ClientDisconnect:
            return 400, "refused: it broke off"
        if not self._dependencies.webhook.is_signed(body, signature):
            return 401, UNSIGNED
        guid = request.headers.get("x-github-delivery", "")
        if not guid or not event:
            return 400, "refused: X-GitHub-Delivery or X-GitHub-Event is missing"
        if len(guid) > LONGEST_NAME:
            return 400, "refused: X-GitHub-Delivery is too long"
        try:
            delivery = self._dependencies.webhook.read(event, body, request.headers.get("content-type", ""))
        except Malformed as error:
            return 400, f"refused: {error}"
        return await self._taken(guid, delivery)

    async def _taken(self, guid: str, delivery: Delivery) -> tuple[int, str]:
        if delivery.event not in self._dependencies.webhook.events:
            return 202, f"ignored: the event {delivery.event[:64]} is not one the bridge needs"
        if delivery.owner and delivery.owner.lower() != self._dependencies.scope.owner.lower():
            return 202, f"ignored: {delivery.owner} is not the owner that this bridge serves"
        if delivery.job:
            return await self._kept(guid, delivery.job)
        if delivery.event != "ping":
            self._dependencies.loop.resync_now()  # there may be other repositories
        return 202, "taken"

    async def _kept(self, guid: str, job: WorkflowJob) -> tuple[int, str]:
        served = self._dependencies.is_served(job)
        try:
            await self._dependencies.intake.take(guid, job if served else None)
        except BridgeError as error:
            return 503, f"not kept: {mask(str(error))}"
        return 202, "taken" if served else "ignored: no route takes this job"

    async def runpod(self, request: Request) -> Response:
        """A request has ended; which, the path says, and its body is not believed but looked up."""
        submission, signature = request.path_params["submission"], request.path_params["signature"]
        key = self._dependencies.scope.callback_key
        if not key or not callback.is_ours(submission, signature, key):
            self._dependencies.recorder.delivery("runpod", "refused")
            return JSONResponse({"outcome": "refused: not an address that this bridge gave"}, 401)
        self._dependencies.recorder.delivery("runpod", "taken")
        self._dependencies.loop.request_ended(submission)
        return JSONResponse({"outcome": "taken"})

    async def healthz(self, _request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(self, _request: Request) -> Response:
        checks = await self._dependencies.loop.ready()
        troubles = {name: why for name, why in checks.items() if why}
        shown: dict[str, Any] = {"status": "not ready" if troubles else "ok"}
        return Response(
            json.dumps(mask({**shown, "checks": {name: why or "ok" for name, why in checks.items()}})),
            503 if troubles else 200,
            media_type="application/json",
        )

    async def metrics(self, _request: Request) -> Response:
        return Response(self._dependencies.metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")

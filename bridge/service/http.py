"""The HTTP application: GitHub's deliveries and RunPod's callbacks, health and metrics.

It decides nothing: it stores a delivery and wakes the loop.
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from bridge.core import callback
from bridge.core.model import LONGEST_NAME, Delivery, WorkflowJob
from bridge.core.scope import Scope
from bridge.errors import BridgeError, Malformed
from bridge.service.bodies import LARGEST, Bodies, Dropped, TooLarge
from bridge.service.outcomes import DeliveryOutcome
from bridge.telemetry import mask


class _Answer(NamedTuple):
    """What GitHub's log of deliveries shows: the HTTP status, what became of the delivery, and why."""

    status: int
    outcome: DeliveryOutcome
    why: str = ""

    @property
    def response(self) -> JSONResponse:
        shown = f"{self.outcome}: {self.why}" if self.why else self.outcome
        return JSONResponse({"outcome": shown}, self.status)


def _refused(status: int, why: str) -> _Answer:
    return _Answer(status, DeliveryOutcome.REFUSED, why)


_UNSIGNED = _refused(401, "the signature in X-Hub-Signature-256 is missing or wrong")


class Intake(Protocol):
    """Stores deliveries."""

    async def take(self, guid: str, job: WorkflowJob | None) -> None: ...


class Loop(Protocol):
    """Runs passes; see `bridge.service.loop`."""

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
    """Records metrics."""

    def delivery(self, event: str, outcome: DeliveryOutcome) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Dependencies:
    """What the application uses.

    Args:
        scope: what the bridge serves.
        is_kept: whether the ledger keeps a job.
        webhook: reads deliveries.
        intake: stores deliveries.
        loop: runs passes.
        recorder: records metrics.
        metrics: returns the page of metrics.
        pages: further addresses, those of the dashboard.
    """

    scope: Scope
    is_kept: Callable[[WorkflowJob], bool]
    webhook: Webhook
    intake: Intake
    loop: Loop
    recorder: Recorder
    metrics: Callable[[], bytes]
    pages: Sequence[BaseRoute] = ()


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
            *dependencies.pages,
        ]
    )


class _Server:
    def __init__(self, dependencies: Dependencies) -> None:
        self._dependencies = dependencies
        self._bodies = Bodies()

    async def webhook(self, request: Request) -> Response:
        event = request.headers.get("x-github-event", "")
        answer = await self._received(request, event)
        known = event if event in self._dependencies.webhook.events else "other"
        self._dependencies.recorder.delivery(known, answer.outcome)
        return answer.response

    async def _received(self, request: Request, event: str) -> _Answer:
        signature = request.headers.get("x-hub-signature-256", "")
        if not self._dependencies.webhook.may_be_signature(signature):
            return _UNSIGNED  # the body is not read
        try:
            body = await self._bodies.read(request)
        except TooLarge:
            return _refused(413, f"the body is larger than {LARGEST} bytes")
        except Dropped:
            return _refused(429, "too many large deliveries at the same time; send it again")
        except ClientDisconnect:
            return _refused(400, "the connection was closed before the body was complete")
        if not self._dependencies.webhook.is_signed(body, signature):
            return _UNSIGNED
        guid = request.headers.get("x-github-delivery", "")
        if not guid or not event:
            return _refused(400, "the header X-GitHub-Delivery or X-GitHub-Event is missing")
        if len(guid) > LONGEST_NAME:
            return _refused(400, "the header X-GitHub-Delivery is too long")
        try:
            delivery = self._dependencies.webhook.read(event, body, request.headers.get("content-type", ""))
        except Malformed as error:
            return _refused(400, str(error))
        return await self._taken(guid, delivery)

    async def _taken(self, guid: str, delivery: Delivery) -> _Answer:
        if delivery.event not in self._dependencies.webhook.events:
            return _Answer(202, DeliveryOutcome.IGNORED, f"the bridge does not need the event {delivery.event[:64]}")
        if delivery.owner and delivery.owner.lower() != self._dependencies.scope.owner.lower():
            return _Answer(202, DeliveryOutcome.IGNORED, f"this bridge does not serve the owner {delivery.owner}")
        if delivery.job:
            return await self._kept(guid, delivery.job)
        if delivery.event != "ping":
            self._dependencies.loop.resync_now()  # there may be other repositories
        return _Answer(202, DeliveryOutcome.TAKEN)

    async def _kept(self, guid: str, job: WorkflowJob) -> _Answer:
        kept = self._dependencies.is_kept(job)
        try:
            await self._dependencies.intake.take(guid, job if kept else None)
        except BridgeError as error:
            return _Answer(503, DeliveryOutcome.NOT_KEPT, mask(str(error)))
        if not kept:
            return _Answer(202, DeliveryOutcome.IGNORED, "no route serves this job")
        return _Answer(202, DeliveryOutcome.TAKEN)

    async def runpod(self, request: Request) -> Response:
        """A request has ended. The signed path names it; the body is not trusted, the request is looked up instead."""
        submission, signature = request.path_params["submission"], request.path_params["signature"]
        key = self._dependencies.scope.callback_key
        if not key or not callback.is_ours(submission, signature, key):
            self._dependencies.recorder.delivery("runpod", DeliveryOutcome.REFUSED)
            return _refused(401, "this address was not made with this bridge's BRIDGE_CALLBACK_KEY").response
        self._dependencies.recorder.delivery("runpod", DeliveryOutcome.TAKEN)
        self._dependencies.loop.request_ended(submission)
        return _Answer(200, DeliveryOutcome.TAKEN).response

    async def healthz(self, _request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(self, _request: Request) -> Response:
        checks = await self._dependencies.loop.ready()
        ok = not any(checks.values())
        shown = {"status": "ok" if ok else "not ready", "checks": {name: why or "ok" for name, why in checks.items()}}
        # Escaped, unlike JSONResponse: a problem may quote text that is not valid Unicode.
        return Response(json.dumps(mask(shown)), 200 if ok else 503, media_type="application/json")

    async def metrics(self, _request: Request) -> Response:
        return Response(self._dependencies.metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")

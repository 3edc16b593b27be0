"""The broker: a runner's session, and the messages that it waits for."""

import asyncio
import json
import secrets
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bridge.emulator.github.runner_protocol.answers import broker_error, json_object, route
from bridge.emulator.github.runner_protocol.identity import Identity, guid
from bridge.emulator.github.state import GitHubState, Job, Runner

HOLD = 50.0
"""s after which a call without a message is answered: about GitHub's time."""

CHECK_INTERVAL = 0.05
"""s between two checks for a message."""

TELL_AGAIN = 2.0
"""s after which a message without an effect is sent once more, because the answer may have been lost."""

CANCEL_TIMEOUT = "00:05:00"


class Broker:
    """Sessions and messages.

    Args:
        state: the model.
        identity: who calls.
        base_url: of the emulator.
    """

    def __init__(self, state: GitHubState, identity: Identity, base_url: Callable[[], str]) -> None:
        self._state = state
        self._identity = identity
        self._base_url = base_url
        self._numbers = iter(range(1, 10**12))

    def routes(self) -> list[Route]:
        """Session, messages, acknowledgements."""
        return [
            route("POST", "/_broker/session", self._open),
            route("DELETE", "/_broker/session", self._close),
            route("GET", "/_broker/message", self._message),
            route("POST", "/_broker/acknowledge", self._acknowledge),
        ]

    async def _open(self, request: Request) -> Response:
        """A deprecated runner gets a session too: the refusal comes with its first poll (seen with a real runner)."""
        runner, body = self._identity.runner_of(request), await json_object(request)
        agent = body.get("agent") or {}
        version = str(agent.get("version", "0"))
        refused = self._state.is_deprecated(version)
        session = secrets.token_hex(8) if refused else self._state.open_session(runner, version)
        return JSONResponse({"sessionId": session, "ownerName": body.get("ownerName"), "agent": agent})

    async def _close(self, request: Request) -> Response:
        self._state.close_session(self._identity.runner_of(request))
        return Response()

    async def _message(self, request: Request) -> Response:
        """Answer when there is a message or the wait is over."""
        self._require_version(request.query_params.get("runnerVersion", "0"))
        for _ in range(round(HOLD / CHECK_INTERVAL)):
            runner = self._identity.runner_of(request)
            self._require_session(runner, request)
            if message := self._news(runner):
                return JSONResponse(message)
            if await request.is_disconnected():
                break
            await asyncio.sleep(CHECK_INTERVAL)
        return Response(status_code=202)

    def _require_version(self, version: str) -> None:
        if self._state.is_deprecated(version):
            text = f"Runner version v{version} is deprecated and cannot receive messages."
            raise broker_error(403, "RunnerVersionTooOld", text)

    def _require_session(self, runner: Runner, request: Request) -> None:
        if runner.session is None or request.query_params.get("sessionId") != runner.session:
            raise broker_error(404, "RunnerSessionInvalid", "The session is not valid.")

    def _news(self, runner: Runner) -> dict[str, Any] | None:
        """The next message for a runner."""
        assigned = self._state.assigned(runner)
        cancelled = runner.job if runner.job and runner.job.acquired and runner.job.cancelled else None
        job, now = assigned or cancelled, self._state.clock()
        if job is None or now < job.told_at + TELL_AGAIN:
            return None
        job.told_at = now
        if assigned:
            return self._envelope("RunnerJobRequest", self._request(assigned))
        return self._envelope("JobCancellation", {"jobId": guid("job", job.id), "timeout": CANCEL_TIMEOUT})

    def _request(self, job: Job) -> dict[str, Any]:
        return {
            "id": str(job.id),
            "runner_request_id": guid("request", job.id),
            "run_service_url": f"{self._base_url()}/_run/",
            "billing_owner_id": self._state.repositories[job.repository].owner,
            "should_acknowledge": True,
        }

    def _envelope(self, kind: str, body: dict[str, Any]) -> dict[str, Any]:
        return {"messageId": next(self._numbers), "messageType": kind, "body": json.dumps(body)}

    async def _acknowledge(self, request: Request) -> Response:
        runner, body = self._identity.runner_of(request), await json_object(request)
        if runner.job is None or body.get("runnerRequestId") != guid("request", runner.job.id):
            raise broker_error(404, "AcknowledgeJobNotFound", "The job is not this runner's any more.")
        return JSONResponse({})

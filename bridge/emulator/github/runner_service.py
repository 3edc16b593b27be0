"""The service for runners. GitHub's protocol is not documented; this private one has the same effects."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bridge.emulator.github.state import GitHubState, Refused, Runner

CHECK_INTERVAL = 0.05
"""s between two checks for a job in a long poll."""


class RunnerService:
    """The service.

    Args:
        state: the model.
    """

    def __init__(self, state: GitHubState) -> None:
        self._state = state

    def routes(self) -> list[Route]:
        """Registration, sessions, messages, jobs."""
        return [
            _route("POST", "/_runner/register", self._register),
            _route("POST", "/_runner/sessions", self._open),
            _route("DELETE", "/_runner/sessions", self._close),
            _route("GET", "/_runner/messages", self._message),
            _route("POST", "/_runner/jobs/{id:int}/acquire", self._acquire),
            _route("POST", "/_runner/jobs/{id:int}/renew", self._renew),
            _route("POST", "/_runner/jobs/{id:int}/complete", self._complete),
        ]

    async def _register(self, request: Request) -> Response:
        body = json.loads(await request.body())
        target = self._target(body["url"])
        if not self._state.accepts(body["token"], target):
            raise Refused(404, "Not Found")
        known = next((r for r in self._state.runners_at(target) if r.name == body["name"]), None)
        if known and body.get("replace"):
            self._state.delete_runner(target, known.id)
        groups = {name.lower(): group_id for group_id, name in self._state.groups.items()}
        group = (body.get("group") or "Default").lower()
        if group not in groups:
            raise Refused(404, f"Could not find any self-hosted runner group named {group}.")
        runner = self._state.add_runner(
            target, body["name"], body["labels"], group_id=groups[group], ephemeral=body["ephemeral"]
        )
        return JSONResponse({"runner_id": runner.id, "credential": runner.client_id}, 201)

    def _target(self, url: str) -> str:
        path = self._state.spelled(urlsplit(url).path.strip("/"))
        return f"repos/{path}" if "/" in path else f"orgs/{path}"

    async def _open(self, request: Request) -> Response:
        body = json.loads(await request.body())
        return JSONResponse({"session_id": self._state.open_session(self._runner(request), body["version"])}, 201)

    async def _close(self, request: Request) -> Response:
        self._state.close_session(self._runner(request))
        return Response(status_code=204)

    async def _message(self, request: Request) -> Response:
        """Answer when a job is assigned or the wait is over."""
        checks = float(request.query_params.get("wait", 0)) / CHECK_INTERVAL
        while True:
            job = self._state.assigned(self._runner(request))
            if job:
                return JSONResponse({"job_id": job.id})
            checks -= 1
            if checks < 0 or await request.is_disconnected():
                return Response(status_code=204)
            await asyncio.sleep(CHECK_INTERVAL)

    async def _acquire(self, request: Request) -> Response:
        job = self._state.acquire(self._runner(request), request.path_params["id"])
        run = self._state.runs[job.run_id]
        message: Mapping[str, Any] = job.message
        return JSONResponse(
            {
                "job_id": job.id,
                "name": job.spec.name,
                "workspace": str(run.workspace) if run.workspace else None,
                "repository": run.repository,
                "sha": run.spec.sha,
                "timeout_minutes": job.spec.timeout,
                "message": message,
            }
        )

    async def _renew(self, request: Request) -> Response:
        return JSONResponse({"cancel": self._state.renew(self._runner(request), request.path_params["id"])})

    async def _complete(self, request: Request) -> Response:
        body = json.loads(await request.body())
        self._state.complete(
            self._runner(request), request.path_params["id"], body["result"], body["outputs"] or {}, body["log"]
        )
        return Response(status_code=204)

    def _runner(self, request: Request) -> Runner:
        return self._state.by_client_id(request.headers.get("authorization", "").removeprefix("Bearer "))


def _route(method: str, path: str, answer: Callable[[Request], Awaitable[Response]]) -> Route:
    async def endpoint(request: Request) -> Response:
        try:
            return await answer(request)
        except Refused as refused:
            return JSONResponse({"message": refused.message}, refused.status)

    return Route(path, endpoint, methods=[method])

"""RunPod's API for clients below /v2, and the protocol of the SDK's worker below /worker.

https://docs.runpod.io/serverless/endpoints/send-requests and runpod/serverless/modules of the SDK 1.12.0
"""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request as Call
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bridge.emulator.runpod.state import Refused, Request, RunPodState

CHECK_INTERVAL = 0.05
"""s between two checks in a long poll."""

POLL = 10.0
"""s of a long poll."""


class RunPodHttp:
    """The HTTP side of both protocols.

    Args:
        state: the model.
        api_key: of the clients.
        worker_key: of the workers.
    """

    def __init__(self, state: RunPodState, api_key: str, worker_key: str) -> None:
        self._state = state
        self._api_key = api_key
        self._worker_key = worker_key
        self.calls: Counter[str] = Counter()
        self.pinged: set[str] = set()

    def routes(self) -> list[Route]:
        """All calls of the bridge and of the SDK's worker."""
        client, worker = f"Bearer {self._api_key}", self._worker_key
        return [
            self._route("POST", "/v2/{endpoint}/run", client, self._run),
            self._route("GET", "/v2/{endpoint}/status/{id}", client, self._status),
            self._route("POST", "/v2/{endpoint}/cancel/{id}", client, self._cancel),
            self._route("GET", "/v2/{endpoint}/health", client, self._health),
            self._route("GET", "/worker/{endpoint}/job-take/{worker}", worker, self._take),
            self._route("GET", "/worker/{endpoint}/job-stop/{worker}", worker, self._stop),
            self._route("POST", "/worker/{endpoint}/job-done/{worker}/{id}", worker, self._done),
            self._route("GET", "/worker/{endpoint}/ping/{worker}", worker, self._ping),
        ]

    async def _run(self, call: Call) -> Response:
        request = self._state.submit(call.path_params["endpoint"], json.loads(await call.body()))
        return JSONResponse({"id": request.id, "status": request.status})

    async def _status(self, call: Call) -> Response:
        request, status = self._state.shown(call.path_params["endpoint"], call.path_params["id"])
        return JSONResponse(status_body(request, status))

    async def _cancel(self, call: Call) -> Response:
        return JSONResponse(status_body(self._state.cancel(call.path_params["endpoint"], call.path_params["id"])))

    async def _health(self, call: Call) -> Response:
        return JSONResponse(self._state.health(call.path_params["endpoint"]))

    async def _take(self, call: Call) -> Response:
        request = await _long_poll(call, lambda: self._state.take(call.path_params["worker"]))
        return JSONResponse({"id": request.id, "input": request.input}) if request else Response(status_code=204)

    async def _stop(self, call: Call) -> Response:
        ids = await _long_poll(call, lambda: self._state.stops(call.path_params["worker"]))
        return JSONResponse({"jobsToStop": ids}) if ids else Response(status_code=204)

    async def _done(self, call: Call) -> Response:
        # The SDK sends JSON with the content type of a form.
        result = json.loads(await call.body())
        self._state.done(call.path_params["worker"], call.path_params["id"], result)
        return JSONResponse({})

    async def _ping(self, call: Call) -> Response:
        self.pinged.add(call.path_params["worker"])
        return JSONResponse({})

    def _route(self, method: str, path: str, credential: str, answer: Callable[[Call], Awaitable[Response]]) -> Route:
        async def endpoint(call: Call) -> Response:
            self.calls[f"{method} {path}"] += 1
            if call.headers.get("authorization") != credential:
                return JSONResponse({"error": "unauthorized"}, 401)
            try:
                return await answer(call)
            except Refused as refused:
                return JSONResponse({"error": refused.message}, refused.status)

        return Route(path, endpoint, methods=[method])


def status_body(request: Request, status: str | None = None) -> dict[str, Any]:
    """The answer of `/status`.

    Args:
        request: the request.
        status: an earlier status; None for the current one.
    """
    status = status or request.status
    body: dict[str, Any] = {"id": request.id, "status": status}
    if request.started_at is not None and status != "IN_QUEUE":
        body["delayTime"] = int((request.started_at - request.created_at) * 1000)
        body["workerId"] = request.workers[-1]
    if status != request.status:
        return body
    if request.started_at is not None and request.ended_at is not None:
        body["executionTime"] = int((request.ended_at - request.started_at) * 1000)
    result = {"output": request.output, "error": request.error}
    return {**body, **{key: value for key, value in result.items() if value is not None}}


async def _long_poll(call: Call, check: Callable[[], Any]) -> Any:
    """Check until there is a result, the poll is over, or the caller has disconnected."""
    for _ in range(int(POLL / CHECK_INTERVAL)):
        if found := check():
            return found
        if await call.is_disconnected():
            break
        await asyncio.sleep(CHECK_INTERVAL)
    return None

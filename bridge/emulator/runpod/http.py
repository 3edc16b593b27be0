"""RunPod's client API below /v2, and the protocol that the SDK's worker speaks below /worker."""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request as Call
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bridge.emulator.runpod.state import Refused, Request, RunPodState

LOOK_EVERY = 0.05
"""s between two looks within a long poll."""

POLL = 10.0
"""s that a poll is held."""


class RunPodHttp:
    """Both sides' HTTP.

    Args:
        state: the model.
        api_key: what clients must send.
        worker_key: what workers must send.
    """

    def __init__(self, state: RunPodState, api_key: str, worker_key: str) -> None:
        self._state = state
        self._api_key = api_key
        self._worker_key = worker_key
        self.calls: Counter[str] = Counter()
        self.pinged: set[str] = set()

    def routes(self) -> list[Route]:
        """Everything that the product and the SDK's worker call."""
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
        request = await _held(call, lambda: self._state.take(call.path_params["worker"]))
        return JSONResponse({"id": request.id, "input": request.input}) if request else Response(status_code=204)

    async def _stop(self, call: Call) -> Response:
        ids = await _held(call, lambda: self._state.stops(call.path_params["worker"]))
        return JSONResponse({"jobsToStop": ids}) if ids else Response(status_code=204)

    async def _done(self, call: Call) -> Response:
        # The SDK sends JSON under the content type of a form.
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
    """What `/status` answers.

    Args:
        request: of which it tells.
        status: an earlier one; None for the present.
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
    told = {"output": request.output, "error": request.error}
    return {**body, **{key: value for key, value in told.items() if value is not None}}


async def _held(call: Call, look: Callable[[], Any]) -> Any:
    """Look until there is something, the poll is over, or the caller has left."""
    for _ in range(int(POLL / LOOK_EVERY)):
        if found := look():
            return found
        if await call.is_disconnected():
            break
        await asyncio.sleep(LOOK_EVERY)
    return None

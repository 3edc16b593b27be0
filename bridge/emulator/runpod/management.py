"""The HTTP of the emulated management API, below /management/v2: RunPod serves it from a host of its own.

https://docs.runpod.io/api-reference-v2/overview has the errors and the rate limits.
"""

import json
from collections import Counter, deque
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from starlette.requests import Request as Call
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from bridge.emulator.runpod.account import Account
from bridge.emulator.runpod.billing import serverless_billing
from bridge.emulator.runpod.bodies import Problem

PREFIX = "/management"


class ManagementHttp:
    """The management API.

    Args:
        account: what it manages.
        keys: those that may manage.
        restricted_keys: those that are valid and may not.

    Attributes:
        calls_per_minute: what each key may call.
        calls: by method and path template.
    """

    def __init__(self, account: Account, keys: frozenset[str], restricted_keys: frozenset[str]) -> None:
        self._account = account
        self._keys = keys
        self._restricted_keys = restricted_keys
        self._times: deque[float] = deque()
        self.calls_per_minute = 600
        self.calls: Counter[str] = Counter()

    def routes(self) -> list[Route]:
        """What the bridge's commands call, and what an operator's tools may."""
        account, catalog = self._account, self._account.catalog
        return [
            self._route("GET", "/v2/serverless", self._list),
            self._route("POST", "/v2/serverless", self._create),
            self._route("GET", "/v2/serverless/{id}", lambda call, _: _json(account.known(_id(call)))),
            self._route("PATCH", "/v2/serverless/{id}", lambda call, body: _json(account.update(_id(call), body))),
            self._route("DELETE", "/v2/serverless/{id}", self._delete),
            self._route("GET", "/v2/serverless/{id}/workers", lambda call, _: _json(account.workers(_id(call)))),
            self._route("GET", "/v2/serverless/{id}/workers/{workerId}/logs", self._logs),
            self._route("GET", "/v2/serverless/{id}/releases", lambda call, _: _json(account.history(_id(call)))),
            self._route("GET", "/v2/catalog/gpus", lambda c, _: _json({"gpus": catalog.gpus(with_stock=_stock(c))})),
            self._route("GET", "/v2/catalog/cpus", lambda c, _: _json({"cpus": catalog.cpus(with_stock=_stock(c))})),
            self._route("GET", "/v2/catalog/datacenters", self._data_centers),
            self._route("GET", "/v2/account/limits", lambda _call, _body: _json(account.limits())),
            self._route("GET", "/v2/billing/serverless", self._billing),
        ]

    def _list(self, _call: Call, _body: Any) -> Response:
        return _json({"endpoints": self._account.all()})

    def _create(self, _call: Call, body: Any) -> Response:
        return _json(self._account.create(body), 201)

    def _delete(self, call: Call, _body: Any) -> Response:
        self._account.delete(_id(call))
        return Response(status_code=204)

    def _logs(self, call: Call, _body: Any) -> Response:
        self._account.known(_id(call))
        worker = self._account.state.workers.get(str(call.path_params["workerId"]))
        if worker is None or worker.endpoint != _id(call):
            raise Problem(404, "worker not found")
        last = call.headers.get("last-event-id")
        events = self._account.state.logs.events(worker.id, call.query_params, last)
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        return StreamingResponse(events, headers=headers, media_type="text/event-stream")

    def _data_centers(self, call: Call, _body: Any) -> Response:
        include = [part for part in call.query_params.get("include", "").split(",") if part]
        if set(include) - {"GPU_AVAILABILITY", "CPU_AVAILABILITY"}:
            raise Problem(422, "Request validation failed.", ("include: unknown value",))
        return _json({"dataCenters": self._account.catalog.data_centers(include)})

    def _billing(self, call: Call, _body: Any) -> Response:
        return _json(serverless_billing(self._account, call.query_params))

    def _route(self, method: str, path: str, answer: Callable[[Call, Any], Response]) -> Route:
        async def endpoint(call: Call) -> Response:
            self.calls[f"{method} {path}"] += 1
            try:
                self._authenticate(call)
                limits = self._count()
            except Problem as problem:
                return _problem(problem, {})
            if limits["Retry-After"]:
                return _problem(Problem(429, "rate limit exceeded for the minute window"), limits)
            try:
                response = await _answered(call, answer)
            except Problem as problem:
                return _problem(problem, limits)
            response.headers.update({name: value for name, value in limits.items() if value})
            return response

        return Route(f"{PREFIX}{path}", endpoint, methods=[method])

    def _authenticate(self, call: Call) -> None:
        key = call.headers.get("authorization", "").removeprefix("Bearer ")
        if key in self._restricted_keys:
            raise Problem(403, "access denied")
        if key not in self._keys:
            raise Problem(401, "invalid bearer token" if key else "missing bearer token")

    def _count(self) -> dict[str, str]:
        """The rate limit's headers for one more call; `Retry-After` is empty if the call is allowed."""
        now = self._account.state.clock()
        while self._times and now - self._times[0] >= 60:
            self._times.popleft()
        wait = 60 - (now - self._times[0]) if self._times else 60
        allowed = len(self._times) < self.calls_per_minute
        if allowed:
            self._times.append(now)
        minute, left, reset = self.calls_per_minute, self.calls_per_minute - len(self._times), max(1, round(wait))
        return {
            "Retry-After": "" if allowed else str(reset),
            "RateLimit-Policy": f'"minute";q={minute};w=60, "hour";q=36000;w=3600, "day";q=500000;w=86400',
            "RateLimit": f'"minute";r={left};t={reset}, "hour";r=35000;t=3600, "day";r=490000;t=86400',
        }


async def _answered(call: Call, answer: Callable[[Call, Any], Response]) -> Response:
    content = await call.body()
    try:
        body = json.loads(content) if content else None
    except ValueError:
        raise Problem(400, "malformed JSON body") from None
    return answer(call, body)


def _id(call: Call) -> str:
    return str(call.path_params["id"])


def _stock(call: Call) -> bool:
    """Whether stock is asked for: `include` and `product` need each other, and the filters need both."""
    params = call.query_params
    wanted = params.get("include") == "AVAILABILITY"
    if params.get("include") and not wanted:
        raise Problem(422, "Request validation failed.", ("include: only AVAILABILITY is supported",))
    if wanted != ("product" in params):
        raise Problem(400, "include=AVAILABILITY requires product, and product requires include=AVAILABILITY")
    filters = {"count", "vcpuCount", "minCudaVersion", "cudaVersions", "countryCodes", "cloud"} & params.keys()
    if filters and not wanted:
        raise Problem(400, f"{min(filters)} requires include=AVAILABILITY")
    return wanted


def _json(content: Any, status: int = 200) -> Response:
    return JSONResponse(content, status)


def _problem(problem: Problem, headers: Mapping[str, str]) -> Response:
    content = {"title": HTTPStatus(problem.status).phrase, "status": problem.status, "detail": problem.detail}
    errors = {"errors": list(problem.errors)} if problem.errors else {}
    shown = {name: value for name, value in headers.items() if value}
    return JSONResponse({**content, **errors}, problem.status, shown, media_type="application/problem+json")

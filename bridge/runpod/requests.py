"""RunPod's endpoints, through its SDK: submit, status, cancel, health. No other file of the bridge imports the SDK.

It is imported at the first call: this takes two seconds, and a pass without requests does not need it.
"""

import asyncio
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

from bridge.core.endpoint_names import NO_NAMES, EndpointNames
from bridge.core.model import (
    LONGEST_NAME,
    Cancellation,
    EndpointHealth,
    Request,
    RequestStatus,
    SelfTestRequest,
    storable,
)
from bridge.core.scope import Route
from bridge.core.worker import WorkerInput
from bridge.errors import BridgeError, Rejected
from bridge.runpod.failures import error_of, retry_after, submission_error_of

THREADS = 10
"""Calls at a time: the size of the SDK's connection pool."""

READS = 7
"""How many of them may be reads, so that a new request never waits for reads of others."""

RATE_LIMIT_WAIT = 10.0
"""s to wait after a 429 without Retry-After: RunPod counts calls per 10 s.

https://docs.runpod.io/serverless/endpoints/send-requests
"""

LONGEST_TIME = 1e12
"""ms, 31 years: a longer time of a request is an error of RunPod, and is not stored."""

LONGEST_ERROR = 10_000
"""Characters of a request's error that are read: a worker may send any text, and it goes to the ledger and the log."""

T = TypeVar("T")


class _Call(NamedTuple):
    method: str
    endpoint: str
    what: str

    @property
    def path(self) -> str:
        return f"{self.method} /{self.endpoint}/{self.what}"


class RunPod:
    """A client of RunPod's endpoints.

    Args:
        api_key: secret.
        base_url: such as `https://api.runpod.ai/v2`.
        clock: returns Unix seconds.
        rate_limit_wait: s to wait after a rate limit that states no time.
        names: of the endpoints, for errors.
    """

    def __init__(
        self,
        *,
        api_key: str,
        base_url: str,
        clock: Callable[[], float] = time.time,
        rate_limit_wait: float = RATE_LIMIT_WAIT,
        names: EndpointNames = NO_NAMES,
    ) -> None:
        self._api_key = api_key
        self._base_url = base_url.rstrip("/")
        self._clock = clock
        self._rate_limit_wait = rate_limit_wait
        self._names = names
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="runpod")
        self._reads = asyncio.Semaphore(READS)
        self._creating = threading.Lock()
        self._endpoints: dict[str, Any] = {}
        self.calls: Counter[str] = Counter()

    def close(self) -> None:
        """Wait for the current calls, and end the threads."""
        self._threads.shutdown()

    async def prepare(self, endpoint: str) -> None:
        """Load the SDK now, so that no time passes between a commit and the call that follows it."""
        if endpoint in self._endpoints:
            return
        await asyncio.get_running_loop().run_in_executor(self._threads, self._endpoint, endpoint)

    async def submit(self, endpoint: str, route: Route, worker_input: WorkerInput, callback: str | None) -> str:
        """Send one request.

        Args:
            endpoint: RunPod's id.
            route: has the time limits.
            worker_input: the worker's input.
            callback: the URL that RunPod calls when the request has ended; None for none.

        Returns:
            RunPod's id of the request.

        Raises:
            OutcomeUnknown: it was sent and there was no readable answer; it may have been accepted.
            AuthError, RateLimited, Rejected, Unavailable: it was not accepted.
        """
        # In milliseconds: https://docs.runpod.io/serverless/endpoints/send-requests#execution-policies
        policy = {"executionTimeout": int(route.execution_timeout * 1000), "ttl": int(route.ttl * 1000)}
        body = {"input": worker_input, "policy": policy, **({"webhook": callback} if callback else {})}

        return await self._run(endpoint, body)

    async def submit_self_test(self, endpoint: str, *, execution_timeout: float, ttl: float) -> SelfTestRequest:
        """Send one request that asks a worker to describe itself.

        Args:
            endpoint: RunPod's id.
            execution_timeout: s that it may run.
            ttl: s after which RunPod deletes it.

        Raises:
            BridgeError: as of `submit`.
        """
        policy = {"executionTimeout": int(execution_timeout * 1000), "ttl": int(ttl * 1000)}
        request_id = await self._run(endpoint, {"input": {"self_test": True}, "policy": policy})
        return SelfTestRequest(endpoint=endpoint, request_id=request_id)

    async def _run(self, endpoint: str, body: dict[str, Any]) -> str:
        def run() -> str:
            return _request_id(self._endpoint(endpoint).run(body).job_id)

        return await self._call(_Call("POST", endpoint, "run"), run, submission_error_of)

    async def status(self, endpoint: str, request_id: str) -> Request:
        """Read a request. If RunPod does not know it, its status is MISSING."""

        def get() -> Request:
            return _request(request_id, self._endpoint(endpoint).rp_client.get(f"{endpoint}/status/{request_id}"))

        try:
            return await self._read(endpoint, "status", get)
        except Rejected as error:
            if error.status != 404:
                raise
            return Request(id=request_id, status=RequestStatus.MISSING)

    async def cancel(self, cancellation: Cancellation | SelfTestRequest) -> None:
        """Cancel a request. If it has ended or is unknown, nothing happens.

        Args:
            cancellation: the request, with the proof that it has no job; a self-test has none.
        """
        endpoint = cancellation.endpoint

        def post() -> None:
            self._endpoint(endpoint).rp_client.post(f"{endpoint}/cancel/{cancellation.request_id}", {})

        try:
            await self._call(_Call("POST", endpoint, "cancel"), post, error_of)
        except Rejected as error:
            if error.status not in (400, 404):
                raise

    async def health(self, endpoint: str) -> EndpointHealth:
        """The numbers of an endpoint's queued and running requests, and of its workers."""
        return await self._read(endpoint, "health", lambda: _health(self._endpoint(endpoint).health()))

    async def _read(self, endpoint: str, what: str, work: Callable[[], T]) -> T:
        async with self._reads:
            return await self._call(_Call("GET", endpoint, what), work, error_of)

    async def _call(
        self, call: _Call, work: Callable[[], T], error_for: Callable[[str, Exception, float], BridgeError]
    ) -> T:
        self.calls[call.path] += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except Exception as error:
            after = retry_after(error)
            retry_at = self._clock() + (self._rate_limit_wait if after is None else after)
            name = self._names.get(call.endpoint)
            said = f"RunPod: {call.path}{f' (endpoint {name})' if name else ''}"
            raise error_for(said, error, retry_at) from None  # the SDK's error may hold the URL and the body

    def _endpoint(self, endpoint: str) -> Any:
        with self._creating:
            if endpoint not in self._endpoints:
                self._endpoints[endpoint] = _sdk_endpoint(endpoint, self._api_key, self._base_url)
            return self._endpoints[endpoint]


def _sdk_endpoint(endpoint: str, api_key: str, base_url: str) -> Any:
    """The SDK's Endpoint, without its redirects and retries, so that no request is sent twice."""
    with _root_logger_kept():
        import runpod
        from requests.adapters import HTTPAdapter
    made = runpod.Endpoint(endpoint, api_key=api_key)
    made.rp_client.endpoint_url_base = base_url
    made.rp_client.rp_session.max_redirects = 0
    made.rp_client.rp_session.auth = _unchanged
    for scheme in ("http://", "https://"):
        made.rp_client.rp_session.mount(scheme, HTTPAdapter(pool_maxsize=THREADS, max_retries=0))
    return made


def _unchanged(request: Any) -> Any:
    """Keep the SDK's Authorization header. Without an `auth`, Requests replaces it by an entry of ~/.netrc.

    https://requests.readthedocs.io/en/latest/user/authentication/#netrc-authentication
    """
    return request


@contextmanager
def _root_logger_kept() -> Iterator[None]:
    """Restore the root logger, which an import of the SDK changes."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


def _request_id(given: Any) -> str:
    if not given or not isinstance(given, str):
        raise ValueError("no id")
    return given


def _request(request_id: str, raw: Any) -> Request:
    output, error = raw.get("output"), raw.get("error")
    return Request(
        id=request_id,
        status=RequestStatus(raw["status"]),
        output=output if isinstance(output, dict) else None,
        error=storable(error)[:LONGEST_ERROR] if error else None,
        delay=_seconds(raw.get("delayTime")),
        execution=_seconds(raw.get("executionTime")),
        worker_id=storable(worker)[:LONGEST_NAME] if (worker := raw.get("workerId")) else None,
    )


def _seconds(milliseconds: Any) -> float | None:
    """RunPod's times are in ms: https://docs.runpod.io/serverless/endpoints/send-requests"""
    known = isinstance(milliseconds, int | float) and 0 <= milliseconds < LONGEST_TIME
    return milliseconds / 1000 if known else None


def _health(raw: Any) -> EndpointHealth:
    jobs, workers = raw.get("jobs") or {}, raw.get("workers") or {}
    return EndpointHealth(
        in_queue=int(jobs.get("inQueue") or 0),
        in_progress=int(jobs.get("inProgress") or 0),
        workers={str(state): int(count or 0) for state, count in workers.items()},
    )

"""RunPod's endpoints through its SDK: submit, status, cancel, health. The only file that imports the SDK.

It is imported at the first call: that takes two seconds, and a pass with nothing to do needs none of it.
"""

import asyncio
import logging
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from bridge.core.model import Cancellation, EndpointHealth, Request, RequestStatus
from bridge.core.scope import Route
from bridge.core.worker import WorkerInput
from bridge.errors import AuthError, BridgeError, OutcomeUnknown, RateLimited, Rejected, Unavailable

THREADS = 10
"""Calls in flight: the size of the SDK's connection pool."""

LOOKS = 7
"""Of them; so that a request never waits behind looks at others."""

PAUSE = 10.0
"""s to wait after a 429 without Retry-After: RunPod counts calls per 10 s."""

_NO_CERTIFICATES = "Could not find a suitable TLS CA certificate bundle"
"""How Requests begins when there are no certificates to trust."""

_NO_TUNNEL = "Tunnel connection failed"
"""How Python begins when a proxy lets nothing through."""

T = TypeVar("T")


class RunPod:
    """RunPod's client API, for any number of endpoints.

    Args:
        api_key: secret.
        base_url: such as `https://api.runpod.ai/v2`.
        clock: Unix seconds.
    """

    def __init__(self, *, api_key: str, base_url: str, clock: Callable[[], float] = time.time) -> None:
        self._api_key = api_key
        self._base_url = base_url.rstrip("/")
        self._clock = clock
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="runpod")
        self._looking = asyncio.Semaphore(LOOKS)
        self._making = threading.Lock()
        self._endpoints: dict[str, Any] = {}
        self.calls: Counter[str] = Counter()

    def close(self) -> None:
        """Wait for calls in flight, and end the threads."""
        self._threads.shutdown()

    async def prepare(self, endpoint: str) -> None:
        """Load the SDK, so that what is written down just before a call is not waiting for that."""
        if endpoint in self._endpoints:
            return
        await asyncio.get_running_loop().run_in_executor(self._threads, self._endpoint, endpoint)

    async def submit(self, route: Route, worker_input: WorkerInput, callback: str | None) -> str:
        """Send one request.

        Args:
            route: says where, and within what limits.
            worker_input: what the worker reads.
            callback: URL that RunPod posts to when the request has ended, None for none.

        Returns:
            RunPod's id of it.

        Raises:
            OutcomeUnknown: it was sent and no readable answer came; it may have been accepted.
            AuthError, RateLimited, Rejected, Unavailable: it was not accepted.
        """
        # In milliseconds: https://docs.runpod.io/serverless/endpoints/send-requests#execution-policies
        policy = {"executionTimeout": int(route.execution_timeout * 1000), "ttl": int(route.ttl * 1000)}
        body = {"input": worker_input, "policy": policy, **({"webhook": callback} if callback else {})}

        def run() -> str:
            return _request_id(self._endpoint(route.endpoint).run(body).job_id)

        return await self._call(f"POST /{route.endpoint}/run", run, _submission_error)

    async def status(self, endpoint: str, request_id: str) -> Request:
        """Look a request up; one that RunPod does not know has the status MISSING."""

        def get() -> Request:
            return _request(request_id, self._endpoint(endpoint).rp_client.get(f"{endpoint}/status/{request_id}"))

        try:
            return await self._look(f"GET /{endpoint}/status", get)
        except Rejected as error:
            if error.status != 404:
                raise
            return Request(id=request_id, status=RequestStatus.MISSING)

    async def cancel(self, cancellation: Cancellation) -> None:
        """Cancel a request; one that has ended or is unknown stays as it is.

        Args:
            cancellation: the request, with the proof that it holds no job.
        """
        endpoint = cancellation.endpoint

        def post() -> None:
            self._endpoint(endpoint).rp_client.post(f"{endpoint}/cancel/{cancellation.request_id}", {})

        try:
            await self._call(f"POST /{endpoint}/cancel", post, _error)
        except Rejected as error:
            if error.status not in (400, 404):
                raise

    async def health(self, endpoint: str) -> EndpointHealth:
        """What the endpoint has queued and running, and its workers."""
        return await self._look(f"GET /{endpoint}/health", lambda: _health(self._endpoint(endpoint).health()))

    async def _look(self, call: str, work: Callable[[], T]) -> T:
        async with self._looking:
            return await self._call(call, work, _error)

    async def _call(self, call: str, work: Callable[[], T], named: Callable[[str, Exception, float], BridgeError]) -> T:
        self.calls[call] += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except Exception as error:
            raise named(
                f"RunPod: {call}", error, self._clock()
            ) from None  # the SDK's own error may hold the URL and body

    def _endpoint(self, endpoint: str) -> Any:
        with self._making:
            if endpoint not in self._endpoints:
                self._endpoints[endpoint] = _sdk_endpoint(endpoint, self._api_key, self._base_url)
            return self._endpoints[endpoint]


def _sdk_endpoint(endpoint: str, api_key: str, base_url: str) -> Any:
    """The SDK's Endpoint without redirects and the retries that it mounts on http: a request is never sent twice."""
    with _root_logger_kept():
        import runpod
        from requests.adapters import HTTPAdapter
    made = runpod.Endpoint(endpoint, api_key=api_key)
    made.rp_client.endpoint_url_base = base_url
    made.rp_client.rp_session.max_redirects = 0
    made.rp_client.rp_session.auth = _as_it_is
    for scheme in ("http://", "https://"):
        made.rp_client.rp_session.mount(scheme, HTTPAdapter(pool_maxsize=THREADS, max_retries=0))
    return made


def _as_it_is(request: Any) -> Any:
    """Keep the SDK's Authorization header: without an `auth`, Requests replaces it by what ~/.netrc has for the host.

    https://requests.readthedocs.io/en/latest/user/authentication/#netrc-authentication
    """
    return request


@contextmanager
def _root_logger_kept() -> Iterator[None]:
    """Undo what importing the SDK does to the root logger."""
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
        error=_clean(error) if error else None,
    )


def _clean(text: Any) -> str:
    """A text that any database can hold: PostgreSQL refuses NUL, and half a surrogate pair is no text."""
    return str(text).replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()


def _health(raw: Any) -> EndpointHealth:
    jobs, workers = raw.get("jobs") or {}, raw.get("workers") or {}
    return EndpointHealth(
        in_queue=int(jobs.get("inQueue") or 0),
        in_progress=int(jobs.get("inProgress") or 0),
        workers={str(state): int(count or 0) for state, count in workers.items()},
    )


def _submission_error(call: str, error: Exception, now: float) -> BridgeError:
    """Name what went wrong with a request that must not be sent again unless it surely was not accepted."""
    status = _http_status(error)
    if _unsent(error) or (status is not None and 400 <= status < 500):
        return _error(call, error, now)
    return OutcomeUnknown(f"{call}: {_what(error)}; the request may have been accepted")


def _error(call: str, error: Exception, now: float) -> BridgeError:
    status = _http_status(error)
    if status == 401:
        return AuthError(f"{call}: 401, RUNPOD_API_KEY was refused")
    if status == 403:
        return AuthError(f"{call}: 403, RUNPOD_API_KEY may not use this endpoint")
    if status == 429:
        return RateLimited(f"{call}: 429, too many calls", retry_at=now + _retry_after(error))
    if status is not None and status < 500:
        return Rejected(f"{call}: {status}{_hint(status)}", status=status)
    return Unavailable(f"{call}: {_what(error)}")


def _hint(status: int) -> str:
    if status < 400:
        return " is a redirect, which is not followed; correct RUNPOD_ENDPOINT_BASE_URL"
    return "; is the endpoint's id right?" if status == 404 else ""


def _what(error: Exception) -> str:
    status = _http_status(error)
    if status:
        return f"HTTP {status}"
    return f"{'nothing was sent' if _unsent(error) else 'no readable answer'} ({type(error).__name__})"


def _http_status(error: Exception) -> int | None:
    if isinstance(error, RuntimeError) and str(error).startswith("401"):
        return 401  # the SDK's own error for it
    response = getattr(error, "response", None)
    return None if response is None else int(response.status_code)


def _retry_after(error: Exception) -> float:
    response: Any = getattr(error, "response", None)
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else PAUSE


def _unsent(error: Exception) -> bool:
    """Whether nothing was sent, so that nothing can have been accepted."""
    return _unsendable(error) or _unreached(error)


def _unsendable(error: Exception) -> bool:
    """Whether there was no request to send: a key that no header holds, an address or certificates that are none."""
    from requests.exceptions import InvalidHeader, InvalidSchema, InvalidURL, MissingSchema

    if isinstance(error, (InvalidHeader, InvalidSchema, InvalidURL, MissingSchema, UnicodeEncodeError)):
        return True
    return type(error) is OSError and str(error).startswith(_NO_CERTIFICATES)


def _unreached(error: Exception) -> bool:
    """Whether there was no connection to send it over."""
    from requests import ConnectionError as NoConnection
    from urllib3.exceptions import ConnectTimeoutError, ProxyError  # NewConnectionError is one of the former

    cause = error.args[0] if isinstance(error, NoConnection) and error.args else None
    reason = getattr(cause, "reason", None)
    if isinstance(reason, ProxyError):  # by itself no proof: also when the proxy hung up on what it was sent
        reason = reason.original_error
        if str(reason).startswith(_NO_TUNNEL):
            return True
    untrusted = any(isinstance(each, ssl.SSLCertVerificationError) for each in getattr(reason, "args", ()))
    return untrusted or isinstance(reason, ConnectTimeoutError)

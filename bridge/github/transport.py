"""HTTP to GitHub's REST API: what is retried, what is waited for, and how each failure is called."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import httpx

from bridge import __version__
from bridge.errors import (
    AuthError,
    BridgeError,
    NameTaken,
    OutcomeUnknown,
    Paced,
    RateLimited,
    Rejected,
    Unavailable,
)
from bridge.github.clock import GitHubClock
from bridge.github.pacing import RESERVE, Pace, Priority

CONCURRENT_CALLS = 20
"""GitHub allows 100; httpx goes through all connections at each call, and a registration takes some 0.2 s."""

CONCURRENT_LOOKS = 15
"""Of them; so that a runner's registration never waits behind looks."""

LONGEST_PAUSE = 65.0
"""s that a look waits for its turn at most; longer waits are left to a later look."""

MOST_REDIRECTS = 5
"""Of one call. GitHub sends one for a repository that was renamed."""

RETRIES = 2
"""Further tries of a call that changes nothing, or changes the same thing again."""

RETRY_WAIT = 0.2
"""s, on average, before the first further try; four times as much before the next."""

LONGEST_WAIT = 3600.0
"""s that GitHub may ask to wait: it counts calls by the hour at most, and what asks for more is not meant so."""

LIMITS = httpx.Limits(max_connections=CONCURRENT_CALLS, max_keepalive_connections=CONCURRENT_CALLS)
TIMEOUT = httpx.Timeout(10.0, pool=60.0)

_HEADERS = {
    "Accept": "application/vnd.github+json",
    "X-GitHub-Api-Version": "2022-11-28",
    "User-Agent": f"runpod-actions-bridge/{__version__}",
}
T = TypeVar("T")
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError, httpx.UnsupportedProtocol)


def http_client(clock: GitHubClock | None = None) -> httpx.AsyncClient:
    """A client with our limits. It follows no redirect: `Transport` does, within GitHub's origin.

    Args:
        clock: learns the time from GitHub's answers.
    """
    hooks: dict[str, list[Callable[..., Any]]] = (
        {"request": [clock.on_request], "response": [clock.on_response]} if clock else {}
    )
    return httpx.AsyncClient(limits=LIMITS, timeout=TIMEOUT, headers=_HEADERS, event_hooks=hooks)


def retry_at(response: httpx.Response, strikes: int, now: float) -> float | None:
    """When to call again after a refusal, if it is a rate limit.

    Args:
        response: of status 403 or 429.
        strikes: limits without a stated wait in a row, before this one.
        now: Unix seconds.

    Returns:
        Unix seconds, None if it is no rate limit.
        https://docs.github.com/rest/using-the-rest-api/best-practices-for-using-the-rest-api
    """
    after, reset = _number(response, "retry-after"), _number(response, "x-ratelimit-reset")
    if after is not None:
        return now + min(after, LONGEST_WAIT)
    spent = response.headers.get("x-ratelimit-remaining") == "0"
    if spent and reset is not None and reset > now:
        return min(reset, now + LONGEST_WAIT)
    # A secondary limit may come as 403 with calls remaining: only its message tells.
    if spent or response.status_code == 429 or "rate limit" in response.text.lower():
        return now + 60.0 * 2.0 ** min(strikes, 4)
    return None


class Transport:
    """Sends calls, at most CONCURRENT_CALLS at once, and none while GitHub asks to wait.

    Args:
        http: made by `http_client`, or with limits of its own.
        api_url: such as `https://api.github.com`.
        clock: Unix seconds.
        sleep: waits so many seconds of that clock.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        api_url: str,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._http = http
        self._api_url = api_url.rstrip("/")
        self._clock = clock
        self._sleep = sleep
        self._pace = Pace()
        self._slots = asyncio.Semaphore(CONCURRENT_CALLS)
        self._look_slots = asyncio.Semaphore(CONCURRENT_LOOKS)
        self._resume_at = 0.0
        self._looks_resume_at = 0.0
        self._strikes = 0
        self._limited_at = 0.0
        self.calls: Counter[str] = Counter(total=0, not_modified=0)

    def url(self, path: str) -> str:
        """The whole URL of an API path, or of a link to a next page.

        Raises:
            Rejected: the link leads to another origin, which must not see a token.
        """
        if path.startswith("/"):
            return f"{self._api_url}{path}"
        self._refuse_elsewhere(path)
        return path

    async def look(self, method: str, path: str, headers: Mapping[str, str], body: Any = None) -> httpx.Response:
        """As `read`, for what can wait: at a pace that leaves most of GitHub's limits to registrations.

        Raises:
            Paced: its turn is more than LONGEST_PAUSE away; nothing was sent.
            RateLimited, Unavailable: see bridge.errors.
        """
        return await self._in_turn(Priority.LOOK, method, path, headers, body)

    async def look_up(self, method: str, path: str, headers: Mapping[str, str], body: Any = None) -> httpx.Response:
        """As `look`, for a job that is known: these go before all other looks."""
        return await self._in_turn(Priority.JOB, method, path, headers, body)

    async def _in_turn(
        self, priority: Priority, method: str, path: str, headers: Mapping[str, str], body: Any
    ) -> httpx.Response:
        await self._paced(priority)
        async with self._look_slots:
            self._refuse_until(self._looks_resume_at, "what is left is kept for registrations")
            return await self.read(method, path, headers, body, look=True)

    async def _paced(self, priority: Priority) -> None:
        """Wait for the turn of a call."""
        ends_at = self._clock() + LONGEST_PAUSE
        while (now := self._clock()) >= self._looks_resume_at and (wait := self._pace.wait(priority, now)) > 0:
            if now + wait > ends_at:
                until = now + wait
                raise Paced("GitHub: not sent, to leave the rest of the rate limit to registrations", retry_at=until)
            await self._sleep(wait)

    async def read(
        self, method: str, path: str, headers: Mapping[str, str], body: Any = None, *, look: bool = False
    ) -> httpx.Response:
        """Send a call that may be repeated, and repeat it when GitHub is unavailable.

        Args:
            method: of HTTP.
            path: of the API, or a whole URL.
            headers: beside those of every call.
            body: JSON.
            look: it has waited for its turn.

        Returns:
            The answer, of any status below 500 that is no rate limit.

        Raises:
            RateLimited, Unavailable: see bridge.errors.
        """
        for left in range(RETRIES, -1, -1):
            try:
                response = await self._send(method, path, headers, body, look=look)
            except httpx.HTTPError as error:
                if not left:
                    raise Unavailable(f"GitHub: {method} {path}: {type(error).__name__}") from None
            else:
                if response.status_code < 500:
                    return response
                if not left:
                    raise Unavailable(_line(method, path, response), request_id=_request_id(response))
            await asyncio.sleep(RETRY_WAIT * random.uniform(0.5, 1.5) * 4 ** (RETRIES - left))  # noqa: S311 - jitter
        raise AssertionError("unreachable")

    async def change(self, path: str, headers: Mapping[str, str], body: Any) -> httpx.Response:
        """POST once, never again.

        Raises:
            OutcomeUnknown: it was sent and no answer came; it may have been done.
            RateLimited, Unavailable: it was not done.
        """
        try:
            response = await self._send("POST", path, headers, body)
        except _NEVER_SENT as error:
            raise Unavailable(f"GitHub: POST {path}: {type(error).__name__}") from None
        except httpx.HTTPError as error:
            raise OutcomeUnknown(f"GitHub: POST {path}: {type(error).__name__}; it may have been done") from None
        if response.status_code >= 500:
            line, request_id = _line("POST", path, response), _request_id(response)
            raise OutcomeUnknown(f"{line}; it may have been done", request_id=request_id)
        return response

    async def _send(
        self, method: str, path: str, headers: Mapping[str, str], body: Any, *, look: bool = False
    ) -> httpx.Response:
        async with self._slots:
            self._refuse_until(self._resume_at, "GitHub asked to wait")
            sent_at = self._clock()
            self._pace.sent(method, sent_at, look=look)
            response = await self._counted(method, path, headers, body)
        self._note_reserve(response)
        if response.status_code in (403, 429):
            self._note_limit(method, path, response, sent_at)
        elif response.status_code < 400 and sent_at >= self._limited_at:
            self._strikes = 0
        return response

    async def _counted(self, method: str, path: str, headers: Mapping[str, str], body: Any) -> httpx.Response:
        """One call; counted unless GitHub cannot have seen it."""
        self.calls["total"] += 1
        try:
            request = self._http.build_request(method, self.url(path), headers={**_HEADERS, **headers}, json=body)
            response = await self._http.send(request, follow_redirects=False)
        except _NEVER_SENT:
            self.calls["total"] -= 1
            raise
        for _ in range(MOST_REDIRECTS):
            if not (following := response.next_request):
                break
            self._refuse_elsewhere(str(following.url))
            self.calls["total"] += 1
            response = await self._http.send(following, follow_redirects=False)
        self.calls["not_modified"] += response.status_code == 304
        return response

    def _refuse_elsewhere(self, url: str) -> None:
        """Refuse a URL from an answer that leads to another origin: the token or the App's JWT would go with it."""
        try:
            there, here = (httpx.URL(each) for each in (url, self._api_url))
        except httpx.InvalidURL:
            raise Rejected("GitHub: gave a link that is no URL", status=421) from None
        if (there.scheme, there.host, there.port) != (here.scheme, here.host, here.port):
            raise Rejected(
                f"GitHub: gave a link to {there.scheme}://{there.netloc.decode()}, which was not followed; "
                "GITHUB_API_URL must be the address that GitHub has of itself",
                status=421,
            )

    def _note_reserve(self, response: httpx.Response) -> None:
        limit, left, reset = (_number(response, f"x-ratelimit-{name}") for name in ("limit", "remaining", "reset"))
        if limit is None or left is None or reset is None:
            return
        self._pace.told(limit, left, reset)
        if left < limit * RESERVE:
            self._looks_resume_at = min(reset, self._clock() + LONGEST_WAIT)

    def _refuse_until(self, until: float, why: str) -> None:
        """Without the call's name: many calls that are not sent are one problem."""
        if self._clock() < until:
            raise RateLimited(f"GitHub: not sent, {why} until {_utc(until)}", retry_at=until)

    def _note_limit(self, method: str, path: str, response: httpx.Response, sent_at: float) -> None:
        # Calls that were under way when a limit was met meet the same one, not the next.
        strikes = max(0, self._strikes - (sent_at < self._limited_at))
        until = retry_at(response, strikes, self._clock())
        if until is None:
            return
        self._strikes, self._limited_at = strikes + 1, self._clock()
        self._resume_at = max(self._resume_at, until)
        raise RateLimited(
            f"{_line(method, path, response)}, a rate limit; waiting until {_utc(self._resume_at)}",
            retry_at=self._resume_at,
            request_id=_request_id(response),
        )


def refusal(response: httpx.Response) -> BridgeError:
    """The error that an answer of status 3xx or 4xx stands for."""
    status = response.status_code
    line, request_id = _line(response.request.method, response.request.url.path, response), _request_id(response)
    if status == 401:
        return AuthError(f"{line}: the credentials were refused", request_id=request_id)
    if status == 403:
        needed = response.headers.get("x-accepted-github-permissions")
        why = f"needs the permission {needed}" if needed else "not allowed"
        return AuthError(f"{line}: {why}", request_id=request_id)
    if status == 409:
        return NameTaken(f"{line}: a runner of this name exists", status=status, request_id=request_id)
    return Rejected(line, status=status, request_id=request_id)


def told(response: httpx.Response, read: Callable[[Any], T], otherwise: type[BridgeError] = Unavailable) -> T:
    """What a successful answer says.

    Args:
        response: of any status below 500.
        read: takes the answer's JSON.
        otherwise: the error for one of 2xx that cannot be read, such as a proxy's HTML.

    Raises:
        BridgeError: `otherwise`, or what an answer of another status stands for.
    """
    if not response.is_success:
        raise refusal(response)
    try:
        value = response.json()
        if not isinstance(value, dict | list):
            raise ValueError("neither an object nor an array")
        return read(value)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        kind = response.headers.get("content-type", "no content type")  # its body stays untold
        line = _line(response.request.method, response.request.url.path, response)
        raise otherwise(f"{line}, unreadable ({kind})", request_id=_request_id(response)) from None


def _number(response: httpx.Response, header: str) -> int | None:
    """A header's number; None if it is none, or so long that it can be no time."""
    text = response.headers.get(header, "")
    return int(text) if text.isdecimal() and len(text) <= 10 else None


def _line(method: str, path: str, response: httpx.Response) -> str:
    return f"GitHub: {method} {path}: {response.status_code}"


def _request_id(response: httpx.Response) -> str | None:
    request_id: str | None = response.headers.get("x-github-request-id")
    return request_id


def _utc(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at))

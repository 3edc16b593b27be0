"""HTTP to GitHub's REST API: retries, rate limits, and an error for each failure."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx

from bridge import __version__
from bridge.errors import OutcomeUnknown, Paced, RateLimited, Rejected, Unavailable
from bridge.github.answers import described, number, request_id_of, retry_at
from bridge.github.clock import GitHubClock
from bridge.github.pacing import RESERVE, Pace, Priority
from bridge.github.timing import DEFAULT_TIMING, GitHubTiming

CONCURRENT_CALLS = 20
"""GitHub allows 100. httpx searches all connections at each call, and a registration takes about 0.2 s."""

PACED_CALLS = 15
"""How many of them may be paced calls, so that a registration never waits for a connection."""

MOST_REDIRECTS = 5
"""Redirects of one call. GitHub sends one for a repository that was renamed."""

RETRIES = 2
"""Retries of a call that can be repeated safely."""

LIMITS = httpx.Limits(max_connections=CONCURRENT_CALLS, max_keepalive_connections=CONCURRENT_CALLS)
TIMEOUT = httpx.Timeout(10.0, pool=60.0)

_HEADERS = {
    "Accept": "application/vnd.github+json",
    "X-GitHub-Api-Version": "2022-11-28",
    "User-Agent": f"runpod-actions-bridge/{__version__}",
}
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError, httpx.UnsupportedProtocol)


def http_client(clock: GitHubClock | None = None) -> httpx.AsyncClient:
    """An HTTP client with our limits. It follows no redirects: `Transport` follows them within GitHub's origin.

    Args:
        clock: learns the time from GitHub's answers.
    """
    hooks: dict[str, list[Callable[..., Any]]] = (
        {"request": [clock.on_request], "response": [clock.on_response]} if clock else {}
    )
    return httpx.AsyncClient(limits=LIMITS, timeout=TIMEOUT, headers=_HEADERS, event_hooks=hooks)


class Transport:
    """Sends calls, at most CONCURRENT_CALLS at a time, and none while GitHub asks to wait.

    Args:
        http: made by `http_client`, or a client with its own limits.
        api_url: such as `https://api.github.com`.
        timing: the clock and the waiting times.
    """

    def __init__(self, http: httpx.AsyncClient, api_url: str, timing: GitHubTiming = DEFAULT_TIMING) -> None:
        self._http = http
        self._api_url = api_url.rstrip("/")
        self._timing = timing
        self._clock = timing.clock
        self._pace = Pace()
        self._slots = asyncio.Semaphore(CONCURRENT_CALLS)
        self._paced_slots = asyncio.Semaphore(PACED_CALLS)
        self._resume_at = 0.0
        self._paced_resume_at = 0.0
        self._strikes = 0
        self._limited_at = 0.0
        self.calls: Counter[str] = Counter(total=0, not_modified=0)

    @property
    def calls_left(self) -> int | None:
        """Calls that GitHub allows until its hourly limit is reset; None if no answer has said so."""
        return self._pace.remaining

    def url(self, path: str) -> str:
        """The full URL of an API path or of a link to a next page.

        Raises:
            Rejected: the link leads to another origin, which must not see a token.
        """
        if path.startswith("/"):
            return f"{self._api_url}{path}"
        self._refuse_elsewhere(path)
        return path

    async def send(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: Any = None,
        *,
        priority: Priority = Priority.REGISTRATION,
    ) -> httpx.Response:
        """Send a call that can be repeated safely, and retry it while GitHub is unavailable.

        Args:
            method: the HTTP method.
            path: of the API, or a full URL.
            headers: in addition to those of every call.
            body: sent as JSON.
            priority: calls for registrations are sent at once. Others are paced, so that they leave most of GitHub's
                rate limits to registrations; those that read a known job go before the rest.

        Returns:
            The answer, with any status below 500 that is not a rate limit.

        Raises:
            Paced: the call would wait longer than `longest_pause`; it was not sent.
            RateLimited, Unavailable: see bridge.errors.
        """
        if priority is Priority.REGISTRATION:
            return await self._retried(method, path, headers, body, priority)
        await self._wait_for_turn(priority)
        async with self._paced_slots:
            self._refuse_until(self._paced_resume_at, "the rest of the rate limit is reserved for registrations")
            return await self._retried(method, path, headers, body, priority)

    async def send_once(self, path: str, headers: Mapping[str, str], body: Any) -> httpx.Response:
        """POST a call that must never be repeated.

        Raises:
            OutcomeUnknown: it was sent and no answer came; it may have been done.
            RateLimited, Unavailable: it was not done.
        """
        try:
            response = await self._send("POST", path, headers, body, Priority.REGISTRATION)
        except _NEVER_SENT as error:
            raise Unavailable(_no_answer("POST", path, error)) from None
        except httpx.HTTPError as error:
            raise OutcomeUnknown(f"{_no_answer('POST', path, error)}; it may have been done") from None
        if response.status_code >= 500:
            raise OutcomeUnknown(f"{described(response)}; it may have been done", request_id=request_id_of(response))
        return response

    async def _wait_for_turn(self, priority: Priority) -> None:
        ends_at = self._clock() + self._timing.longest_pause
        while (now := self._clock()) >= self._paced_resume_at and (wait := self._pace.wait(priority, now)) > 0:
            if now + wait > ends_at:
                raise Paced(
                    "GitHub: call not sent, to leave the rest of the rate limit to registrations", retry_at=now + wait
                )
            await self._timing.sleep(wait)

    async def _retried(
        self, method: str, path: str, headers: Mapping[str, str], body: Any, priority: Priority
    ) -> httpx.Response:
        for wait in self._retry_waits():
            try:
                return await self._answered(method, path, headers, body, priority)
            except Unavailable:
                await self._timing.sleep(wait)
        return await self._answered(method, path, headers, body, priority)

    def _retry_waits(self) -> Iterator[float]:
        return (self._timing.retry_wait * self._timing.jitter(0.5, 1.5) * 4**number for number in range(RETRIES))

    async def _answered(
        self, method: str, path: str, headers: Mapping[str, str], body: Any, priority: Priority
    ) -> httpx.Response:
        try:
            response = await self._send(method, path, headers, body, priority)
        except httpx.HTTPError as error:
            raise Unavailable(_no_answer(method, path, error)) from None
        if response.status_code >= 500:
            raise Unavailable(
                f"{described(response)}; see https://www.githubstatus.com", request_id=request_id_of(response)
            )
        return response

    async def _send(
        self, method: str, path: str, headers: Mapping[str, str], body: Any, priority: Priority
    ) -> httpx.Response:
        async with self._slots:
            self._refuse_until(self._resume_at, "GitHub asked to wait")
            sent_at = self._clock()
            self._pace.sent(method, sent_at, priority)
            response = await self._counted(method, path, headers, body)
        self._note_reserve(response)
        if response.status_code in (403, 429):
            self._note_limit(response, sent_at)
        elif response.status_code < 400 and sent_at >= self._limited_at:
            self._strikes = 0
        return response

    async def _counted(self, method: str, path: str, headers: Mapping[str, str], body: Any) -> httpx.Response:
        """Send once, and count the call unless GitHub cannot have received it."""
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
        """Refuse a URL of another origin in an answer: that origin would receive the token or the App's JWT."""
        try:
            there, here = (httpx.URL(each) for each in (url, self._api_url))
        except httpx.InvalidURL:
            raise Rejected("GitHub: a link in an answer is not a URL", status=421) from None
        if (there.scheme, there.host, there.port) != (here.scheme, here.host, here.port):
            raise Rejected(
                f"GitHub: a link in an answer leads to {there.scheme}://{there.netloc.decode()} and was not followed; "
                "set GITHUB_API_URL to the address that GitHub uses in its links",
                status=421,
            )

    def _note_reserve(self, response: httpx.Response) -> None:
        limit, left, reset = (number(response, f"x-ratelimit-{name}") for name in ("limit", "remaining", "reset"))
        if limit is None or left is None or reset is None:
            return
        self._pace.learn(limit, left, reset)
        if left < limit * RESERVE:
            self._paced_resume_at = min(reset, self._clock() + self._timing.longest_limit)

    def _refuse_until(self, until: float, why: str) -> None:
        """Refuse to send. The error does not name the call: many calls that are not sent are one problem."""
        if self._clock() < until:
            raise RateLimited(f"GitHub: call not sent: {why} until {_utc(until)}", retry_at=until)

    def _note_limit(self, response: httpx.Response, sent_at: float) -> None:
        # Calls that were sent before a limit was known reach the same limit, not the next one.
        strikes = max(0, self._strikes - (sent_at < self._limited_at))
        until = retry_at(response, strikes, self._clock(), self._timing)
        if until is None:
            return
        self._strikes, self._limited_at = strikes + 1, self._clock()
        self._resume_at = max(self._resume_at, until)
        raise RateLimited(
            f"{described(response)}: rate limit reached; no calls until {_utc(self._resume_at)}",
            retry_at=self._resume_at,
            request_id=request_id_of(response),
        )


def _no_answer(method: str, path: str, error: httpx.HTTPError) -> str:
    what = "could not be sent" if isinstance(error, _NEVER_SENT) else "no answer"
    return f"GitHub: {method} {path}: {what} ({type(error).__name__}); check the network and the proxy"


def _utc(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at))

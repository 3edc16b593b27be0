"""HTTP to RunPod's REST API v2: limits, retries, and a named error for each kind of failure.

https://docs.runpod.io/api-reference-v2/overview describes errors (`application/problem+json`) and rate limits.
"""

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import httpx

from bridge import __version__
from bridge.errors import AuthError, BridgeError, OutcomeUnknown, RateLimited, Rejected, Unavailable

DEADLINE = 30.0
"""s for one call, with the whole answer."""

LARGEST_ANSWER = 8 * 1024 * 1024
"""Bytes; the catalog, the largest list, has some 200 kB."""

RETRIES = 2
"""Further tries of a call that changes nothing."""

RETRY_WAIT = 0.5
"""s before the first further try, doubled before the next."""

LONGEST_PAUSE = 65.0
"""s to wait for a rate limit: RunPod's shortest window is a minute. A longer wait is an error instead."""

LIMITED_TRIES = 3
"""How often a call is sent that is answered with 429."""

LONGEST_TEXT = 300
"""Characters that are shown of a text from RunPod."""

_NEVER_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,  # such as a key that no header can hold
    httpx.InvalidURL,
    UnicodeEncodeError,
)
_WINDOW = re.compile(r'"(\w+)"((?:\s*;\s*\w+=\d{1,9})+)')


class _Unreadable(Exception):
    """An answer that is too large, too slow, or not what the API answers."""


def http_client() -> httpx.AsyncClient:
    """A client with our limits. It follows no redirect, since the key would go with it."""
    headers = {"Accept": "application/json", "User-Agent": f"runpod-actions-bridge/{__version__}"}
    return httpx.AsyncClient(timeout=httpx.Timeout(10.0, read=DEADLINE), headers=headers, follow_redirects=False)


class ManagementHttp:
    """Sends calls, one after the other, and none while RunPod asks to wait.

    Args:
        http: made by `http_client`.
        api_key: secret.
        base_url: such as `https://api.runpod.io`.
        key_setting: the setting that the key comes from, for errors.
        clock: Unix seconds.
        sleep: waits so many seconds of that clock.
        deadline: s for one call.
    """

    def __init__(  # noqa: PLR0913 - all but the first three are for tests and errors
        self,
        http: httpx.AsyncClient,
        *,
        api_key: str,
        base_url: str,
        key_setting: str = "RUNPOD_MANAGEMENT_API_KEY",
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        deadline: float = DEADLINE,
    ) -> None:
        self._http = http
        self._api_key = api_key
        self._base_url = base_url.rstrip("/")
        self._key_setting = key_setting
        self._clock = clock
        self._sleep = sleep
        self._deadline = deadline
        self._resume_at = 0.0
        self._turn = asyncio.Lock()
        self.calls: Counter[str] = Counter()

    async def read(self, path: str, params: Mapping[str, str] | None = None) -> Any:
        """GET, repeated if RunPod is unavailable; the answer's JSON.

        Raises:
            Unavailable: no readable answer came.
            AuthError, RateLimited, Rejected: see bridge.errors.
        """
        for tries_left in range(RETRIES, -1, -1):
            try:
                return await self._call("GET", path, params=params)
            except Unavailable:
                if not tries_left:
                    raise
            await self._sleep(RETRY_WAIT * 2 ** (RETRIES - tries_left))
        raise AssertionError("unreachable")

    async def change(self, method: str, path: str, body: Any = None) -> Any:
        """POST, PATCH or DELETE, sent once; the answer's JSON, None if it has no body.

        Raises:
            OutcomeUnknown: no readable answer came; it may have been done.
            AuthError, RateLimited, Rejected, Unavailable: it was not done.
        """
        return await self._call(method, path, body=body)

    async def _call(self, method: str, path: str, *, params: Mapping[str, str] | None = None, body: Any = None) -> Any:
        line = f"RunPod: {method} {path}"
        async with self._turn:
            status, headers, content = await self._sent_when_allowed(line, method, path, params, body)
        if status >= 500:
            raise _unclear(method, f"{line}: HTTP {status}{self._told(content)}")
        if not 200 <= status < 300:
            raise self._refusal(line, status, content)
        if status == 204:
            return None
        return _parsed(method, line, headers, content)

    async def _sent_when_allowed(
        self, line: str, method: str, path: str, params: Mapping[str, str] | None, body: Any
    ) -> tuple[int, httpx.Headers, bytes]:
        """Send a call, again after each 429, which says that nothing was done."""
        for _ in range(LIMITED_TRIES):
            answer = await self._sent(line, method, path, params, body)
            if answer[0] != 429:
                return answer
            retry_at = self._clock() + retry_after(answer[1])
            await self._wait(line, retry_at)
        raise RateLimited(f"{line}: rate limit of RunPod, {LIMITED_TRIES} times; try again later", retry_at=retry_at)

    async def _sent(
        self, line: str, method: str, path: str, params: Mapping[str, str] | None, body: Any
    ) -> tuple[int, httpx.Headers, bytes]:
        await self._wait(line, self._resume_at)
        self.calls[f"{method} {path}"] += 1
        try:
            async with asyncio.timeout(self._deadline):
                answer = await self._answer(method, path, params, body)
        except _NEVER_SENT as error:
            raise Unavailable(f"{line}: nothing was sent ({type(error).__name__})") from None
        except TimeoutError:
            raise _unclear(method, f"{line}: no complete answer within {self._deadline:.0f} s") from None
        except _Unreadable as error:
            raise _unclear(method, f"{line}: {error}") from None
        except httpx.HTTPError as error:
            raise _unclear(method, f"{line}: no readable answer ({type(error).__name__})") from None
        self._note_limits(answer[1])
        return answer

    async def _answer(
        self, method: str, path: str, params: Mapping[str, str] | None, body: Any
    ) -> tuple[int, httpx.Headers, bytes]:
        headers = {"Authorization": f"Bearer {self._api_key}"}
        url, content = f"{self._base_url}{path}", bytearray()
        async with self._http.stream(method, url, params=params, json=body, headers=headers) as response:
            async for part in response.aiter_bytes():
                content += part
                if len(content) > LARGEST_ANSWER:
                    raise _Unreadable(f"the answer is larger than {LARGEST_ANSWER // 2**20} MiB")
        return response.status_code, response.headers, bytes(content)

    async def _wait(self, line: str, until: float) -> None:
        """Wait for a rate limit; nothing is sent before."""
        wait = until - self._clock()
        if wait > LONGEST_PAUSE:
            raise RateLimited(f"{line}: rate limit of RunPod; try again in {wait:.0f} s", retry_at=until)
        if wait > 0:
            await self._sleep(wait)

    def _note_limits(self, headers: httpx.Headers) -> None:
        """Note when the next call may be sent, if a window has no call left."""
        for _window, parameters in _WINDOW.findall(headers.get("ratelimit", "")):
            values = dict(part.strip().split("=") for part in parameters.split(";") if part.strip())
            if values.get("r") == "0" and "t" in values:
                self._resume_at = max(self._resume_at, self._clock() + int(values["t"]))

    def _refusal(self, line: str, status: int, content: bytes) -> BridgeError:
        told = self._told(content)
        if status == 401:
            return AuthError(f"{line}: 401, {self._key_setting} was refused; create a key in RunPod's console{told}")
        if status == 403:
            return AuthError(f"{line}: 403, {self._key_setting} may not do this; give it the permission{told}")
        if status < 400:
            return Rejected(f"{line}: {status}, a redirect, is not followed; correct the URL", status=status)
        return Rejected(f"{line}: {status}{told}", status=status)

    def _told(self, content: bytes) -> str:
        """What a problem document says, as one line; nothing of any other body."""
        try:
            problem = json.loads(content)
            errors = problem.get("errors") or []
            parts = [problem.get("title"), problem.get("detail"), *(errors if isinstance(errors, list) else [])]
        except (ValueError, AttributeError, RecursionError):
            return ""
        texts = [self._shown(part) for part in parts if isinstance(part, str) and part.strip()]
        return f": {'; '.join(dict.fromkeys(texts))}"[:LONGEST_TEXT] if texts else ""

    def _shown(self, text: str) -> str:
        line = " ".join(text.replace(self._api_key, "***").split())
        return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)


def _unclear(method: str, message: str) -> BridgeError:
    """The error of a call that was sent and not answered as it should be."""
    if method == "GET":
        return Unavailable(message)
    return OutcomeUnknown(f"{message}; it may have been done")


def retry_after(headers: httpx.Headers) -> float:
    """S to wait after a 429."""
    value = headers.get("retry-after", "")
    return max(1.0, float(value)) if value.isdecimal() and len(value) < 10 else 60.0


def _parsed(method: str, line: str, headers: httpx.Headers, content: bytes) -> Any:
    try:
        value = json.loads(content)
        if not isinstance(value, dict):
            raise ValueError("not an object")
    except (ValueError, RecursionError):
        kind = headers.get("content-type", "no content type").split(";")[0][:50]
        raise _unclear(method, f"{line}: the answer is not JSON ({kind}); is the URL right?") from None
    return value

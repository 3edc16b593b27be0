"""What an answer from GitHub means: a value, an error, or a rate limit. Pure."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, TypeVar

import httpx

from bridge.errors import AuthError, BridgeError, NameTaken, Rejected, Unavailable
from bridge.github.timing import GitHubTiming

T = TypeVar("T")


def value_of(response: httpx.Response, read: Callable[[Any], T], otherwise: type[BridgeError] = Unavailable) -> T:
    """The value of a successful answer.

    Args:
        response: with any status below 500.
        read: converts the answer's JSON.
        otherwise: the error for a 2xx answer that cannot be read, such as HTML from a proxy.

    Raises:
        BridgeError: `otherwise`, or the error that another status stands for.
    """
    if not response.is_success:
        raise error_of(response)
    try:
        value = response.json()
        if not isinstance(value, dict | list):
            raise ValueError("neither an object nor an array")
        return read(value)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        kind = response.headers.get("content-type", "no content type")  # the body may hold anything: it is not shown
        line = f"{described(response)}: unreadable answer ({kind}); if you use a proxy, check it"
        raise otherwise(line, request_id=request_id_of(response)) from None


def error_of(response: httpx.Response) -> BridgeError:
    """The error that an answer with status 3xx or 4xx stands for."""
    status, line, request_id = response.status_code, described(response), request_id_of(response)
    if status == 401:
        return AuthError(
            f"{line}: GitHub rejected the credentials; check GITHUB_PAT, or the App's client id and key",
            request_id=request_id,
        )
    if status == 403:
        needed = response.headers.get("x-accepted-github-permissions")
        grant = f"needs the permission {needed}; grant it to the App or token"
        return AuthError(
            f"{line}: {grant if needed else 'access denied; check what the App or token may do'}", request_id=request_id
        )
    if status == 404:
        return Rejected(
            f"{line}; it does not exist, or these credentials cannot see it", status=status, request_id=request_id
        )
    if status == 409:
        return NameTaken(f"{line}: a runner with this name exists", status=status, request_id=request_id)
    return Rejected(line, status=status, request_id=request_id)


def retry_at(response: httpx.Response, strikes: int, now: float, timing: GitHubTiming) -> float | None:
    """When calls may be sent again after a refusal, if it is a rate limit.

    Args:
        response: with status 403 or 429.
        strikes: rate limits in a row before this one.
        now: Unix seconds.
        timing: `unstated_limit` and `longest_limit`.

    Returns:
        Unix seconds; None if it is not a rate limit.
        https://docs.github.com/rest/using-the-rest-api/best-practices-for-using-the-rest-api
    """
    after, reset = number(response, "retry-after"), number(response, "x-ratelimit-reset")
    if after is not None:
        return now + min(after, timing.longest_limit)
    spent = response.headers.get("x-ratelimit-remaining") == "0"
    if spent and reset is not None and reset > now:
        return min(reset, now + timing.longest_limit)
    # A secondary limit may be a 403 with calls remaining: only the message shows it.
    if spent or response.status_code == 429 or "rate limit" in response.text.lower():
        return now + timing.unstated_limit * 2.0 ** min(strikes, 4)
    return None


def number(response: httpx.Response, header: str) -> int | None:
    """The number in a header; None if it is not a number, or has too many digits for a time."""
    text = response.headers.get(header, "")
    return int(text) if text.isdecimal() and len(text) <= 10 else None


def described(response: httpx.Response) -> str:
    """The call and its status, such as `GitHub: GET /user: 404 Not Found`."""
    status, request = response.status_code, response.request
    phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else ""
    return f"GitHub: {request.method} {request.url.path}: {status} {phrase}".rstrip()


def request_id_of(response: httpx.Response) -> str | None:
    """GitHub's id of the request; its support asks for it."""
    request_id: str | None = response.headers.get("x-github-request-id")
    return request_id

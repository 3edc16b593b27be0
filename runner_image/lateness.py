"""Decides whether a request is too late to start a runner, even if this machine's clock is wrong."""

from email.utils import parsedate_to_datetime

from bridge.core.worker import Credentials
from runner_image.limits import LIMITS, Limits
from runner_image.request import RunnerRequest


async def is_late(request: RunnerRequest, now: float, limits: Limits = LIMITS) -> bool:
    """Whether the bridge no longer waits for this request. Its `not_after` is by GitHub's clock.

    If this machine's clock could be wrong about it, GitHub is asked for the time. A just-in-time runner is started
    in that case: if the bridge has given up the request, the registration is gone.

    Args:
        request: the request.
        now: Unix seconds by this machine's clock.
        limits: how wrong that clock can be, and how long to wait for GitHub.
    """
    if request.not_after is None:
        return False
    if abs(now - request.not_after) > limits.clock_error:
        return now > request.not_after
    if request.mode is Credentials.JIT:
        return False
    githubs = await _githubs_time(request.url or "", limits.clock_answer)
    return (now if githubs is None else githubs) > request.not_after


async def _githubs_time(url: str, limit: float) -> float | None:
    """Unix seconds by GitHub's clock; None without an answer."""
    import httpx  # most requests do not need it, and start faster without it

    try:
        async with httpx.AsyncClient(timeout=limit) as http:
            response = await http.head(url)
        return parsedate_to_datetime(response.headers.get("date", "")).timestamp()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, OverflowError):
        return None

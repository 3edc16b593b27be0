"""Whether a request comes too late to start a runner, although no two machines' clocks need agree."""

import time
from email.utils import parsedate_to_datetime

from bridge.core.worker import Credentials
from runner_image.request import RunnerRequest

CLOCKS_DIFFER = 900.0
"""s by which this worker's clock may be off."""

ANSWER_LIMIT = 5.0
"""s for GitHub to tell the time."""


async def is_late(request: RunnerRequest) -> bool:
    """Whether the bridge no longer waits for this request. Its `not_after` is by GitHub's clock.

    Where this worker's clock may be wrong about it, GitHub is asked for the time. A just-in-time runner is started
    then: if the bridge has given it up, its registration is gone.
    """
    if request.not_after is None:
        return False
    now = time.time()
    if abs(now - request.not_after) > CLOCKS_DIFFER:
        return now > request.not_after
    if request.mode is Credentials.JIT:
        return False
    there = await _time_there(request.url or "")
    return (now if there is None else there) > request.not_after


async def _time_there(url: str) -> float | None:
    """GitHub's clock, in Unix seconds; None if it does not tell."""
    import httpx  # here, because most requests start without it

    try:
        async with httpx.AsyncClient(timeout=ANSWER_LIMIT) as http:
            response = await http.head(url)
        return parsedate_to_datetime(response.headers.get("date", "")).timestamp()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, OverflowError):
        return None

"""`bridge doctor --self-test`: one request for each endpoint, which runs no job."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

from bridge.commands.doctor.check import Check, failed, skipped
from bridge.commands.doctor.clients import endpoint_names, requests
from bridge.commands.doctor.context import Context
from bridge.commands.doctor.runpod_keys import in_two
from bridge.commands.doctor.self_test_answer import RUNNER, SELF_TEST, answered, unanswered
from bridge.core.model import Request, RequestStatus, SelfTestRequest
from bridge.errors import BridgeError, RateLimited, Unavailable
from bridge.runpod.requests import RunPod

EXECUTION_TIMEOUT = 120.0
"""s that a self-test may run."""

MARGIN = 60.0
"""s for which RunPod keeps the request after the wait, so that it can still say what became of it."""

POLL = 2.0
"""s between two looks at a request."""

UNENDED = (RequestStatus.IN_QUEUE, RequestStatus.IN_PROGRESS, RequestStatus.MISSING)
"""RunPod may answer 404 for a request that it has just accepted."""

Show = Callable[[str], None]
Work = Callable[[Context], Awaitable[list[Check]]]


def self_tests(wait: float, show: Show) -> Work:
    """The checks of all endpoints that routes use, each by one worker.

    Args:
        wait: s for each answer.
        show: called with a line of progress.
    """

    async def checks(context: Context) -> list[Check]:
        names = endpoint_names(context)
        show(f"--self-test starts one worker on each of {', '.join(names.values())}, which RunPod bills")
        # Not asyncio.gather: after Ctrl-C it would not wait until each request is cancelled.
        async with requests(context) as client, asyncio.TaskGroup() as group:
            tasks = [group.create_task(_tested(client, id_, name, wait, show)) for id_, name in names.items()]
        return [check for task in tasks for check in task.result()]

    return checks


async def not_tested(_context: Context) -> list[Check]:
    """What only a self-test can check."""
    return [skipped(RUNNER, "only a worker knows its runner's version", fix="run `bridge doctor --self-test`")]


async def _tested(client: RunPod, endpoint: str, name: str, wait: float, show: Show) -> list[Check]:
    began = time.monotonic()
    try:
        request = await _submitted(client, endpoint, ttl=wait + MARGIN)
    except BridgeError as error:
        return [failed(SELF_TEST, *in_two(error), subject=name)]
    try:
        seen = await _last_seen(client, request, began + wait)
        if seen is None or seen.status in UNENDED:
            return [await _given_up(client, request, seen, name, wait)]
    except BridgeError as error:
        await _cancel(client, request)
        return [failed(SELF_TEST, *in_two(error), subject=name)]
    except asyncio.CancelledError:
        await asyncio.shield(_cancel(client, request))
        raise
    seconds = time.monotonic() - began
    show(f"{name}: the worker answered after {seconds:.0f} s")
    return list(answered(name, seen, seconds))


async def _submitted(client: RunPod, endpoint: str, ttl: float) -> SelfTestRequest:
    """Send the request. If this task is cancelled meanwhile, the answer is awaited, and the request is cancelled."""
    sending = asyncio.ensure_future(client.submit_self_test(endpoint, execution_timeout=EXECUTION_TIMEOUT, ttl=ttl))
    try:
        return await asyncio.shield(sending)
    except asyncio.CancelledError:
        with contextlib.suppress(BridgeError):
            await _cancel(client, await sending)
        raise


async def _last_seen(client: RunPod, request: SelfTestRequest, until: float) -> Request | None:
    """The request when it has ended, or at the end of the time; None if RunPod could not be asked."""
    seen = None
    while True:
        with contextlib.suppress(RateLimited, Unavailable):  # asked again, until the time is over
            seen = await client.status(request.endpoint, request.request_id)
            if seen.status not in UNENDED:
                return seen
        left = until - time.monotonic()
        if left <= 0:
            return seen
        await asyncio.sleep(min(POLL, left))


async def _given_up(client: RunPod, request: SelfTestRequest, seen: Request | None, name: str, wait: float) -> Check:
    """Why there was no answer; the request is cancelled, so that no worker starts for it any more."""
    try:
        health = await client.health(request.endpoint)
    except BridgeError:
        health = None
    await _cancel(client, request)
    return unanswered(name, seen, health, wait)


async def _cancel(client: RunPod, request: SelfTestRequest) -> None:
    """Cancel it. If that fails, its ttl ends it soon."""
    with contextlib.suppress(BridgeError):
        await client.cancel(request)

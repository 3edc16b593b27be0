"""How the commands stop at a signal."""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any

STOPPED = 128 + signal.SIGINT
"""The exit status of a command that a signal ended."""


def stop_event(*, hang_up: bool = False) -> asyncio.Event:
    """An event that SIGINT or SIGTERM sets, even if a shell started this process with SIGINT ignored.

    Args:
        hang_up: SIGHUP sets it, too, unless the process was started with nohup.
    """
    stop = asyncio.Event()
    numbers = [signal.SIGINT, signal.SIGTERM]
    if hang_up and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    for number in numbers:
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


async def until_stopped(work: Coroutine[Any, Any, int]) -> int:
    """Run `work`, or cancel it at a signal and wait until it has cleaned up.

    Returns:
        The exit status: that of `work`, or STOPPED.
    """
    task = asyncio.create_task(work)
    stopped = asyncio.create_task(stop_event(hang_up=True).wait())
    await asyncio.wait((task, stopped), return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    task.cancel()
    try:
        return await task
    except asyncio.CancelledError:
        return STOPPED


async def is_set_within(seconds: float, event: asyncio.Event) -> bool:
    """Wait until the event is set, but at most `seconds`; whether it is set."""
    try:
        return await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return event.is_set()

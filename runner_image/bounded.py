"""Runs work that may never return, such as file work on a network volume."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


class Late(Exception):
    """The work has not ended in time; says so in one line."""


async def in_time(work: Callable[[], T], limit: float) -> T:
    """Run `work` in a thread of its own, and wait for its result.

    Nothing can end a thread that waits in the kernel. It is a daemon, so that the process can exit without it: Python
    waits for the threads of `asyncio.to_thread`.

    Args:
        work: what to do. It may go on after this function has raised Late.
        limit: s to wait.

    Raises:
        Late: it has not ended.
    """
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()
    threading.Thread(target=_settle, args=(future, work), daemon=True).start()
    waiting = asyncio.wrap_future(future)
    await asyncio.wait([waiting], timeout=limit)
    if waiting.done():
        return waiting.result()
    waiting.cancel()
    raise Late(f"it took longer than {limit:g} s")


def _settle(future: "Future[T]", work: Callable[[], T]) -> None:
    try:
        future.set_result(work())
    except BaseException as error:
        future.set_exception(error)

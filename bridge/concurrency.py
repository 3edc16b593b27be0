"""Makes many calls, a limited number at a time."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

AT_ONCE = 32
"""Calls at a time. The clients allow fewer; a task for each of thousands of calls would only use memory."""

T = TypeVar("T")
K = TypeVar("K")


async def each(keys: Iterable[K], call: Callable[[K], Awaitable[T]]) -> dict[K, T]:
    """Make a call for each of `keys`, AT_ONCE at a time; return the results by key.

    Raises:
        Exception: the first error of a call. No further calls are started then.
    """
    results: dict[K, T] = {}
    given = tuple(keys)
    left = iter(given)

    async def one_by_one() -> None:
        for key in left:
            results[key] = await call(key)

    try:
        await asyncio.gather(*(one_by_one() for _ in given[:AT_ONCE]))
    finally:
        for _ in left:  # after an error, the other tasks must find no key to start
            pass
    return results

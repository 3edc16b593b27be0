"""Makes many calls, a limited number at a time."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

AT_ONCE = 32
"""Calls at a time. The clients allow fewer; a task for each of thousands of calls would only use memory."""

T = TypeVar("T")
K = TypeVar("K")


async def each(keys: Iterable[K], call: Callable[[K], Awaitable[T]]) -> dict[K, T]:
    """Make a call for each of `keys`, AT_ONCE at a time; return the results by key, in the order of `keys`.

    Raises:
        Exception: the first error of a call. All other calls have ended then: those under way are cancelled.
    """
    given = tuple(keys)
    results: dict[K, T] = {}
    left = iter(given)

    async def one_by_one() -> None:
        for key in left:
            results[key] = await call(key)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in given[:AT_ONCE]:
                group.create_task(one_by_one())
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return {key: results[key] for key in given}

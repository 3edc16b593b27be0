"""Many calls, some at a time."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

AT_ONCE = 32
"""Calls at a time. The clients allow fewer, and a task for each of thousands would weigh more than the answers."""

T = TypeVar("T")
K = TypeVar("K")


async def each(keys: Iterable[K], call: Callable[[K], Awaitable[T]]) -> dict[K, T]:
    """Call for each of `keys`, AT_ONCE at a time.

    Raises:
        Exception: the first that a call raised; those that have not begun are not begun.
    """
    found: dict[K, T] = {}
    asked = tuple(keys)
    left = iter(asked)

    async def one_by_one() -> None:
        for key in left:
            found[key] = await call(key)

    try:
        await asyncio.gather(*(one_by_one() for _ in asked[:AT_ONCE]))
    finally:
        for _ in left:
            pass
    return found

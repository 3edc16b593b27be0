"""A cache of values that expire. Concurrent requests for a missing value share one call that makes it."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from contextlib import suppress
from typing import Generic, TypeVar

from cachetools import TLRUCache

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class FlightCache(Generic[K, V]):
    """A cache with one call in flight per key: all that need a missing value wait for the same call.

    Args:
        use_until: Unix seconds until which a value may be used.
        clock: returns Unix seconds.
    """

    def __init__(self, use_until: Callable[[V], float], clock: Callable[[], float]) -> None:
        self._values: TLRUCache[K, V] = TLRUCache(
            maxsize=1024, ttu=lambda _key, value, _now: use_until(value), timer=clock
        )
        self._flights: dict[K, asyncio.Task[V]] = {}

    async def get(self, key: K, make: Callable[[], Awaitable[V]]) -> V:
        """The value of `key`. `make` is called if there is none; a failure is not cached."""
        with suppress(KeyError):  # no test with `in` first: the value may expire in between
            return self._values[key]
        flight = self._flights.get(key)
        if flight is None:
            flight = asyncio.ensure_future(self._fly(key, make))
            self._flights[key] = flight
        # Shielded: if one waiting task is cancelled, the others still get the value.
        return await asyncio.shield(flight)

    async def _fly(self, key: K, make: Callable[[], Awaitable[V]]) -> V:
        try:
            self._values[key] = value = await make()
        finally:
            del self._flights[key]
        return value

    def evict(self, key: K, value: V) -> None:
        """Remove `value`, unless a newer value has replaced it."""
        if self._values.get(key) == value:
            self._values.pop(key, None)

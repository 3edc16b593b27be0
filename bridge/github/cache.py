"""A cache of values that expire, each made by one flight at a time."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from contextlib import suppress
from typing import Generic, TypeVar

from cachetools import TLRUCache

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class FlightCache(Generic[K, V]):
    """Whoever asks for a missing value while it is being made waits for the same flight.

    Args:
        use_until: Unix seconds until which a value may be used.
        clock: Unix seconds.
    """

    def __init__(self, use_until: Callable[[V], float], clock: Callable[[], float]) -> None:
        self._values: TLRUCache[K, V] = TLRUCache(
            maxsize=1024, ttu=lambda _key, value, _now: use_until(value), timer=clock
        )
        self._flights: dict[K, asyncio.Task[V]] = {}

    async def get(self, key: K, make: Callable[[], Awaitable[V]]) -> V:
        """The value of `key`; made if there is none. A failed flight is not kept."""
        with suppress(KeyError):  # not `in` first: it may end in between
            return self._values[key]
        flight = self._flights.get(key)
        if flight is None:
            flight = asyncio.ensure_future(self._fly(key, make))
            self._flights[key] = flight
        # Shielded: one that stops waiting must not take the flight from the others.
        return await asyncio.shield(flight)

    async def _fly(self, key: K, make: Callable[[], Awaitable[V]]) -> V:
        try:
            self._values[key] = value = await make()
        finally:
            del self._flights[key]
        return value

    def evict(self, key: K, value: V) -> None:
        """Forget `value`, unless a newer one has taken its place."""
        if self._values.get(key) == value:
            self._values.pop(key, None)

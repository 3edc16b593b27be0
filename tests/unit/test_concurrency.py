"""Calls for many keys: all of them, so many at a time, and none more once one has failed."""

import asyncio

import pytest

from bridge.concurrency import AT_ONCE, each


class Calls:
    """Counts those under way, each of which takes a few turns of the loop."""

    def __init__(self) -> None:
        self.begun = self.in_hand = self.most_in_hand = 0

    async def square(self, key: int) -> int:
        self.begun += 1
        self.in_hand += 1
        self.most_in_hand = max(self.most_in_hand, self.in_hand)
        await asyncio.sleep(0.001)
        self.in_hand -= 1
        return key * key

    async def refuse(self, key: int) -> int:
        await self.square(key)
        raise ValueError(key)


@pytest.mark.parametrize("count", [0, 1, AT_ONCE, 5 * AT_ONCE + 1])
def test_each_key_gets_its_answer_and_only_so_many_calls_are_under_way(count: int) -> None:
    calls = Calls()
    assert asyncio.run(each(range(count), calls.square)) == {key: key * key for key in range(count)}
    assert (calls.begun, calls.most_in_hand) == (count, min(count, AT_ONCE))


def test_after_a_failure_no_further_call_is_begun() -> None:
    calls = Calls()

    async def main() -> None:
        with pytest.raises(ValueError):
            await each(range(5 * AT_ONCE), calls.refuse)
        await asyncio.sleep(0.02)

    asyncio.run(main())
    assert calls.begun == AT_ONCE

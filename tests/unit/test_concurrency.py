"""Many calls: a limited number runs at a time, and after a failure no further call starts."""

import asyncio

import pytest

from bridge.concurrency import AT_ONCE, each


class Calls:
    """Counts the calls that run. Each takes a few iterations of the event loop."""

    def __init__(self) -> None:
        self.begun = self.running = self.most_running = 0

    async def square(self, key: int) -> int:
        self.begun += 1
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        await asyncio.sleep(0.001)
        self.running -= 1
        return key * key

    async def refuse(self, key: int) -> int:
        await self.square(key)
        raise ValueError(key)


@pytest.mark.parametrize("count", [0, 1, AT_ONCE, 5 * AT_ONCE + 1])
def test_each_key_gets_its_result_and_the_number_of_running_calls_is_limited(count: int) -> None:
    calls = Calls()
    assert asyncio.run(each(range(count), calls.square)) == {key: key * key for key in range(count)}
    assert (calls.begun, calls.most_running) == (count, min(count, AT_ONCE))


def test_after_a_failure_no_further_call_starts() -> None:
    calls = Calls()

    async def main() -> None:
        with pytest.raises(ValueError):
            await each(range(5 * AT_ONCE), calls.refuse)
        await asyncio.sleep(0.02)

    asyncio.run(main())
    assert calls.begun == AT_ONCE


def test_after_a_failure_no_call_is_left_running() -> None:
    ended: list[int] = []

    async def call(key: int) -> None:
        if key == 0:
            raise ValueError(key)
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)  # such as closing a connection
            ended.append(key)

    async def main() -> None:
        with pytest.raises(ValueError, match="0"):
            await each(range(3), call)
        assert sorted(ended) == [1, 2]

    asyncio.run(main())


def test_results_are_in_the_order_of_the_keys() -> None:
    async def call(key: int) -> int:
        await asyncio.sleep(0.003 * key)
        return key

    assert list(asyncio.run(each([2, 0, 1], call))) == [2, 0, 1]

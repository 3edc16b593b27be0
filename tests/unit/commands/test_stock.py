"""The stock that the dashboard shows: read now and then, and never shown when it may be wrong."""

import asyncio
from dataclasses import replace

from bridge.commands.stock import READ_EVERY, Stocks
from bridge.emulator.runpod import Account, EndpointConfig, RunPodState, runpod_emulator
from tests.support.background import until_async
from tests.support.clock import Clock
from tests.support.dashboard import a_config
from tests.support.values import a_route

KEY = "rpa_managementkey"


def test_stock_is_read_at_most_every_few_minutes_and_forgotten_when_it_cannot_be_read() -> None:
    async def main() -> None:
        clock, state = Clock(), RunPodState({"ep-1": EndpointConfig()})
        async with runpod_emulator(
            state, api_key="rpa_k", images={}, account=Account(state), management_key=KEY
        ) as runpod:
            config = replace(
                a_config("sqlite://", routes=[a_route()]), management_api_key=KEY, management_url=runpod.management_url
            )
            stocks = Stocks(config, clock)
            assert stocks.known() == {}
            await until_async(stocks.known)
            assert list(stocks.known()) == ["ep-1"]
            calls = runpod.management.calls.total()
            clock.now += READ_EVERY - 1
            assert stocks.known()
            await asyncio.sleep(0.05)
            assert runpod.management.calls.total() == calls
        clock.now += 1  # the service has stopped
        stocks.known()
        await until_async(lambda: not stocks.known())
        await stocks.close()

    asyncio.run(main())


def test_without_a_management_key_nothing_is_read() -> None:
    stocks = Stocks(a_config("sqlite://"), Clock())
    assert stocks.known() == {}
    asyncio.run(stocks.close())

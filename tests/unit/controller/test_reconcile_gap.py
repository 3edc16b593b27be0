"""A ledger that was made, lost or restored does not know what happened before its first reading."""

import asyncio
from typing import Any

from bridge.controller.reconcile import Reconciler
from bridge.ledger import Ledger
from tests.support.values import TIMING
from tests.unit.controller.test_apply import SCOPE, Outside


def test_the_first_reading_after_a_gap_is_noted_and_the_next_ones_are_not(database_url: str) -> None:
    outside = Outside()
    outside.jobs = []
    ledger = Ledger.open(database_url)
    made: Any = outside
    reconciler = Reconciler(SCOPE, made, made, ledger, None, clock=outside.time)

    async def resumed_at() -> int:
        await reconciler.resync()
        resumed = (await ledger.read(lambda transaction: transaction.readings())).resumed
        assert resumed
        return round(resumed.at)

    async def main() -> None:
        begin = round(outside.now)
        assert await resumed_at() == begin
        outside.now += TIMING.list_stale - 30
        assert await resumed_at() == begin
        outside.now += TIMING.list_stale + 1
        assert await resumed_at() == round(outside.now) > begin

    asyncio.run(main())
    ledger.close()

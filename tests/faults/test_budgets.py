"""A budget holds although several dispatchers decide at the same time."""

import asyncio
import time
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from bridge.core.budget import ALL, Raise
from bridge.core.cost import Usage, cost_of, midnight
from bridge.core.prices import Prices
from bridge.core.submissions import OPEN_STATES
from bridge.ledger import Ledger
from tests.faults.deployment import Deployment, deployment
from tests.support.background import until
from tests.support.postgres import Postgres

BUDGET, WORKERS = 6.0, 4
"""USD a day at one USD a second, and runners at a time."""

LEASE = 30.0
"""s for which a claim is left alone. A registration whose answer was lost holds its job for so long."""

LATE = 1.0
"""s after a job's end in which RunPod may tell that its request took a little longer than the bridge saw."""


def usages_and_prices(url: str) -> tuple[tuple[Usage, ...], Prices]:
    with closing(Ledger.open(url)) as ledger:
        return asyncio.run(ledger.read(lambda transaction: (transaction.costs.usages(0.0), transaction.costs.prices())))


def held(made: Deployment, url: str) -> bool:
    """Whether jobs wait although there were runners and none is open: so it is for as long as a budget is used up."""
    if not made.submissions(url):
        return False
    waiting = any(job.status == "queued" for job in made.jobs)
    return waiting and not any(each.state in OPEN_STATES for each in made.submissions(url))


def lasts(made: Deployment, url: str, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not held(made, url):
            return False
        time.sleep(0.1)
    return True


def raise_budget(url: str) -> None:
    now = time.time()
    raised = Raise(route=ALL, usd=1e6, until=now + 3600, by="ann@host", at=now)
    with closing(Ledger.open(url)) as ledger:
        asyncio.run(ledger.transact(lambda transaction: transaction.costs.raise_budget(raised)))


def test_two_dispatchers_on_one_postgresql_share_a_budget(tmp_path: Path, a_postgres: Postgres) -> None:
    """Both hear of every job. They stop at the budget, pass it by no more than what was in flight, and go on when it
    is raised.
    """
    if midnight(time.time() + 120) > time.time():
        pytest.skip("the budget would be reset during the test")
    url = a_postgres.database()
    with deployment(tmp_path, instant={"seconds": 0.5}, lease=LEASE) as made, ExitStack() as copies:
        with (tmp_path / "bridge.toml").open("a") as config:
            config.write("usd_per_hour = 3600\n")
        addresses = [
            copies.enter_context(made.dispatcher(url, BRIDGE_BUDGET_USD_PER_DAY=BUDGET, BRIDGE_MAX_WORKERS=WORKERS))
            for _ in range(2)
        ]
        numbers = iter(range(10**6))

        def balanced(_delivery: object) -> list[float]:
            made.emulators.github.app.webhook_url = f"{addresses[next(numbers) % 2]}/webhook"
            return [0.0]

        made.emulators.github.webhooks.mishap = balanced
        made.queue(40)
        until(lambda: held(made, url) and lasts(made, url, 2.0), 90.0)
        (found, prices), now = usages_and_prices(url), time.time()
        last = max(usage.created_at for usage in found)
        costs = [(usage.ended or now, cost_of(usage, prices, now) or 0.0) for usage in found]
        in_flight = sum(usd for ended, usd in costs if ended > last - LATE)
        assert BUDGET <= sum(usd for _, usd in costs) <= BUDGET + in_flight
        assert len(found) < 40
        raise_budget(url)
        made.assert_all_ends_well(LEASE + 60.0)

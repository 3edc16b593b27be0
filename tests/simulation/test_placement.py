"""A route with several endpoints, with the durations of production: how long jobs wait while one has no capacity."""

from typing import Any

import pytest

from bridge.core.worker import Credentials
from tests.simulation import HOUR, Cron, Dispatcher, Endpoint, Outcome, Run, Scenario, Service, Window, simulate
from tests.support.effort import FULL
from tests.support.values import a_route

COLD_START = 60.0
SPILL_AFTER = 120.0
INTERVAL = Service.interval * 1.2
"""s between two resyncs of a service, at most."""

SLACK = 20.0
"""s for calls, for a runner's start and for GitHub."""

NONE = ((0.0, 0.0), (HOUR, 100.0))
"""No capacity in the first hour."""


def ran(*runs: Run, mode: Credentials = Credentials.JIT, hours: float = 2.0, **endpoints: Any) -> Outcome:
    """A service with one route; its endpoints are called a, b, ... in order of preference."""
    runs_as = endpoints.pop("runs_as", Service())
    route = a_route(credentials=mode, endpoints=tuple(endpoints), max_workers=50)
    outcome = simulate(
        Scenario(
            seconds=hours * HOUR,
            runs=runs,
            dispatchers=(Dispatcher(routes=(route,), runs=runs_as),),
            endpoints={name: Endpoint(cold_start=COLD_START, **facts) for name, facts in endpoints.items()},
        )
    )
    assert outcome.served() == len(outcome.jobs), outcome.summary()
    assert all(job.executions == 1 for job in outcome.jobs)
    return outcome


def every(seconds: float, until: float) -> list[Run]:
    return [Run(name=f"at-{at:.0f}", at=at, seconds=120.0) for at in _times(seconds, until)]


def _times(seconds: float, until: float) -> list[float]:
    return [5.0 + seconds * n for n in range(int(until / seconds))]


@pytest.mark.parametrize("mode", [Credentials.JIT, Credentials.REGISTRATION, Credentials.APP][: 3 if FULL else 1])
def test_an_hour_without_capacity_at_the_preferred_endpoint(mode: Credentials) -> None:
    outcome = ran(*every(100.0, 1.7 * HOUR), mode=mode, a={"capacity": NONE}, b={})
    assert max(outcome.waits()) <= SPILL_AFTER + 2 * INTERVAL + COLD_START + SLACK
    late = [job for job in outcome.jobs if (job.queued or 0) > HOUR + 900 + SPILL_AFTER]
    assert late
    at_b = {worker.ran for worker in outcome.workers if worker.endpoint == "b"}
    assert not at_b & {job.name for job in late}, "the preferred endpoint is used again"
    # A worker that was asked for twice, or that got no job, would cost more.
    assert outcome.paid() <= len(outcome.jobs) * (120 + COLD_START + SLACK)


def test_from_cron_it_takes_two_passes_more() -> None:
    every_minute = Cron(interval=60.0)
    outcome = ran(*every(200.0, HOUR), runs_as=every_minute, a={"capacity": NONE}, b={})
    assert max(outcome.waits()) <= SPILL_AFTER + 3 * every_minute.interval + COLD_START + SLACK


def test_a_burst_moves_within_a_few_passes() -> None:
    outcome = ran(Run(name="burst", jobs=50, at=5.0), hours=0.5, a={"capacity": NONE}, b={})
    assert max(outcome.waits()) <= SPILL_AFTER + 5 * INTERVAL + COLD_START + SLACK


def test_while_none_has_capacity_the_first_one_that_has_some_is_found() -> None:
    later = ((0.0, 0.0), (HOUR / 2, 100.0))
    outcome = ran(*every(100.0, HOUR / 3), hours=1.0, a={"capacity": NONE}, b={"capacity": later}, c={"capacity": NONE})
    started = [job.started or 0.0 for job in outcome.jobs]
    assert min(started) <= HOUR / 2 + COLD_START + SLACK, "a request waited there"
    assert max(started) <= HOUR / 2 + SPILL_AFTER + 4 * INTERVAL + COLD_START + SLACK
    assert outcome.started(endpoint="a") == outcome.started(endpoint="c") == 0


def test_requests_of_others_fill_the_preferred_endpoint() -> None:
    """They run for hours, so the bridge's own requests would wait behind them."""
    busy = {"workers_max": 3, "foreign": ((0.0, 3.0),), "capacity": ((0.0, 3.0),)}
    outcome = ran(*every(200.0, HOUR / 2), hours=1.0, a=busy, b={})
    assert outcome.served() == outcome.started(endpoint="b")


def test_broken_workers_of_the_preferred_endpoint_cost_a_few_tries() -> None:
    outcome = ran(*every(100.0, HOUR), hours=1.2, a={"crashes": (Window(),)}, b={})
    assert outcome.started(endpoint="a") <= 12
    waits = sorted(outcome.waits())
    assert waits[len(waits) // 2] <= COLD_START + SLACK

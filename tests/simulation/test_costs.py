"""Limits on what jobs cost that GitHub gives to no runner, and on how long they delay others.

FAULTS=full tries many more simulations.
"""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.core.worker import Credentials
from tests.simulation import DAY, GPU_HOUR, HOUR, Cron, Endpoint, GitHub, Run, Scenario, Service, Window, measure
from tests.simulation.scenarios import REAP, A, B, dispatcher
from tests.support.effort import FULL
from tests.support.values import a_route

EXAMPLES = 6 if FULL else 2

simulations = settings(
    max_examples=EXAMPLES, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
COLD_STARTS = st.sampled_from([20.0, 60.0, 120.0])
INTERVALS = st.sampled_from([30.0, 120.0, 300.0])
REAPS = st.sampled_from([None, REAP])
"""Whether GitHub deletes registrations that listen for minutes."""

CANARY = "canary"


def canary(at: float, **given: Any) -> Run:
    """An ordinary job, queued when everything works again."""
    return Run(name=CANARY, at=at, **given)


@simulations
@given(cold_start=COLD_STARTS, interval=st.sampled_from([120.0, 300.0]), reap=REAPS)
def test_a_job_that_is_never_dispatched_costs_two_hours_in_its_first_day_and_nothing_after(
    cold_start: float, interval: float, reap: tuple[float, float] | None
) -> None:
    lasts = DAY + 3 * HOUR
    outcome = measure(
        Scenario(
            seconds=lasts,
            runs=(Run(name="stuck", dispatched=False), canary(lasts - HOUR)),
            github=GitHub(reap=reap, queue_limit=7 * DAY),
            endpoints={"ep-1": Endpoint(cold_start=cold_start)},
            dispatchers=(dispatcher(runs=Service(interval=interval)),),
        )
    )
    assert not outcome.violations
    assert outcome.paid(ran=None, until=DAY) <= 2 * GPU_HOUR
    assert outcome.paid(ran=None, since=DAY + 600.0) == 0
    assert outcome.waits(CANARY)[0] <= cold_start + 60


@pytest.mark.parametrize("credentials", [Credentials.APP, Credentials.JIT])
def test_without_a_ledger_it_costs_no_more(credentials: Credentials) -> None:
    outcome = measure(
        Scenario(
            seconds=DAY + 2 * HOUR,
            runs=(Run(name="stuck", dispatched=False),),
            github=GitHub(queue_limit=7 * DAY),
            dispatchers=(dispatcher(a_route(credentials=credentials), runs=Cron(interval=300.0, keeps_ledger=False)),),
        )
    )
    assert not outcome.violations
    assert outcome.paid(until=DAY) <= 2 * GPU_HOUR
    assert outcome.paid(since=DAY + 1200.0) == 0


@simulations
@given(jobs=st.integers(2, 200), max_workers=st.integers(1, 20), cold_start=COLD_STARTS, interval=INTERVALS, reap=REAPS)
def test_an_outage_of_three_hours_costs_at_most_three_hours_for_any_number_of_jobs(
    jobs: int, max_workers: int, cold_start: float, interval: float, reap: tuple[float, float] | None
) -> None:
    outcome = measure(
        Scenario(
            seconds=5 * HOUR,
            runs=(Run(name="job", at=60.0, jobs=jobs, seconds=30.0), canary(4.5 * HOUR)),
            github=GitHub(outages=(Window(until=3 * HOUR),), reap=reap),
            endpoints={"ep-1": Endpoint(cold_start=cold_start)},
            dispatchers=(dispatcher(a_route(max_workers=max_workers), runs=Service(interval=interval)),),
        )
    )
    assert not outcome.violations
    assert outcome.paid(until=3 * HOUR) <= 3 * GPU_HOUR
    assert outcome.paid() >= outcome.useful() > 0


@simulations
@given(
    stuck=st.integers(1, 40),
    max_workers=st.integers(1, 4),
    max_parallel=st.sampled_from([None, 1]),
    at=st.floats(0.0, 3 * HOUR),
    cold_start=COLD_STARTS,
)
def test_stuck_jobs_delay_another_repository_by_no_more_than_a_cold_start(
    stuck: int, max_workers: int, max_parallel: int | None, at: float, cold_start: float
) -> None:
    """In addition to its own cold start. A runner that has just started to listen has a minute to get a job."""
    outcome = measure(
        Scenario(
            seconds=at + HOUR,
            runs=(
                Run(name="a", repository=A, jobs=stuck, dispatched=False, max_parallel=max_parallel),
                Run(name="b", repository=B, at=at),
            ),
            endpoints={"ep-1": Endpoint(cold_start=cold_start)},
            dispatchers=(dispatcher(a_route(max_workers=max_workers), organisation=None, repositories=(A, B)),),
        )
    )
    assert not outcome.violations
    own, others, listening, readings = cold_start + 15, cold_start + 15, 60, 2 * 36
    assert outcome.waits("b")[0] <= own + others + listening + readings


@simulations
@given(jobs=st.integers(20, 60), max_parallel=st.integers(1, 3), cold_start=COLD_STARTS)
def test_a_matrix_with_max_parallel_pays_little_more_than_it_uses(
    jobs: int, max_parallel: int, cold_start: float
) -> None:
    """The runners that got no job, once, and a cold start for each job."""
    outcome = measure(
        Scenario(
            seconds=600.0 + jobs * (300.0 + cold_start + 60.0) / max_parallel,
            runs=(Run(name="matrix", jobs=jobs, max_parallel=max_parallel, seconds=300.0),),
            github=GitHub(queue_limit=7 * DAY),
            endpoints={"ep-1": Endpoint(cold_start=cold_start)},
            dispatchers=(dispatcher(a_route(max_workers=10)),),
        )
    )
    assert not outcome.violations
    assert outcome.served() == jobs
    once, each = 10 * (cold_start + 330.0), cold_start + 90.0
    assert outcome.paid() <= outcome.useful() + once + jobs * each

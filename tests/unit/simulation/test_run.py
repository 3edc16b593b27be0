"""The simulation of traces, and what the choice of endpoints does in it."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.errors import ConfigError
from bridge.simulation.clock import START
from bridge.simulation.cloud import STOP, EndpointFacts
from bridge.simulation.result import Result, quantile
from bridge.simulation.run import GAP, LISTEN, QUEUE_LIMIT, Setup, simulate
from bridge.simulation.trace import Arrival
from tests.bench.placement import placement
from tests.support.effort import FULL
from tests.support.values import a_route

COLD = 60.0
INTERVAL = 30.0
NO_CAPACITY = ((START, 0),)

Steps = Sequence[tuple[float, int]]


def a_setup(*capacity: Steps, **given: Any) -> Setup:
    """One route; each endpoint has a capacity that changes."""
    names = [f"ep-{number}" for number in range(1, 1 + len(capacity))]
    limits = {"workers_max": given.pop("workers_max", 50), "workers_min": given.pop("workers_min", 0)}
    facts = {
        name: EndpointFacts(cold_start=COLD, capacity=tuple(steps), **limits)
        for name, steps in zip(names, capacity, strict=True)
    }
    max_workers = given.pop("max_workers", 50)
    return Setup(routes=(a_route(endpoints=names, max_workers=max_workers),), endpoints=facts, **given)


def jobs(*times: float, seconds: float = 100.0) -> list[Arrival]:
    return [Arrival(at, "gpu", seconds) for at in times]


def test_a_job_waits_for_the_pass_and_the_start_of_its_worker_which_are_paid_with_it() -> None:
    result = simulate(a_setup(()), jobs(500.0))
    (job,) = result.served
    assert (job.queued, job.waited, job.endpoint) == (0, GAP + COLD + LISTEN, "ep-1")
    # Its worker's stop is after the end of the last job.
    assert result.paid == {"ep-1": COLD + LISTEN + 100}
    assert result.most_workers == {"ep-1": 1}


def test_a_worker_stops_after_its_job() -> None:
    result = simulate(a_setup(()), jobs(0.0, 1000.0))
    assert result.paid_seconds == 2 * (COLD + LISTEN + 100) + STOP


def test_workers_min_saves_the_cold_start_and_is_paid_all_the_time() -> None:
    result = simulate(a_setup((), workers_min=1), jobs(0.0, 1000.0))
    assert [round(each.waited) for each in result.served] == [round(COLD + LISTEN), round(GAP + LISTEN)]
    assert result.paid_seconds > 1000


def test_max_workers_and_the_quota_hold() -> None:
    many = jobs(*([0.0] * 12))
    assert simulate(a_setup((), workers_max=3), many).most_workers == {"ep-1": 3}
    served = simulate(a_setup((), max_workers=3), many).served
    starts = sorted(job.queued + job.waited for job in served)
    assert all(later - earlier >= 100 for earlier, later in zip(starts, starts[3:], strict=False))
    limited = simulate(a_setup((), (), worker_quota=4, workers_max=3), many)
    assert sum(limited.most_workers.values()) <= 4
    assert len(limited.served) == 12


def test_github_fails_a_job_that_no_runner_takes_within_a_day() -> None:
    result = simulate(a_setup(NO_CAPACITY), jobs(0.0))
    assert (result.served, result.unserved) == ((), 1)
    assert result.passes < 2 * QUEUE_LIMIT / INTERVAL


def test_a_job_of_an_unknown_route_is_refused() -> None:
    with pytest.raises(ConfigError, match="no route is called cpu; the trace and the configuration must name the same"):
        simulate(a_setup(()), [Arrival(0, "cpu", 1)])


def test_the_same_trace_gives_the_same_result() -> None:
    setup, trace = a_setup([(START + 30, 1), (START + 900, 9)], ()), jobs(*range(0, 3000, 70))
    assert simulate(setup, trace) == simulate(setup, trace)


# --- fallback ---


def test_jobs_of_a_throttled_endpoint_move_and_come_back() -> None:
    """The preferred endpoint has no capacity in the first hour."""
    setup = a_setup([(START, 0), (START + 3600, 50)], ())
    result = simulate(setup, jobs(*range(0, 3 * 3600, 60)))
    assert max(each.waited for each in result.served) <= longest_wait(setup)
    assert {each.endpoint for each in result.served if each.queued < 3000} == {"ep-2"}
    late = [each.endpoint for each in result.served if each.queued > 3600 + 900 + 300]
    assert set(late) == {"ep-1"}


def test_part_of_the_capacity_is_used() -> None:
    setup = a_setup([(START, 2)], ())
    result = simulate(setup, jobs(*[0.0] * 10, seconds=1800.0))
    places = [each.endpoint for each in result.served]
    assert (places.count("ep-1"), places.count("ep-2")) == (2, 8)
    assert max(each.waited for each in result.served) <= longest_wait(setup)


def longest_wait(setup: Setup) -> float:
    """A wait at a starved endpoint, the passes that see it and ask again, and the start of a worker."""
    (route,) = setup.routes
    return route.spill_after + 2 * INTERVAL + 2 * GAP + COLD + LISTEN


outages = st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 4)), max_size=8).map(
    lambda steps: [(START + at, workers) for at, workers in sorted(dict(steps).items())]
)
arrivals = st.lists(st.integers(0, 5000), min_size=1, max_size=25).map(sorted)


@settings(max_examples=300 if FULL else 40, deadline=None)
@given(outages, arrivals, st.integers(10, 2000))
def test_no_job_moves_twice_if_another_endpoint_has_capacity(first: Steps, times: list[int], seconds: int) -> None:
    """Whatever the preferred endpoint does, no job waits longer than `spill_after` and the start of a worker."""
    setup = a_setup(first, ())
    result = simulate(setup, jobs(*map(float, times), seconds=float(seconds)))
    assert len(result.served) == len(times)
    assert max(each.waited for each in result.served) <= longest_wait(setup)
    assert all(len(moves) == 1 for moves in moves_by_job(result).values())


@settings(max_examples=300 if FULL else 40, deadline=None)
@given(st.lists(outages, min_size=2, max_size=3), arrivals, st.integers(10, 2000))
def test_a_job_never_moves_twice_within_spill_after(capacity: list[Steps], times: list[int], seconds: int) -> None:
    setup = a_setup(*[[*steps, (START + 9000, 50)] for steps in capacity])
    result = simulate(setup, jobs(*map(float, times), seconds=float(seconds)))
    assert len(result.served) == len(times)
    (route,) = setup.routes
    for moves in moves_by_job(result).values():
        assert all(later - earlier > route.spill_after for earlier, later in pairwise(moves))


def moves_by_job(result: Result) -> dict[int, list[float]]:
    found: dict[int, list[float]] = defaultdict(list)
    for at, job_id, _ in result.moves:
        found[job_id].append(at)
    return found


def test_in_a_day_fallback_cuts_the_waiting_and_costs_no_more() -> None:
    measured = placement() if FULL else placement(jobs=800, seconds=4 * 3600.0)
    assert measured["served"] == measured["jobs"]
    assert measured["wait_p95_s"] <= measured["wait_p95_without_s"] / 3
    assert measured["paid_s"] <= 1.05 * measured["paid_without_s"]


def test_a_quantile_is_the_value_that_the_share_does_not_exceed() -> None:
    values = [5.0, 1.0, 3.0, 2.0, 4.0]
    assert [quantile(values, share) for share in (0.0, 0.2, 0.5, 0.95, 1.0)] == [1, 1, 3, 5, 5]
    assert quantile([], 0.5) == 0


def test_without_fallback_jobs_wait_for_the_preferred_endpoint() -> None:
    setup = a_setup([(START, 0), (START + 3600, 50)], ())
    alone = replace(setup, routes=(replace(setup.routes[0], endpoints=("ep-1",)),))
    (job,) = simulate(alone, jobs(0.0)).served
    assert 3600 <= job.waited <= 3600 + COLD + LISTEN + INTERVAL

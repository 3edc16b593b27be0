"""What a submission costs is the time that RunPod bills, at the price that counted when it was requested."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.cost import (
    DAY,
    Bill,
    By,
    Usage,
    cost_of,
    day_of,
    midnight,
    paid_between,
    reconcile,
    seconds_paid,
    summarise,
    total,
)
from bridge.core.prices import ANY, PriceReading
from tests.support.values import NOW

L4 = "NVIDIA L4"
PRICES = {"ep-1": [PriceReading(at=NOW - DAY, read_at=NOW, usd_per_hour={L4: 0.72, "NVIDIA A100": 3.6})]}
TODAY = midnight(NOW)


def a_usage(**given: object) -> Usage:
    """A worker that had its request for 100 s, after a start of 5 s; its job ran for 90 s."""
    defaults = {
        "route": "gpu",
        "endpoint": "ep-1",
        "created_at": NOW - 1000,
        "began": NOW - 880,
        "ended": NOW - 780,
        "boot": 5.0,
        "delay": 115.0,
        "execution": 100.0,
        "took_job": True,
        "job_began": NOW - 870,
        "job": 90.0,
        "gpu_type": L4,
        "repository": "acme/web",
        "workflow": "tests",
    }
    return Usage(**{**defaults, **given})  # type: ignore[arg-type]


def test_the_start_of_a_worker_is_paid_and_the_wait_for_it_is_not() -> None:
    assert seconds_paid(a_usage(), NOW) == 105
    assert seconds_paid(a_usage(boot=None), NOW) == 100


def test_a_request_that_waits_for_a_worker_costs_nothing() -> None:
    waiting = a_usage(began=None, ended=None, execution=None, boot=None, delay=None)
    assert seconds_paid(waiting, NOW) == 0
    assert cost_of(replace(waiting, endpoint="ep-2"), PRICES, NOW) == 0, "whatever the price is"


def test_what_runs_is_estimated_until_now() -> None:
    running = a_usage(ended=None, execution=None, boot=None, delay=None)
    assert seconds_paid(running, NOW) == 880
    assert seconds_paid(running, NOW + 20) == 900


def test_an_end_whose_execution_nobody_told_is_estimated_from_what_the_bridge_saw() -> None:
    assert seconds_paid(a_usage(execution=None, boot=None), NOW) == 100


def test_the_price_is_that_of_the_gpu_type_or_else_of_the_most_expensive_one() -> None:
    hour = a_usage(execution=3600.0, boot=None)
    assert cost_of(hour, PRICES, NOW) == pytest.approx(0.72)
    assert cost_of(replace(hour, gpu_type=None), PRICES, NOW) == pytest.approx(3.6)
    assert cost_of(replace(hour, gpu_type="a type that the catalog does not have"), PRICES, NOW) == pytest.approx(3.6)


def test_an_unknown_price_is_unknown_and_not_zero() -> None:
    other = a_usage(endpoint="ep-2")
    assert cost_of(other, PRICES, NOW) is None
    (summary,) = summarise([a_usage(), other], PRICES, By.ROUTE, NOW)
    assert summary.usd is None
    assert summary.usd_per_job is None
    assert summary.known_usd == pytest.approx(105 / 3600 * 0.72)
    assert summary.seconds_without_price == 105


def test_an_old_submission_keeps_its_price() -> None:
    later = PriceReading(at=NOW, read_at=NOW, usd_per_hour={ANY: 99.0})
    prices = {"ep-1": [*PRICES["ep-1"], later]}
    hour = a_usage(execution=3600.0, boot=None)
    assert cost_of(hour, prices, NOW) == pytest.approx(0.72)
    assert cost_of(replace(hour, created_at=NOW + 1), prices, NOW) == pytest.approx(99)
    first = replace(hour, created_at=NOW - 9 * DAY)
    assert cost_of(first, prices, NOW) == pytest.approx(0.72), "before the first reading"


def test_a_summary_tells_jobs_and_the_time_without_one() -> None:
    idle = a_usage(took_job=False, job=None, job_began=None)
    (summary,) = summarise([a_usage(), idle], PRICES, By.REPOSITORY, NOW)
    assert (summary.key, summary.jobs, summary.seconds) == ("acme/web", 1, 210)
    assert summary.share_without_job == pytest.approx((15 + 105) / 210)
    assert summary.usd_per_job == pytest.approx(summary.known_usd)


@pytest.mark.parametrize(
    ("by", "key"),
    [
        (By.REPOSITORY, "acme/web"),
        (By.WORKFLOW, "acme/web: tests"),
        (By.ROUTE, "gpu"),
        (By.ENDPOINT, "ep-1"),
        (By.GPU, L4),
        (By.DAY, day_of(NOW)),
    ],
)
def test_a_summary_has_the_key_that_was_asked_for(by: By, key: str) -> None:
    assert [summary.key for summary in summarise([a_usage()], PRICES, by, NOW)] == [key]


def test_what_is_no_longer_known_has_a_key_of_its_own() -> None:
    forgotten = a_usage(repository=None, workflow=None, gpu_type=None)
    for by in (By.REPOSITORY, By.WORKFLOW, By.GPU):
        assert [summary.key for summary in summarise([forgotten], PRICES, by, NOW)] == ["unknown"]


def test_the_most_expensive_key_comes_first_and_the_days_come_in_order() -> None:
    cheap = a_usage(route="cheap", execution=1.0, created_at=NOW - 1000 - DAY, ended=NOW - DAY)
    assert [s.key for s in summarise([cheap, a_usage()], PRICES, By.ROUTE, NOW)] == ["gpu", "cheap"]
    assert [s.key for s in summarise([a_usage(), cheap], PRICES, By.DAY, NOW)] == [day_of(NOW - DAY), day_of(NOW)]


def test_a_job_that_runs_across_midnight_counts_once_and_its_time_on_both_days() -> None:
    night = a_usage(created_at=TODAY - 60, delay=0.0, boot=0.0, execution=100.0, ended=TODAY + 40)
    yesterday, today = summarise([night], PRICES, By.DAY, NOW)
    assert (yesterday.seconds, today.seconds) == (60, 40)
    assert (yesterday.jobs, today.jobs) == (1, 0)


def test_time_before_the_period_does_not_count() -> None:
    night = a_usage(created_at=TODAY - 60, delay=0.0, boot=0.0, execution=100.0, ended=TODAY + 40)
    assert total([night], PRICES, NOW, since=TODAY).seconds == 40
    assert summarise([night], PRICES, By.ROUTE, NOW, since=TODAY + 50) == ()


def test_a_worker_that_claims_an_absurd_job_does_not_make_the_share_negative() -> None:
    assert total([a_usage(job=1e9)], PRICES, NOW).share_without_job == 0


usages = st.builds(
    a_usage,
    route=st.sampled_from(["gpu", "cpu"]),
    endpoint=st.sampled_from(["ep-1", "ep-2"]),
    created_at=st.floats(NOW - 3 * DAY, NOW - 10_000),
    began=st.none() | st.floats(NOW - 3 * DAY, NOW),
    ended=st.none() | st.floats(NOW - 3 * DAY, NOW),
    boot=st.none() | st.floats(0, 60),
    delay=st.none() | st.floats(0, 5_000),
    execution=st.none() | st.floats(0, 5_000),
    job=st.none() | st.floats(0, 5_000),
    took_job=st.booleans(),
)


@given(st.lists(usages, max_size=8), st.sampled_from(By))
def test_every_summary_adds_up_to_the_total(used: list[Usage], by: By) -> None:
    whole, parts = total(used, PRICES, NOW), summarise(used, PRICES, by, NOW)
    assert sum(part.known_usd for part in parts) == pytest.approx(whole.known_usd, abs=1e-6)
    assert sum(part.seconds for part in parts) == pytest.approx(whole.seconds, abs=1e-3)
    assert sum(part.seconds_without_price for part in parts) == pytest.approx(whole.seconds_without_price, abs=1e-3)


@given(usages, st.floats(NOW - 4 * DAY, NOW))
def test_the_parts_before_and_after_a_time_are_the_whole(usage: Usage, at: float) -> None:
    parts = paid_between(usage, 0.0, at, NOW) + paid_between(usage, at, 4 * NOW, NOW)
    assert parts == pytest.approx(seconds_paid(usage, NOW), abs=1e-3)


def test_reconciling_shows_the_difference_for_each_endpoint_and_day() -> None:
    bills = [
        Bill(endpoint="ep-1", day=day_of(NOW), usd=0.03, usage_usd=0.025),
        Bill(endpoint="ep-1", day=day_of(NOW - DAY), usd=1.0, usage_usd=1.0),
        Bill(endpoint="somebody-elses", day=day_of(NOW), usd=500.0, usage_usd=500.0),
    ]
    yesterday, today = reconcile([a_usage()], PRICES, bills, NOW)
    assert (yesterday.day, yesterday.estimated, yesterday.billed, yesterday.difference) == (
        day_of(NOW - DAY),
        0.0,
        1.0,
        1.0,
    )
    assert today.estimated == pytest.approx(0.021)
    assert today.difference == pytest.approx(0.004)
    assert today.other == pytest.approx(0.005)


def test_reconciling_without_a_price_shows_no_difference() -> None:
    bills = [Bill(endpoint="ep-2", day=day_of(NOW), usd=0.03, usage_usd=0.03)]
    (found,) = reconcile([a_usage(endpoint="ep-2")], PRICES, bills, NOW)
    assert found.estimated is None
    assert found.difference is None

"""What a submission costs is the time that RunPod bills, at the price that counted when it was requested."""

import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.cost import (
    DAY,
    Bill,
    By,
    Usage,
    amount,
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
    assert seconds_paid(replace(running, boot=5.0), NOW) == 885


def test_an_end_whose_execution_nobody_told_is_estimated_from_what_the_bridge_saw() -> None:
    assert seconds_paid(a_usage(execution=None, boot=None), NOW) == 100
    assert seconds_paid(a_usage(execution=None, boot=None, ended=NOW - 890), NOW) == 0, "its times are in wrong order"


@pytest.mark.parametrize(
    ("usage", "first", "last"),
    [
        (a_usage(), NOW - 890, NOW - 785),  # as RunPod said: after the delay, and the start came before
        (a_usage(delay=None), NOW - 885, NOW - 780),  # as the bridge saw the end
        (a_usage(delay=None, ended=None), NOW - 885, NOW),  # as the bridge saw its begin
        (a_usage(delay=None, ended=None, boot=None), NOW - 880, NOW),
    ],
)
def test_the_paid_time_lies_where_the_worker_had_its_request(usage: Usage, first: float, last: float) -> None:
    assert paid_between(usage, first, last, NOW) == seconds_paid(usage, NOW) == last - first
    assert paid_between(usage, 0.0, first, NOW) == 0


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


@pytest.mark.parametrize(
    ("given", "without_job"),
    [
        ({"job": None}, 15),  # it ran until the end
        ({"job": None, "job_began": NOW - 700}, 105),  # after the end: one of the times is wrong
        ({"job": None, "job_began": None}, 105),
    ],
)
def test_a_job_whose_time_is_not_known_ran_until_the_end(given: dict[str, object], without_job: float) -> None:
    assert total([a_usage(**given)], PRICES, NOW).seconds_without_job == pytest.approx(without_job)


def test_a_job_that_took_no_time_counts_on_the_day_that_begins_with_it() -> None:
    instant = a_usage(created_at=TODAY, delay=0.0, boot=None, execution=0.0, ended=TODAY)
    (day,) = summarise([instant], PRICES, By.DAY, NOW)
    assert (day.key, day.jobs, day.seconds, day.seconds_without_job) == (day_of(TODAY), 1, 0, 0)


def test_a_day_is_that_of_utc_wherever_the_bridge_runs() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "UTC-12")
        time.tzset()
        day = day_of(TODAY + DAY - 1)
    time.tzset()
    assert day == "2027-01-15"


def test_among_keys_of_the_same_cost_the_longest_time_comes_first() -> None:
    short, long = (a_usage(endpoint="ep-2", route=name, execution=s) for name, s in (("a", 1.0), ("b", 9.0)))
    assert [summary.key for summary in summarise([short, long], PRICES, By.ROUTE, NOW)] == ["b", "a"]
    assert total([short, long], PRICES, NOW).key == "total"


@pytest.mark.parametrize(
    ("usd", "shown"),
    [(0.0, "0.00"), (0.0123, "0.0123"), (0.99, "0.9900"), (1.0, "1.00"), (1.239, "1.24"), (250.0, "250.00")],
)
def test_a_small_amount_is_shown_with_more_digits(usd: float, shown: str) -> None:
    assert amount(usd) == shown


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


def test_reconciling_shows_zero_for_a_day_without_a_bill_and_nothing_before_the_period() -> None:
    before = a_usage(created_at=NOW - 1000 - DAY)
    (found,) = reconcile([before, a_usage()], PRICES, [], NOW, since=TODAY)
    assert (found.day, found.billed, found.other) == (day_of(NOW), 0, 0)

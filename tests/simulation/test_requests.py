"""Long queues, cancelled runs, lost answers, and requests that RunPod wrongly shows as ended."""

from typing import Any

import pytest

from bridge.core.worker import Credentials
from tests.simulation import (
    HOUR,
    Dispatcher,
    Endpoint,
    FalseAnswer,
    Outcome,
    Run,
    RunPod,
    Scenario,
    Window,
    simulate,
)
from tests.support.values import a_route

MODES = [Credentials.JIT, Credentials.REGISTRATION]
START = 60.0
"""s of a cold start, billed without a job."""


def of(mode: Credentials, **route: object) -> tuple[Dispatcher, ...]:
    return (Dispatcher(routes=(a_route(credentials=mode, **route),)),)


def ran(scenario: Scenario) -> Outcome:
    outcome = simulate(scenario)
    assert not outcome.violations
    return outcome


# --- queues longer than a request may wait ---


@pytest.mark.parametrize(
    ("jobs", "workers", "mode"), [(40, 3, Credentials.REGISTRATION), (20, 1, Credentials.APP)], ids=["40", "20"]
)
def test_a_queue_longer_than_a_request_may_wait_keeps_all_workers_busy(
    jobs: int, workers: int, mode: Credentials
) -> None:
    """Jobs of 20 min that are all requested at once: each hour the requests that still wait are replaced."""
    needed = (jobs / workers) * (1_200.0 + START + 30.0)
    outcome = ran(
        Scenario(
            seconds=needed * 1.15 + HOUR / 4,
            runs=(Run(jobs=jobs, at=5.0, seconds=1_200.0),),
            dispatchers=of(mode, max_workers=jobs),
            endpoints={"ep-1": Endpoint(workers_max=workers)},
        )
    )
    assert outcome.served() == jobs
    assert outcome.started() <= jobs * 1.3
    assert max(outcome.most_open.values()) <= jobs


@pytest.mark.parametrize("mode", [Credentials.REGISTRATION])
def test_jobs_longer_than_a_token_is_valid_do_not_block_others(mode: Credentials) -> None:
    outcome = ran(
        Scenario(
            seconds=9 * HOUR,
            runs=(Run(jobs=4, at=5.0, seconds=7_200.0),),
            dispatchers=of(mode, max_workers=4, queue_timeout=6 * HOUR),
            endpoints={"ep-1": Endpoint(workers_max=1)},
        )
    )
    assert outcome.served() == 4
    assert outcome.started() <= 8


# --- cancelled runs ---


@pytest.mark.parametrize("mode", [Credentials.JIT, Credentials.PAT])
def test_a_cancelled_run_costs_only_the_workers_that_have_started(mode: Credentials) -> None:
    """100 requests for 3 workers; the run is cancelled before the first worker has started."""
    outcome = ran(
        Scenario(
            seconds=0.5 * HOUR,
            runs=(Run(jobs=100, at=5.0, cancelled=30.0), Run(name="next", at=400.0)),
            dispatchers=of(mode, max_workers=100),
            endpoints={"ep-1": Endpoint(workers_max=3)},
        )
    )
    assert outcome.served("next") == 1
    assert outcome.paid() <= 1_400.0  # three starts, three idle_timeouts
    assert max(outcome.waits("next")) <= 2 * START


# --- lost answers ---


@pytest.mark.parametrize("mode", MODES)
def test_a_request_that_was_accepted_and_answered_late_serves_its_job(mode: Credentials) -> None:
    """Even if the cold start takes longer than the bridge waits for an answer."""
    outcome = ran(
        Scenario(
            seconds=0.5 * HOUR,
            runs=(Run(at=5.0),),
            dispatchers=of(mode),
            runpod=RunPod(answer_lost=(Window(),)),
            endpoints={"ep-1": Endpoint(cold_start=300.0)},
        )
    )
    assert outcome.served() == 1
    assert outcome.started() == 1


@pytest.mark.parametrize("mode", MODES)
def test_a_request_that_was_never_accepted_is_replaced_within_minutes(mode: Credentials) -> None:
    outcome = ran(
        Scenario(
            seconds=0.5 * HOUR,
            runs=(Run(at=5.0),),
            dispatchers=of(mode),
            runpod=RunPod(answer_never=(Window(until=60.0),)),
        )
    )
    assert outcome.served() == 1
    assert max(outcome.waits()) <= 4 * START


@pytest.mark.parametrize(
    ("foreign", "longest"),
    [
        ({"foreign": ((0.0, 3),)}, 300.0 + 4 * START),
        ({"foreign_queued": ((0.0, 3),)}, 900.0 + 300.0 + 4 * START),
    ],
    ids=["running", "queued"],
)
def test_requests_of_another_system_delay_the_replacement_by_a_bounded_time(
    foreign: dict[str, Any], longest: float
) -> None:
    outcome = ran(
        Scenario(
            seconds=0.5 * HOUR,
            runs=(Run(at=5.0),),
            dispatchers=of(Credentials.JIT, queue_timeout=900.0),
            runpod=RunPod(answer_never=(Window(until=60.0),)),
            endpoints={"ep-1": Endpoint(**foreign)},
        )
    )
    assert outcome.served() == 1
    assert max(outcome.waits()) <= longest


def test_an_endpoint_that_does_not_answer_is_probed_and_its_jobs_run_when_it_answers() -> None:
    """The pause before a probe is as long as the outage so far, at most half an hour."""
    outage = 0.25 * HOUR
    outcome = ran(
        Scenario(
            seconds=HOUR,
            runs=(Run(jobs=20, at=5.0),),
            dispatchers=of(Credentials.JIT, max_workers=20),
            runpod=RunPod(answer_never=(Window(until=outage),)),
        )
    )
    assert outcome.served() == 20
    assert outcome.called("runpod run") <= 20 + 20 + 10
    assert max(outcome.waits()) <= 2 * outage + 6 * START


# --- false ends ---


@pytest.mark.parametrize(
    ("mode", "status"),
    [(Credentials.JIT, "MISSING"), (Credentials.JIT, "COMPLETED"), (Credentials.REGISTRATION, "FAILED")],
)
def test_running_requests_that_runpod_shows_as_ended_still_count_against_max_workers(
    status: str, mode: Credentials
) -> None:
    outcome = ran(
        Scenario(
            seconds=0.5 * HOUR,
            runs=(Run(jobs=12, at=5.0, seconds=600.0),),
            dispatchers=of(mode, max_workers=6),
            runpod=RunPod(false_answers=(FalseAnswer(at=300.0, until=420.0, status=status),)),
        )
    )
    assert outcome.served() == 12
    assert outcome.started() == 12
    assert max(outcome.most_open.values()) <= 6
    assert max(outcome.waits()) <= 600.0 + 4 * START

"""What RunPod does in its ordinary life, and what that costs: each ends with a job that must be served soon.

By the scale of tests.faults.deployment.PATIENCE a second here stands for some 100 s.
"""

import time
from pathlib import Path
from typing import Any

import pytest

from bridge.emulator.faults import Fault, FaultKind
from bridge.emulator.runpod.state import EndpointConfig, RunPodState
from tests.faults.deployment import Deployment, deployment
from tests.faults.test_services import JOBS
from tests.support.background import until


def endpoint(made: Deployment) -> EndpointConfig:
    return made.emulators.runpod.state.endpoints["ep-1"]


def runpod(made: Deployment) -> RunPodState:
    return made.emulators.runpod.state


def pause(seconds: float) -> None:
    """How long something lasts, where nothing tells that it has lasted long enough."""
    time.sleep(seconds)


def answers_badly(kind: FaultKind) -> Fault:
    """The SDK waits for 10 s: facts/runpod.md."""
    return Fault(method="POST", path="/run$", kind=kind, seconds=11.0)


def test_a_status_that_is_late_costs_no_second_worker(tmp_path: Path, database_url: str) -> None:
    with deployment(tmp_path, status_lag=1.0) as made, made.dispatcher(database_url):
        made.queue(JOBS)
        made.assert_all_ends_well()
        assert len(runpod(made).requests) == JOBS
        made.assert_canary_is_served()


def test_requests_that_runpod_answers_404_for_while_they_run_are_not_replaced(
    tmp_path: Path, database_url: str
) -> None:
    """2 s are some minutes. GitHub says busy, and health counts the requests; the cap holds."""
    with deployment(tmp_path, instant={"seconds": 3.0}) as made, made.dispatcher(database_url, BRIDGE_MAX_WORKERS=JOBS):
        jobs = made.queue(JOBS)
        until(lambda: all(job.status == "in_progress" for job in jobs))
        made.queue(2)
        endpoint(made).hides = frozenset({"IN_PROGRESS"})
        pause(2)
        assert len(runpod(made).workers) <= JOBS
        endpoint(made).hides = frozenset()
        made.assert_all_ends_well()
        assert runpod(made).most_workers <= JOBS
        assert len(runpod(made).requests) == JOBS + 2
        made.assert_canary_is_served()


def test_requests_that_runpod_answers_404_for_before_their_runners_have_a_job_lose_none(
    tmp_path: Path, database_url: str
) -> None:
    with deployment(tmp_path, hides=frozenset({"IN_QUEUE", "IN_PROGRESS"})) as made, made.dispatcher(database_url):
        made.queue(JOBS)
        pause(2)
        endpoint(made).hides = frozenset()
        made.assert_all_ends_well()
        made.assert_canary_is_served()


@pytest.mark.parametrize("status", ["FAILED", "COMPLETED", "TIMED_OUT"])
def test_a_request_that_ends_too_early_for_runpod_leaves_its_job_running(
    tmp_path: Path, database_url: str, status: str
) -> None:
    with deployment(tmp_path, instant={"seconds": 2.0}) as made, made.dispatcher(database_url):
        jobs = made.queue(JOBS)
        until(lambda: all(job.status == "in_progress" for job in jobs))
        for request in list(runpod(made).requests.values()):
            runpod(made).end_early(request, status, "worker exited unexpectedly" if status == "FAILED" else None)
        made.assert_all_ends_well()
        assert [len(job.executions) for job in jobs] == [1] * JOBS
        assert len(runpod(made).requests) == JOBS, "each job had its runner all the time"
        made.assert_canary_is_served()


def test_a_run_that_is_accepted_and_answered_late_starts_one_worker(tmp_path: Path, database_url: str) -> None:
    """The cold start takes longer than the client waits: `health` shows that the request exists."""
    with deployment(tmp_path, cold_start=12.0) as made, made.dispatcher(database_url):
        made.emulators.runpod.faults.add(answers_badly(FaultKind.LATE))
        made.queue()
        made.assert_all_ends_well(90)
        assert len(runpod(made).requests) == 1
        endpoint(made).cold_start = 0.0
        made.assert_canary_is_served()


@pytest.mark.parametrize(
    ("kind", "credentials"),
    [
        pytest.param(FaultKind.HANG, "jit", id="not accepted-jit"),
        pytest.param(
            FaultKind.HANG,
            "registration",
            id="not accepted-registration",
        ),
        pytest.param(FaultKind.ACCEPT_THEN_HANG, "jit", id="accepted-jit"),
        pytest.param(FaultKind.ACCEPT_THEN_HANG, "registration", id="accepted-registration"),
    ],
)
def test_a_run_that_is_never_answered_costs_its_job_a_minute_not_an_hour(
    tmp_path: Path, database_url: str, kind: FaultKind, credentials: str
) -> None:
    """`health` tells whether the request exists: in a token mode nothing else does before a worker registers."""
    with deployment(tmp_path, credentials=credentials, queue_timeout=60) as made, made.dispatcher(database_url):
        made.emulators.runpod.faults.add(answers_badly(kind))
        made.queue()
        made.assert_all_ends_well(45)
        made.assert_canary_is_served()


def test_an_endpoint_with_a_smaller_quota_than_max_workers_serves_all(tmp_path: Path, database_url: str) -> None:
    with deployment(tmp_path, instant={"seconds": 0.2}) as made, made.dispatcher(database_url):
        runpod(made).quota = 2
        made.queue(12)
        made.assert_all_ends_well()
        assert runpod(made).most_workers <= 2
        made.assert_canary_is_served()


def test_requests_too_old_to_start_do_not_block_a_small_quota(tmp_path: Path, database_url: str) -> None:
    """A token mode, in which a request may wait 5 s, and a job takes 1.5 s with its boot: most grow too old."""
    given: dict[str, Any] = {"credentials": "registration", "instant": {"seconds": 0.5}, "cold_start": 1.0}
    with deployment(tmp_path, **given) as made, made.dispatcher(database_url):
        runpod(made).quota = 1
        made.queue(12)
        made.assert_all_ends_well(50)
        assert runpod(made).workers_started <= 24
        made.assert_canary_is_served()


def test_capacity_that_comes_and_goes_is_waited_for(tmp_path: Path, database_url: str) -> None:
    with deployment(tmp_path, instant={"seconds": 0.2}, capacity=0) as made, made.dispatcher(database_url):
        made.queue(JOBS)
        until(lambda: len(runpod(made).requests) >= JOBS)
        for capacity in (1, 0, 2, None):
            endpoint(made).capacity = capacity
            pause(0.7)
        made.assert_all_ends_well()
        assert len(runpod(made).requests) == JOBS
        made.assert_canary_is_served()


def test_callbacks_that_never_come_delay_nothing_for_long(tmp_path: Path, database_url: str) -> None:
    with deployment(tmp_path) as made, made.dispatcher(database_url):
        made.emulators.runpod.callbacks.lose_next = 10**6
        made.queue(JOBS)
        made.assert_all_ends_well()
        assert len(runpod(made).requests) == JOBS
        made.assert_canary_is_served()


@pytest.mark.parametrize(
    "credentials",
    [
        "jit",
        pytest.param(
            "registration",
        ),
    ],
)
def test_requests_that_others_sent_to_the_endpoint_are_no_supply(
    tmp_path: Path, database_url: str, credentials: str
) -> None:
    """A new ledger cannot tell them from its own; a job must not wait for them as long as a request may live."""
    given: dict[str, Any] = {"credentials": credentials, "queue_timeout": 60, "others": (3, 2)}
    with deployment(tmp_path, **given) as made, made.dispatcher(database_url):
        made.queue(2)
        made.assert_all_ends_well(45)
        made.assert_canary_is_served()

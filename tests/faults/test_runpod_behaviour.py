"""Normal but inconvenient behaviour of RunPod: jobs run once, costs stay bounded, and a new job is served soon after.

Waiting times are shortened (tests.faults.deployment.TIMING): 1 s here stands for about 100 s.
"""

from pathlib import Path
from typing import Any

import pytest

from bridge.emulator.faults import Fault, FaultKind
from bridge.emulator.runpod.state import EndpointConfig, RunPodState
from tests.faults.deployment import WORKERS, Deployment, deployment
from tests.faults.test_services import JOBS
from tests.support.background import throughout, until


def endpoint(made: Deployment) -> EndpointConfig:
    return made.emulators.runpod.state.endpoints["ep-1"]


def runpod(made: Deployment) -> RunPodState:
    return made.emulators.runpod.state


def answers_badly(kind: FaultKind) -> Fault:
    """The SDK gives up after 10 s; see facts/runpod.md."""
    return Fault(method="POST", path="/run$", kind=kind, seconds=11.0)


def test_a_delayed_status_causes_no_second_worker(tmp_path: Path, database_url: str) -> None:
    with deployment(tmp_path, status_lag=1.0) as made, made.dispatcher(database_url):
        made.queue(JOBS)
        made.assert_all_ends_well()
        assert len(runpod(made).requests) == JOBS
        made.assert_canary_is_served()


def test_running_requests_whose_status_is_404_are_not_replaced(tmp_path: Path, database_url: str) -> None:
    """2 s stand for some minutes. GitHub reports the runners as busy and health counts the requests."""
    with deployment(tmp_path, instant={"seconds": 3.0}) as made, made.dispatcher(database_url, BRIDGE_MAX_WORKERS=JOBS):
        jobs = made.queue(JOBS)
        until(lambda: all(job.status == "in_progress" for job in jobs))
        made.queue(2)
        endpoint(made).hides = frozenset({"IN_PROGRESS"})
        throughout(lambda: len(runpod(made).workers) <= JOBS, 2)
        endpoint(made).hides = frozenset()
        made.assert_all_ends_well()
        assert runpod(made).most_workers <= JOBS
        assert len(runpod(made).requests) == JOBS + 2
        made.assert_canary_is_served()


def test_no_job_is_lost_when_the_status_of_queued_requests_is_404(tmp_path: Path, database_url: str) -> None:
    with deployment(tmp_path, hides=frozenset({"IN_QUEUE", "IN_PROGRESS"})) as made, made.dispatcher(database_url):
        made.queue(JOBS)
        throughout(lambda: len(runpod(made).workers) <= WORKERS, 2)
        endpoint(made).hides = frozenset()
        made.assert_all_ends_well()
        made.assert_canary_is_served()


@pytest.mark.parametrize("status", ["FAILED", "COMPLETED", "TIMED_OUT"])
def test_a_job_keeps_running_when_runpod_reports_its_request_as_ended(
    tmp_path: Path, database_url: str, status: str
) -> None:
    with deployment(tmp_path, instant={"seconds": 2.0}) as made, made.dispatcher(database_url):
        jobs = made.queue(JOBS)
        until(lambda: all(job.status == "in_progress" for job in jobs))
        for request in list(runpod(made).requests.values()):
            runpod(made).end_early(request, status, "worker exited unexpectedly" if status == "FAILED" else None)
        made.assert_all_ends_well()
        assert [len(job.executions) for job in jobs] == [1] * JOBS
        assert len(runpod(made).requests) == JOBS, "each job had its runner all the time, so no other was requested"
        made.assert_canary_is_served()


def test_a_run_that_is_accepted_and_answered_late_starts_one_worker(tmp_path: Path, database_url: str) -> None:
    """The cold start takes longer than the client waits for the answer; `health` shows that the request exists."""
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
        pytest.param(FaultKind.HANG, "registration", id="not accepted-registration"),
        pytest.param(FaultKind.ACCEPT_THEN_HANG, "jit", id="accepted-jit"),
        pytest.param(FaultKind.ACCEPT_THEN_HANG, "registration", id="accepted-registration"),
    ],
)
def test_a_run_that_is_never_answered_costs_its_job_a_minute_not_an_hour(
    tmp_path: Path, database_url: str, kind: FaultKind, credentials: str
) -> None:
    """`health` shows whether the request exists. In a token mode nothing else does before a worker registers."""
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
    """In a token mode, where a request may wait 5 s and a job takes 1.5 s with its cold start: most get too old."""
    given: dict[str, Any] = {"credentials": "registration", "instant": {"seconds": 0.5}, "cold_start": 1.0}
    with deployment(tmp_path, **given) as made, made.dispatcher(database_url):
        runpod(made).quota = 1
        made.queue(12)
        made.assert_all_ends_well(50)
        assert runpod(made).workers_started <= 24
        made.assert_canary_is_served()


def test_jobs_wait_for_capacity_that_comes_and_goes(tmp_path: Path, database_url: str) -> None:
    with deployment(tmp_path, instant={"seconds": 0.2}, capacity=0) as made, made.dispatcher(database_url):
        made.queue(JOBS)
        until(lambda: len(runpod(made).requests) >= JOBS)
        for capacity in (1, 0, 2, None):
            endpoint(made).capacity = capacity
            throughout(lambda: len(runpod(made).requests) <= JOBS, 0.7)
        made.assert_all_ends_well()
        assert len(runpod(made).requests) == JOBS
        made.assert_canary_is_served()


def test_all_jobs_end_without_callbacks(tmp_path: Path, database_url: str) -> None:
    with deployment(tmp_path) as made, made.dispatcher(database_url):
        made.emulators.runpod.callbacks.lose_next = 10**6
        made.queue(JOBS)
        made.assert_all_ends_well()
        assert len(runpod(made).requests) == JOBS
        made.assert_canary_is_served()


@pytest.mark.parametrize(
    "credentials",
    ["jit", "registration"],
)
def test_requests_of_other_systems_on_the_endpoint_do_not_count_as_runners(
    tmp_path: Path, database_url: str, credentials: str
) -> None:
    """A new ledger cannot tell them from its own requests; still a job must not wait until they have expired."""
    given: dict[str, Any] = {"credentials": credentials, "queue_timeout": 60, "others": (3, 2)}
    with deployment(tmp_path, **given) as made, made.dispatcher(database_url):
        made.queue(2)
        made.assert_all_ends_well(45)
        made.assert_canary_is_served()

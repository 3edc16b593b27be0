"""A route with two endpoints whose capacity comes and goes: every job runs once, and none waits for long.

Waiting times are shortened (tests.faults.deployment.TIMING): 1 s here stands for about 100 s.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bridge.core.submissions import State
from bridge.core.worker import Reason
from bridge.emulator.faults import Fault, FaultKind
from bridge.emulator.github.state import Job
from bridge.emulator.runpod.state import EndpointConfig, Request, RunPodState
from tests.faults.deployment import SPILL_AFTER, WORKERS, Deployment, deployment
from tests.faults.test_services import JOBS
from tests.support.background import throughout, until
from tests.support.instant import Fate

COLD_START = 0.3
SLACK = 3.0
"""s for the passes, the calls and a busy machine."""

LONGEST_WAIT = SPILL_AFTER + COLD_START + SLACK


@contextmanager
def two(home: Path, database_url: str, **given: Any) -> Iterator[Deployment]:
    """A bridge whose route prefers `ep-1` to `ep-2`. It has served one job, so that RunPod's SDK is loaded."""
    capacity = given.pop("capacity", None)
    given = {"endpoints": ("ep-1", "ep-2"), "cold_start": COLD_START, **given}
    with deployment(home, **given) as made, made.dispatcher(database_url):
        made.queue()
        until(made.over)
        for each in runpod(made).endpoints.values():
            each.capacity = capacity
        yield made


def runpod(made: Deployment) -> RunPodState:
    return made.emulators.runpod.state


def endpoint(made: Deployment, name: str) -> EndpointConfig:
    return runpod(made).endpoints[name]


def requests(made: Deployment, name: str, status: str = "COMPLETED") -> int:
    """How many requests an endpoint got, without those for the first job."""
    first = f"runpod-{min(made.github.jobs)}-"
    found = [r for r in list(runpod(made).requests.values()) if not r.input["runner_name"].startswith(first)]
    return sum(r.endpoint == name and r.status == status for r in found)


def assert_short_waits(jobs: list[Job]) -> None:
    waits = [round((job.started_at or float("inf")) - job.created_at, 1) for job in jobs]
    assert max(waits) <= LONGEST_WAIT, waits


def tried(made: Deployment, name: str) -> bool:
    """Queue one more job, and see whether a job has run at an endpoint."""
    made.queue()
    time.sleep(SPILL_AFTER / 2)
    return requests(made, name) > 0


def moved(made: Deployment, url: str) -> int:
    return sum(s.reason is Reason.STARVED for s in made.submissions(url))


@pytest.mark.parametrize("mode", ["jit", "registration"])
def test_jobs_run_at_the_next_endpoint_while_the_preferred_one_is_throttled_and_then_there_again(
    tmp_path: Path, database_url: str, mode: str
) -> None:
    given = {"capacity": 0, "credentials": mode, "queue_timeout": 60}
    with two(tmp_path, database_url, **given) as made:
        endpoint(made, "ep-2").capacity = None
        first = made.queue(JOBS)
        until(lambda: all(job.status == "completed" for job in first))
        assert_short_waits(first)
        assert requests(made, "ep-1") == 0
        assert moved(made, database_url) == requests(made, "ep-1", "CANCELLED") == JOBS
        during = made.queue(JOBS)  # at most one of them tries the preferred endpoint
        until(lambda: all(job.status == "completed" for job in during))
        assert_short_waits(during)
        assert requests(made, "ep-1") == 0
        endpoint(made, "ep-1").capacity = None
        until(lambda: tried(made, "ep-1"))
        until(made.over)
        before = requests(made, "ep-2")
        last = made.queue(3)
        made.assert_all_ends_well()
        assert_short_waits(last)
        assert requests(made, "ep-2") == before, "the preferred endpoint is used again"


def test_while_both_are_throttled_jobs_wait_and_each_endpoint_may_end_that(tmp_path: Path, database_url: str) -> None:
    with two(tmp_path, database_url, capacity=0) as made:
        jobs = made.queue(JOBS)
        until(lambda: moved(made, database_url) > 0)
        throughout(lambda: all(job.status == "queued" for job in jobs), 3 * SPILL_AFTER)
        assert moved(made, database_url) <= JOBS * 4, "no job moves more often than once in spill_after"
        endpoint(made, "ep-2").capacity = None
        until(lambda: all(job.status == "completed" for job in jobs), LONGEST_WAIT + SLACK)
        assert requests(made, "ep-1") == 0
        made.assert_all_ends_well()


def test_jobs_of_an_endpoint_whose_workers_are_broken_run_at_the_next(tmp_path: Path, database_url: str) -> None:
    def fate(request: Request) -> Fate:
        return Fate.CRASHES if request.endpoint == "ep-1" else Fate.NORMAL

    with two(tmp_path, database_url, instant={"fate": fate}) as made:
        jobs = made.queue(JOBS)
        made.assert_all_ends_well()
        assert requests(made, "ep-2") == JOBS
        failed = requests(made, "ep-1", "FAILED")
        assert failed <= 2 * JOBS, "after some failures only tries go there"
        assert all(len(job.executions) == 1 for job in jobs)


@pytest.mark.parametrize("seconds", [0.0, 4.0])
def test_a_request_whose_worker_starts_while_it_is_withdrawn_keeps_its_job(
    tmp_path: Path, database_url: str, seconds: float
) -> None:
    """GitHub refuses to delete its runner (422) while the job runs, and no longer knows it (404) after the job."""
    with two(tmp_path, database_url, capacity=0, instant={"seconds": seconds}) as made:
        endpoint(made, "ep-2").capacity = None
        slow = Fault(method="DELETE", path="/actions/runners/", kind=FaultKind.DELAY, seconds=2.0)
        made.emulators.github.faults.add(slow)
        (job,) = made.queue()
        until(lambda: made.emulators.github.faults.pending == 0)
        endpoint(made, "ep-1").capacity = None
        made.assert_all_ends_well()
        assert len(job.executions) == 1
        assert (requests(made, "ep-1"), requests(made, "ep-2")) == (1, 0)
        until(lambda: all(s.state is State.FINISHED for s in made.submissions(database_url)))
        assert moved(made, database_url) == 0


def test_the_limits_of_endpoints_and_the_quota_hold_while_requests_move(tmp_path: Path, database_url: str) -> None:
    given: dict[str, Any] = {"capacity": 0, "instant": {"seconds": 0.3}}
    made_with = {"endpoints": ("ep-1", "ep-2"), "cold_start": COLD_START, **given}
    with deployment(tmp_path, **made_with) as made:
        made.limits = {"workers_max": {"ep-1": WORKERS, "ep-2": 2}, "worker_quota": 6}
        endpoint(made, "ep-2").capacity = None
        with made.dispatcher(database_url):
            made.queue(12)
            made.assert_all_ends_well()
        assert made.most_open(database_url) <= 6
        assert most_at_once(made, "ep-2") <= 2


def most_at_once(made: Deployment, name: str) -> int:
    """The most requests that were open at an endpoint at the same time."""
    steps = [(r.created_at, 1) for r in runpod(made).requests.values() if r.endpoint == name]
    steps += [(r.ended_at, -1) for r in runpod(made).requests.values() if r.endpoint == name and r.ended_at]
    most = now = 0
    for _, step in sorted(steps):
        now += step
        most = max(most, now)
    return most

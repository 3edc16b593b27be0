"""What a request in RunPod's queue waits for, told from the workers and the log of their host."""

import pytest

from bridge.core.account import ListedWorker
from bridge.core.diagnosis import INITIALIZE, Stage, Workers, counted, host_stage, of_job, of_request
from bridge.core.model import EndpointHealth, JobStatus, Request, RequestStatus
from tests.support.values import a_job

IMAGE = "ghcr.io/acme/runner:1"
START = f"start container for {IMAGE}: begin"
QUEUED = Request(id="r1", status=RequestStatus.IN_QUEUE)


def stage(*log: str, most: int | None = None, **counts: int) -> Stage | None:
    return of_request(QUEUED, Workers(counts=counts, host_log=log, most=most)).stage


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({}, Stage.NO_WORKER),
        ({"throttled": 2}, Stage.NO_CAPACITY),
        ({"throttled": 2, "running": 1}, Stage.NO_CAPACITY),
        ({"unhealthy": 1}, Stage.UNHEALTHY),
        ({"initializing": 1, "throttled": 2}, Stage.COLD_START),
        ({"running": 3, "ready": 3}, Stage.BUSY_WORKERS),
        ({"idle": 1, "initializing": 1}, Stage.IDLE_WORKER),
    ],
)
def test_the_workers_tell_what_a_queued_request_waits_for(counts: dict[str, int], expected: Stage) -> None:
    assert stage(**counts) is expected


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        ([], Stage.COLD_START),
        ([f"create container {IMAGE}"], Stage.IMAGE_PULL),
        ([f"create container {IMAGE}", "1 Pulling from acme/runner", "0306 Extracting [==>  ]"], Stage.IMAGE_PULL),
        ([f"create container {IMAGE}", START], Stage.COLD_START),
        ([f"create container {IMAGE}", START, "worker is ready", START, START], Stage.CRASH_LOOP),
        ([f"error creating container: image pull: {IMAGE}: pending"], Stage.IMAGE_FAILS),
        (["error pulling image: Error response from daemon: pull access denied"], Stage.IMAGE_FAILS),
        (["error pulling image: no space", "create container again"], Stage.IMAGE_PULL),
    ],
)
def test_the_log_of_its_host_tells_what_a_starting_worker_does(log: list[str], expected: Stage) -> None:
    """The lines are those of https://github.com/runpod-workers/worker-comfyui/issues/78 and /201."""
    assert host_stage(log) is expected
    assert stage(*log, initializing=1) is expected


def test_an_endpoint_that_may_have_no_worker_is_named_first() -> None:
    assert stage(most=0, throttled=1) is Stage.SWITCHED_OFF


def test_a_worker_with_a_problem_is_named_so_that_its_log_can_be_read() -> None:
    worker = ListedWorker(id="w1", status="UNHEALTHY")
    found = of_request(QUEUED, Workers(counts=counted(None, [worker]), listed=[worker]))
    assert found.said == (
        "its request is in RunPod's queue (unhealthy workers): 1 workers fail their health checks; "
        "see its log: `bridge logs JOB --worker w1`"
    )


def test_a_running_request_names_its_worker_and_where_it_is() -> None:
    worker = ListedWorker(id="w1", status="RUNNING", gpu_type="NVIDIA L4", data_center="EU-RO-1")
    running = Request(id="r1", status=RequestStatus.IN_PROGRESS, worker_id="w1")
    assert of_request(running, Workers(counts={}, listed=[worker])).said == (
        "worker w1 (NVIDIA L4, EU-RO-1) has its request"
    )
    assert of_request(running, Workers(counts={})).said == "worker w1 has its request"


def test_an_ended_request_says_how_and_a_hostile_error_is_one_short_line() -> None:
    failed = Request(id="r1", status=RequestStatus.FAILED, error="boom\n" * 100)
    said = of_request(failed, Workers(counts={})).said
    assert said.startswith("its request has ended as FAILED: boom boom")
    assert len(said) < 260
    missing = Request(id="r1", status=RequestStatus.MISSING)
    assert "expired, or was deleted" in of_request(missing, Workers(counts={})).said


def test_without_the_list_of_workers_the_counts_are_those_of_the_health() -> None:
    assert counted(EndpointHealth(workers={"throttled": 2}), None) == {"throttled": 2}
    assert counted(None, None) == {}


def test_what_github_says_of_a_job_names_the_step_that_failed() -> None:
    assert of_job(None, None) == "GitHub has no such job any more"
    assert of_job(a_job(1, runner_name="old"), None) == "it is queued"
    failed = a_job(1, status=JobStatus.COMPLETED, conclusion="failure", runner_name="runpod-1-1")
    assert of_job(failed, "Run make") == 'it is completed as failure on runner runpod-1-1; its step "Run make" failed'


def test_a_job_with_a_container_is_told_that_it_cannot_run() -> None:
    failed = a_job(1, status=JobStatus.COMPLETED, conclusion="failure")
    assert of_job(failed, INITIALIZE).endswith(
        'its step "Initialize containers" failed: workers have no Docker, so a job with `container:` or `services:` '
        "cannot run: use an image of your own for the route instead"
    )

"""`bridge explain --live`: what GitHub and RunPod say now, and what could not be asked."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge.emulator.faults import Fault, FaultKind
from bridge.emulator.github.state import Job
from tests.e2e.test_control import queue
from tests.e2e.test_explain import run
from tests.e2e.test_logs import manage, taken
from tests.support.emulators import Emulators, emulators
from tests.support.github import a_github


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Emulators]:
    with emulators(tmp_path, state=a_github()) as served:
        manage(served)
        yield served


def requested(made: Emulators) -> Job:
    (job,) = queue(made, "a")
    made.dispatch()
    return job


def live(made: Emulators, job: Job) -> dict[str, Any]:
    done = run(made, "explain", str(job.id), "--live", "--json")
    assert done.exit_code == 0, done.output
    (document,) = json.loads(done.stdout)
    found: dict[str, Any] = document["live"]
    return found


def test_each_cause_of_a_waiting_request_is_told_apart(made: Emulators) -> None:
    job, state = requested(made), made.runpod.state
    assert live(made, job)["stage"] == "no worker"
    state.endpoints["ep-1"].capacity = 0
    assert live(made, job)["stage"] == "no capacity"
    state.endpoints["ep-1"].capacity = None
    worker = state.add_worker("ep-1")
    state.logs.add(worker.id, "system", "create container runner:1")
    assert live(made, job)["stage"] == "image pull"
    for _ in range(3):
        state.logs.add(worker.id, "system", "start container for runner:1: begin")
    found = live(made, job)
    assert found["stage"] == "crash loop"
    assert f"`bridge logs JOB --worker {worker.id}`" in found["runpod"]
    assert found["not_asked"] == []


def test_a_running_request_names_its_worker_on_lines_of_their_own(made: Emulators) -> None:
    job = requested(made)
    worker = taken(made)
    shown = run(made, "explain", str(job.id), "--live").stdout.splitlines()
    assert "GitHub, now: it is queued" in shown
    assert any(line.startswith(f"RunPod, now: worker {worker.id}") for line in shown)


def test_without_the_management_key_it_says_what_was_not_asked(made: Emulators) -> None:
    made.variables["RUNPOD_MANAGEMENT_API_KEY"] = ""
    job = requested(made)
    made.runpod.state.endpoints["ep-1"].capacity = 0
    found = live(made, job)
    assert found["stage"] == "no capacity"
    assert found["not_asked"] == ["RunPod's list of workers: RUNPOD_MANAGEMENT_API_KEY is not set"]


def test_a_service_that_does_not_answer_hinders_no_other_answer(made: Emulators) -> None:
    job = requested(made)
    made.github.faults.add(Fault(method="GET", path=r"/actions/jobs/\d+$", kind=FaultKind.ERROR, times=99))
    made.variables["RUNPOD_MANAGEMENT_URL"] = "http://127.0.0.1:9"
    found = live(made, job)
    assert found["github"] is None
    assert found["stage"] is not None
    assert [line.partition(":")[0] for line in found["not_asked"]] == [
        "GitHub",
        "RunPod's list of workers",
        "RunPod's endpoint",
    ]


def test_a_job_that_needs_containers_is_told_that_it_cannot_run(made: Emulators) -> None:
    job = requested(made)
    job.steps["1"] = {"name": "Set up job", "number": 1, "status": 6, "conclusion": 2}
    job.steps["2"] = {"name": "Initialize containers", "number": 2, "status": 6, "conclusion": 3}
    job.status, job.conclusion = "completed", "failure"
    assert "a job with `container:` or `services:` cannot run" in live(made, job)["github"]

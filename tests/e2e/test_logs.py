"""`bridge logs`: the log of a job's worker, or one line that says why there is none."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import Result

from bridge.emulator.github.state import Job
from bridge.emulator.runpod.state import Worker
from tests.e2e.test_control import queue, runner_of
from tests.e2e.test_explain import run
from tests.support import ROOT
from tests.support.background import until
from tests.support.emulators import API_KEY, Emulators, emulators, real_workers
from tests.support.github import a_github, a_run, a_spec
from tests.support.runners import a_job_of_steps

GITHUB_TOKEN = "ghs_" + "a1B2" * 9


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Emulators]:
    with emulators(tmp_path, state=a_github()) as served:
        manage(served)
        yield served


def manage(made: Emulators) -> None:
    made.variables |= {"RUNPOD_MANAGEMENT_API_KEY": API_KEY, "RUNPOD_MANAGEMENT_URL": made.runpod.management_url}


def requested(made: Emulators) -> Job:
    (job,) = queue(made, "a")
    made.dispatch()
    return job


def taken(made: Emulators) -> Worker:
    """A worker that has taken the request."""
    state = made.runpod.state
    worker = state.add_worker("ep-1")
    assert state.take(worker.id)
    return worker


def said(done: Result) -> str:
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.output
    return done.stderr


def test_the_log_of_a_jobs_worker_is_shown_without_secrets_and_control_characters(made: Emulators) -> None:
    job = requested(made)
    worker = taken(made)
    made.runpod.state.logs.add(worker.id, "system", "start container")
    for text in (
        "Running job: build",
        f"key {API_KEY} and {GITHUB_TOKEN[:20]}\x1b[0m{GITHUB_TOKEN[20:]}",
        "\x1b[31mred\x1b[0m \x1b]0;title\x07\ttab \u202e",
        "x" * 10_000,
    ):
        made.runpod.state.logs.add(worker.id, "container", text)
    shown = run(made, "logs", str(job.id))
    assert shown.exit_code == 0, shown.output
    lines = [line.partition("Z ")[2] for line in shown.stdout.splitlines()]
    assert lines[:3] == ["[system] start container", "Running job: build", "key *** and ***"]
    assert lines[3] == r"red \x1b]0;title\x07    tab \u202e"
    assert lines[4].endswith("x... (6000 more characters)")
    assert len(lines[4]) < 4100

    url = f"https://github.com/acme/web/actions/runs/{job.run_id}/job/{job.id}"
    documents = run(made, "logs", url, "--json", "--source", "container", "--tail", "4").stdout.splitlines()
    assert [json.loads(line)["line"][:8] for line in documents] == ["Running ", "key *** ", "red \\x1b", "xxxxxxxx"]


def test_before_a_worker_has_the_request_it_says_so(made: Emulators) -> None:
    job = requested(made)
    assert said(run(made, "logs", str(job.id))) == (
        f"bridge: no worker has taken the request of runner {runner_of(made)} yet; "
        f"`bridge explain {job.id} --live` says what RunPod waits for\n"
    )


def test_after_the_worker_has_gone_it_says_so(made: Emulators) -> None:
    job = requested(made)
    worker = taken(made)
    made.dispatch()
    made.runpod.state.remove_worker(worker)
    assert said(run(made, "logs", str(job.id))).startswith(
        f"bridge: worker {worker.id} of runner {f'runpod-{job.id}-1'} is gone: RunPod streams the logs of live workers"
    )


def test_a_request_that_runpod_gave_to_another_worker_is_found_there(made: Emulators) -> None:
    job = requested(made)
    first = taken(made)
    made.dispatch()
    made.runpod.state.remove_worker(first)
    second = taken(made)
    made.runpod.state.logs.add(second.id, "container", "again")
    assert run(made, "logs", str(job.id)).stdout.endswith(" again\n")


def test_without_the_management_key_it_says_which_setting_is_missing(made: Emulators) -> None:
    job = requested(made)
    made.variables["RUNPOD_MANAGEMENT_API_KEY"] = ""
    done = run(made, "logs", str(job.id))
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("bridge: RUNPOD_MANAGEMENT_API_KEY: missing; set it to a RunPod key ")
    made.variables["RUNPOD_MANAGEMENT_API_KEY"] = "rpa_" + "0" * 30
    assert "401, RUNPOD_MANAGEMENT_API_KEY was refused" in said(run(made, "logs", str(job.id), "--worker", "w"))


def test_a_job_without_a_runner_a_run_and_an_unknown_job_are_one_line(made: Emulators) -> None:
    assert said(run(made, "logs", "7")).startswith("bridge: there is no ledger yet")
    made.variables["BRIDGE_MAX_WORKERS"] = "1"
    run_ = made.github.state.add_run("acme/web", a_run(a_spec("a"), a_spec("b")))
    made.dispatch()
    first, second = run_.jobs.values()
    waits = said(run(made, "logs", str(second.id)))
    assert waits == (
        f"bridge: no runner has been requested for job {second.id} yet; `bridge explain {second.id}` says why\n"
    )
    several = said(run(made, "logs", f"https://github.com/acme/web/actions/runs/{run_.id}"))
    assert several == f"bridge: the run has 2 jobs; name one of them: {first.id}, {second.id}\n"
    assert said(run(made, "logs", "7")).startswith("bridge: the ledger has no job 7; ")
    assert said(run(made, "logs", "x\x1b")).startswith("bridge: 'x\\x1b' is no job: ")
    assert run(made, "logs", "7", "--source", "both").exit_code == 2


def test_a_log_is_followed_from_the_queue_to_the_end_of_the_worker(made: Emulators) -> None:
    job = requested(made)
    state = made.runpod.state

    def work() -> None:
        until(lambda: made.runpod.calls["GET /v2/{endpoint}/status/{id}"] > 0)
        worker = taken(made)
        state.logs.add(worker.id, "container", "one")
        time.sleep(7)
        state.logs.add(worker.id, "container", "two")
        time.sleep(0.5)
        state.remove_worker(worker)

    thread = threading.Thread(target=work)
    thread.start()
    done = run(made, "logs", str(job.id), "--follow")
    thread.join()
    assert done.exit_code == 0, done.output
    assert [line.partition("Z ")[2] for line in done.stdout.splitlines()] == ["one", "two"]
    assert done.stderr.startswith("bridge: waiting for a worker: no worker has taken the request")


def test_ctrl_c_ends_following_with_0(made: Emulators) -> None:
    job = requested(made)
    worker = taken(made)
    made.runpod.state.logs.add(worker.id, "container", "one")
    following = subprocess.Popen(
        [sys.executable, "-m", "bridge", "logs", str(job.id), "-f"],
        cwd=ROOT,
        env=made.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert following.stdout is not None
        assert following.stdout.readline().endswith(" one\n")
        following.send_signal(signal.SIGINT)
        rest, errors = following.communicate(timeout=20)
    finally:
        following.kill()
        following.wait()
    assert (following.returncode, rest, errors) == (0, "", "")


def test_a_real_worker_logs_what_its_handler_and_runner_print(tmp_path: Path) -> None:
    go = tmp_path / "go"
    with real_workers(tmp_path, state=a_github()) as made:
        manage(made)
        step = a_job_of_steps(f"while [ ! -e {go} ]; do sleep 0.1; done", name="train")
        (job,) = made.github.state.add_run("acme/web", a_run(step)).jobs.values()
        made.dispatch()
        until(lambda: job.status == "in_progress", 60)
        shown = run(made, "logs", str(job.id)).stdout
        go.touch()
        until(lambda: job.status == "completed", 60)
    assert "[system] start container for runner:emulated: begin" in shown
    assert "Listening for Jobs" in shown
    assert "Running job: train" in shown

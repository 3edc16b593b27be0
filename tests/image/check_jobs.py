"""Jobs in containers of the CPU image, started by its own command."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.emulator.runpod.state import Request
from tests.image.build import Image, Store
from tests.image.container import RUNNER_UID, Endpoint, running_endpoint
from tests.support.background import until

TELL = 'echo "I am $(id -u) in groups $(id -G) at $HOME, umask $(umask)"'


def test_a_job_runs_to_its_end_as_the_user_runner(store: Store, cpu: Image, tmp_path: Path) -> None:
    with running_endpoint(store, cpu, tmp_path, RUNPOD_DC_ID="EU-1") as endpoint:
        job = endpoint.queue(TELL, "sudo id -u", "git --version; jq --version; cc --version; unzip -v | head -1")
        request = endpoint.ended(endpoint.submit("r-1"))
        assert request.status == "COMPLETED", endpoint.log
        assert request.output["outcome"] == "completed"
        assert (request.output["result"], request.output["runner_version"]) == ("Succeeded", "2.338.0"), job.log
        assert f"I am {RUNNER_UID} in groups {RUNNER_UID} at /home/runner" in job.log
        assert "RunPod endpoint ep-1" in job.log, "the hook shows where the job runs"
        assert "data centre EU-1" in job.log
        events = endpoint.events()
        assert [e["event"] for e in events] == ["request taken", "configured", *job_events()]
        assert {(e["request"], e["submission"], e["runner"]) for e in events} == {(request.id, "submission-r-1", "r-1")}
        until(lambda: endpoint.processes() == [])


def job_events() -> list[str]:
    return ["listener started", "listening", "job started", "job ended", "done"]


def test_the_second_request_finds_nothing_of_the_first(store: Store, cpu: Image, tmp_path: Path) -> None:
    litter = (
        "echo secret-of-the-first > ~/.netrc; mkdir -p ~/.cache/x; echo x >> ~/.bashrc",
        "echo secret-of-the-first | tee /tmp/a /var/tmp/b /dev/shm/c /opt/hostedtoolcache/d > /actions-runner/.env",
        "cd /actions-runner; rm bin/Runner.Listener || mv bin mine || echo x >> config.sh || echo 'out of reach'",
        "setsid --fork sleep 1000 > /dev/null 2>&1; nohup sleep 1000 > /dev/null 2>&1 &",
    )
    look = (
        "grep -rs secret-of-the.first /home /tmp /var/tmp /dev/shm /opt/hostedtoolcache /actions-runner"
        " --exclude-dir=_work --exclude-dir=_diag && exit 1; true",
        "diff ~/.bashrc /etc/skel/.bashrc && ls -A ~ | wc -l",
        "! pgrep -x sleep",
    )
    with running_endpoint(store, cpu, tmp_path) as endpoint:
        first = endpoint.queue(*litter, name="first")
        assert endpoint.ended(endpoint.submit("r-1")).output["result"] == "Succeeded", first.log
        assert "out of reach" in first.log.splitlines()
        assert endpoint.left_by_runner() == []
        until(lambda: endpoint.processes() == [])
        second = endpoint.queue(*look, name="second")
        request = endpoint.ended(endpoint.submit("r-2"))
        assert request.output["result"] == "Succeeded", second.log
        assert "secret-of-the-first" not in second.log


@pytest.fixture
def busy(store: Store, cpu: Image, tmp_path: Path) -> Iterator[Endpoint]:
    """An endpoint whose worker runs a job that never ends and ignores signals."""
    with running_endpoint(store, cpu, tmp_path) as endpoint:
        job = endpoint.queue("trap '' INT TERM; setsid --fork sleep 1001; while :; do sleep 1000; done")
        endpoint.submit("r-1", job_timeout=3600)
        endpoint.running(job)
        yield endpoint


def the_request(endpoint: Endpoint) -> Request:
    (request,) = endpoint.emulators.runpod.state.requests.values()
    return request


def test_a_container_that_is_stopped_during_a_job_answers_and_stops_everything(busy: Endpoint) -> None:
    began = time.monotonic()
    busy.terminate()
    request = busy.ended(the_request(busy), seconds=30)
    assert request.error is not None
    assert request.error.startswith("stopped: ")
    until(lambda: busy.processes() == [], seconds=30 - (time.monotonic() - began))
    assert busy.left_by_runner() == []


def test_a_cancelled_request_stops_its_job_and_the_worker(busy: Endpoint) -> None:
    request = the_request(busy)
    until(lambda: request.output == {"state": "running", "runner_name": "r-1", "job": "build"})
    busy.emulators.runpod.state.cancel("ep-1", request.id)
    until(lambda: busy.processes() == [], seconds=40)
    assert request.status == "CANCELLED"
    assert busy.events()[-1]["event"] == "stopped"
    assert busy.left_by_runner() == []


def test_a_stuck_runner_is_killed_at_the_jobs_limit(store: Store, cpu: Image, tmp_path: Path) -> None:
    with running_endpoint(store, cpu, tmp_path, RUNNER_DIAG_DIR="/var/diag") as endpoint:
        job = endpoint.queue("sleep 1000")
        request = endpoint.submit("r-1", job_timeout=10)
        endpoint.running(job)
        for process in endpoint.processes():
            if process.uids().real == RUNNER_UID:
                os.kill(process.pid, signal.SIGSTOP)
        endpoint.ended(request, seconds=45)
        assert request.error == "timed_out: the job ran for longer than 10 s"
        until(lambda: endpoint.processes() == [], seconds=15)
        logs = list(endpoint.root.glob("var/diag/r-1-*/*.log"))
        assert len(logs) == 2, "of the Listener and of the Worker, because RUNNER_DIAG_DIR is set"
        assert {(log.stat().st_uid, log.stat().st_mode & 0o777) for log in logs} == {(0, 0o600)}

"""Real workers with the real SDK: what `/status` shows, and that each worker serves one request."""

from pathlib import Path

from bridge.emulator.cloud import worker_image
from bridge.emulator.github.state import jit_config
from tests.support.background import until
from tests.support.emulators import emulators
from tests.support.github import GPU, a_run
from tests.support.runners import a_job_of_steps


def test_status_shows_a_workers_progress_and_then_its_answer(tmp_path: Path) -> None:
    go = tmp_path / "go"
    job = a_job_of_steps(f"while [ ! -e {go} ]; do sleep 0.1; done", name="train")
    with emulators(tmp_path / "home", image=lambda github: worker_image(github.api_url), workers_max=1) as made:
        runner = made.github.state.add_runner("orgs/acme", "r-1", GPU)
        given = {"jit_config": jit_config(runner, made.github.url), "runner_name": "r-1"}
        request = made.runpod.state.submit("ep-1", {"input": given})
        until(lambda: request.output == {"state": "listening", "runner_name": "r-1"})
        made.github.state.add_run("acme/web", a_run(job))
        until(lambda: request.output == {"state": "running", "runner_name": "r-1", "job": "train"})
        assert request.status == "IN_PROGRESS"
        go.touch()
        until(lambda: request.status == "COMPLETED")
        assert request.output["result"] == "Succeeded"


def test_every_request_has_its_own_worker(tmp_path: Path) -> None:
    with emulators(tmp_path / "home", image=lambda github: worker_image(github.api_url), workers_max=1) as made:
        first, second = [made.runpod.state.submit("ep-1", {"input": {"mode": "magic"}}) for _ in range(2)]
        until(lambda: second.status == "FAILED")
        assert first.workers != second.workers

"""handler.py as a program of its own: the local trial, and what it leaves behind."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import runner_image
from tests.support.runners import Installed, installed

HANDLER = Path(runner_image.__file__).with_name("handler.py")


@pytest.fixture
def standin(tmp_path: Path) -> Iterator[Installed]:
    with installed(tmp_path) as made:
        yield made


def tried(standin: Installed, given: dict[str, object]) -> "subprocess.CompletedProcess[str]":
    """Run `handler.py --test_input`, from another folder, to its end."""
    return subprocess.run(
        [sys.executable, HANDLER, "--test_input", json.dumps({"input": given})],
        cwd=standin.home,
        env=standin.environment | {"RUNNER_DIR": str(standin.root), "RUNPOD_AI_API_KEY": "rpa_secret"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_local_trial_runs_a_job(standin: Installed) -> None:
    _, variables = standin.mint()
    job = standin.queue("true")
    done = tried(standin, {"jit_config": variables["ACTIONS_RUNNER_INPUT_JITCONFIG"], "runner_name": "r-1"})
    assert done.returncode == 0, done.stdout + done.stderr
    assert "'outcome': 'completed'" in done.stdout
    assert job.conclusion == "success"
    assert variables["ACTIONS_RUNNER_INPUT_JITCONFIG"] not in done.stdout


def test_a_trial_that_fails_says_why_and_ends_with_1(standin: Installed) -> None:
    done = tried(standin, {"jit_config": "%%%"})
    assert done.returncode == 1
    assert "bad_input: jit_config: " in done.stdout


def test_a_process_that_hides_from_the_runner_does_not_outlive_it(standin: Installed) -> None:
    """In a session of its own, its parent gone, its output elsewhere."""
    pid = standin.home / "pid"
    stamp = "2026-09-16 15:14:46Z"
    listener = standin.root / "bin" / "Runner.Listener"
    listener.unlink()
    listener.write_text(
        f"#!/bin/sh\necho '{stamp}: Running job: b'\n"
        f"setsid sh -c 'sh -c \"echo \\$\\$ > {pid}; exec sleep 618\" & exit' > /dev/null 2>&1\n"
        f"while [ ! -s {pid} ]; do sleep 0.01; done\n"
        f"echo '{stamp}: Job b completed with result: Succeeded'\n"
    )
    listener.chmod(0o755)
    done = tried(standin, {"jit_config": "e30="})
    assert "'outcome': 'completed'" in done.stdout, done.stdout + done.stderr
    assert not psutil.pid_exists(int(pid.read_text()))

"""handler.py as a program: the local trial, and that it leaves no process behind."""

import json
import subprocess
import sys
from pathlib import Path

import psutil

import runner_image
from tests.support.runners import Installed

HANDLER = Path(runner_image.__file__).with_name("handler.py")


def tried(standin: Installed, given: dict[str, object]) -> "subprocess.CompletedProcess[str]":
    """Run `handler.py --test_input`, from another directory, until it exits."""
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


def test_a_trial_that_fails_prints_the_reason_and_exits_with_1(standin: Installed) -> None:
    done = tried(standin, {"jit_config": "%%%"})
    assert done.returncode == 1
    assert "bad_input: jit_config: " in done.stdout


def test_a_process_that_the_runner_cannot_find_is_killed(standin: Installed) -> None:
    """The process has its own session, its parent is gone, and its output goes elsewhere."""
    pid = standin.home / "pid"
    stamp = "2026-09-16 15:14:46Z"
    standin.replace_listener(
        f"echo '{stamp}: Running job: b'\n"
        f"setsid sh -c 'sh -c \"echo \\$\\$ > {pid}; exec sleep 618\" & exit' > /dev/null 2>&1\n"
        f"while [ ! -s {pid} ]; do sleep 0.01; done\n"
        f"echo '{stamp}: Job b completed with result: Succeeded'"
    )
    done = tried(standin, {"jit_config": "e30="})
    assert "'outcome': 'completed'" in done.stdout, done.stdout + done.stderr
    assert not psutil.pid_exists(int(pid.read_text()))

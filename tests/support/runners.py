"""The runner stand-in in processes of its own, with a GitHub emulator in a thread."""

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from bridge.emulator.github import GitHubEmulator, github_emulator
from bridge.emulator.github.state import Job, Runner, jit_config
from bridge.emulator.jobs import JobResult, JobSpec
from bridge.emulator.runner import install
from tests.support.background import served
from tests.support.github import GPU, a_github, a_run, an_app

TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ"


@dataclass
class Installed:
    """An installed stand-in. It waits a thousandth of the real time between retries.

    Args:
        root: where it is installed.
        github: the emulator that it calls.
        home: HOME of its processes.
        variables: added to its environment.
    """

    root: Path
    github: GitHubEmulator
    home: Path
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "RUNNER_ALLOW_RUNASROOT": "1",
            "RUNNER_STANDIN_WAIT_FACTOR": "0.001",
            **self.variables,
        }

    def run(self, program: str, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        """Run one of its programs and wait for its end."""
        return subprocess.run(
            [self.root / program, *arguments],
            env=self.environment | variables,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def listen(self, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        """Run the Listener until it exits by itself."""
        return self.run("bin/Runner.Listener", "run", *arguments, **variables)

    def replace_listener(self, script: str) -> None:
        """Replace the Listener by a shell script."""
        path = self.root / "bin" / "Runner.Listener"
        path.unlink()
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    @contextmanager
    def listening(self, **variables: str) -> Iterator["subprocess.Popen[str]"]:
        """Start the Listener in its own process group. All its processes are killed afterwards."""
        process = subprocess.Popen(
            [self.root / "bin/Runner.Listener", "run"],
            env=self.environment | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                below = psutil.Process(process.pid).children(recursive=True)  # steps have process groups of their own
                os.killpg(process.pid, signal.SIGKILL)
                for each in below:
                    with suppress(psutil.NoSuchProcess):
                        each.kill()
            process.communicate()

    def configure(self, *flags: str, name: str = "r-1", **variables: str) -> "subprocess.CompletedProcess[str]":
        """Register a runner in the organisation."""
        token, _ = self.github.state.registration_token("orgs/acme")
        given = {"ACTIONS_RUNNER_INPUT_TOKEN": token, **variables}
        url = f"{self.github.url}/acme"
        return self.run("config.sh", "--unattended", "--url", url, "--name", name, *flags, **given)

    def mint(self, *, name: str = "r-1", labels: Sequence[str] = GPU) -> tuple[Runner, dict[str, str]]:
        """Register a just-in-time runner; returns it with the variable that holds its configuration."""
        runner = self.github.state.add_runner("orgs/acme", name, labels)
        return runner, {"ACTIONS_RUNNER_INPUT_JITCONFIG": jit_config(runner, self.github.url)}

    def queue(self, *steps: Any, workspace: Path | None = None, sha: str = "", **job: Any) -> Job:
        """Queue a run with one job of these steps."""
        spec = a_job_of_steps(*steps, **job)
        run = self.github.state.add_run("acme/web", a_run(spec), workspace)
        return run.jobs[spec.key]

    def runner(self) -> Runner:
        """The only registered runner."""
        (runner,) = self.github.state.runners.values()
        return runner

    def diagnostics(self, kind: str) -> str:
        """The text of all logs of one kind in `_diag`."""
        return "".join(path.read_text() for path in self.root.glob(f"_diag/{kind}_*.log"))


@pytest.fixture
def standin(tmp_path: Path) -> Iterator[Installed]:
    """An installed stand-in with its emulated GitHub."""
    with installed(tmp_path) as made:
        yield made


def git(path: Path, *arguments: str) -> str:
    """Run git in a directory; returns its output."""
    return subprocess.run(["git", "-C", path, *arguments], check=True, capture_output=True, text=True).stdout


def commit_all(path: Path) -> None:
    """Make a directory a git repository, with one commit of all its files."""
    git(path, "init", "--quiet", "--initial-branch", "main")
    git(path, "add", "--force", ".")
    who = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    git(path, *who, "commit", "--allow-empty", "--quiet", "-m", "first")


@contextmanager
def installed(directory: Path, **given: Any) -> Iterator[Installed]:
    """Install a stand-in in an empty folder and serve its GitHub until the block ends."""
    install(directory / "runner")
    (directory / "home").mkdir()
    with served(lambda: github_emulator(a_github(**given), an_app())) as github:
        yield Installed(directory / "runner", github, directory / "home")


def a_job_of_steps(*steps: Any, name: str = "build", **job: Any) -> JobSpec:
    """A job of these steps; a plain text is a `run:` step."""
    listed = [{"run": step} if isinstance(step, str) else step for step in steps]
    body = {"runs-on": "self-hosted", "steps": listed, **job}

    def message(_needs: Mapping[str, JobResult]) -> Mapping[str, object]:
        workflow = {"on": "push", "jobs": {"build": body}}
        return {"workflow": workflow, "job": "build", "event": "push", "ref": "refs/heads/main"}

    return JobSpec(key="build", name=name, labels=GPU, message=message)

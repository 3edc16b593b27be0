"""Workers in real containers of the image. The emulated RunPod starts them, the emulated GitHub gives them jobs."""

import contextlib
import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from bridge.emulator.github.state import Job, jit_config
from bridge.emulator.runpod import WorkerImage
from bridge.emulator.runpod.state import TERMINAL, Request
from tests.image.build import Image, Store
from tests.support.background import until
from tests.support.emulators import Emulators, emulators
from tests.support.github import GPU, a_run
from tests.support.runners import a_job_of_steps

ENTER = Path(__file__).with_name("enter.py")
RUNNER_UID = 1001


@dataclass
class Endpoint:
    """An endpoint whose workers share one file system, as if RunPod kept a container.

    Args:
        root: the file system.
        emulators: both emulators.
    """

    root: Path
    emulators: Emulators

    def queue(self, *steps: Any, name: str = "build") -> Job:
        """Queue a workflow job."""
        spec = a_job_of_steps(*steps, name=name)
        return self.emulators.github.state.add_run("acme/web", a_run(spec)).jobs[spec.key]

    def submit(self, name: str, **given: Any) -> Request:
        """Submit a request for a runner."""
        runner = self.emulators.github.state.add_runner("orgs/acme", name, GPU)
        secret = {"mode": "jit", "jit_config": jit_config(runner, self.emulators.github.url)}
        given = {"submission": f"submission-{name}", "runner_name": name, "idle_timeout": 30, **secret, **given}
        policy = {"executionTimeout": 600_000, "ttl": 900_000}
        return self.emulators.runpod.state.submit("ep-1", {"input": given, "policy": policy})

    def ended(self, request: Request, seconds: float = 90.0) -> Request:
        """Wait until a request has ended."""
        try:
            until(lambda: request.status in TERMINAL, seconds)
        except AssertionError:
            running = [" ".join(command) for command in self.commands()]
            raise AssertionError("\n".join([f"{request.status} after {seconds} s", *running, self.log])) from None
        return request

    def processes(self) -> list[psutil.Process]:
        """All processes in the container."""
        return [process for process in psutil.process_iter() if _root_of(process) == str(self.root)]

    def commands(self) -> list[list[str]]:
        """The command lines of the processes."""
        found = []
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                found.append(process.cmdline())
        return found

    def running(self, job: Job) -> None:
        """Wait until a step of the job sleeps."""
        until(lambda: job.executions and any(command[:1] == ["sleep"] for command in self.commands()), seconds=150)

    def terminate(self) -> None:
        """Send TERM, like `docker stop`."""
        (entered,) = [p for p in psutil.Process().children() if str(ENTER) in p.cmdline()]
        entered.send_signal(signal.SIGTERM)

    @property
    def log(self) -> str:
        """The output of its workers."""
        return self.emulators.runpod.scaler.logs()

    def events(self) -> list[dict[str, Any]]:
        """The events in the log."""
        return [json.loads(line) for line in self.log.splitlines() if line.startswith('{"at": ')]

    def left_by_runner(self) -> list[str]:
        """The files of the user runner, without its original home and the folder of the tool cache."""
        found = []
        for directory, folders, files in os.walk(self.root):
            for name in (*folders, *files):
                path = Path(directory, name)
                if path.lstat().st_uid == RUNNER_UID:
                    found.append(str(path.relative_to(self.root)))
        made = re.compile(r"home/runner(/\.(bashrc|profile|bash_logout))?|opt/hostedtoolcache")
        return [path for path in found if not made.fullmatch(path)]


def _root_of(process: psutil.Process) -> str:
    try:
        return str(Path(f"/proc/{process.pid}/root").readlink())
    except OSError:
        return ""


@contextmanager
def running_endpoint(store: Store, image: Image, home: Path, **variables: str) -> Iterator[Endpoint]:
    """An endpoint with this image and these variables. Afterwards none of its processes runs."""
    config: dict[str, Any] = image.config
    argv = [*config["Entrypoint"], *config["Cmd"]]
    environment = dict(line.split("=", 1) for line in config["Env"])
    spec = home / "container.json"
    spec.write_text(json.dumps({"argv": argv, "environment": environment}))
    (home / "state").mkdir()
    with store.container(image.reference) as root:
        command = [sys.executable, str(ENTER), str(root), str(spec)]

        def worker(github: Any) -> WorkerImage:
            return WorkerImage(command=command, environment={"GITHUB_API_URL": github.api_url, **variables})

        with emulators(home / "state", image=worker, workers_max=1) as made:
            yield (endpoint := Endpoint(root, made))
        assert endpoint.processes() == []

"""Starts and stops real worker processes, as RunPod starts and stops containers.

https://docs.runpod.io/serverless/endpoints/endpoint-configurations
"""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from bridge.emulator.runpod.logs import LogFile
from bridge.emulator.runpod.state import RunPodState, Worker

CHECK_INTERVAL = 0.05
"""s between two checks of the number of workers."""

IMAGE = "runner:emulated"
"""In the log of the host, whose lines are as in https://github.com/runpod-workers/worker-comfyui/issues/78."""

TERM_GRACE = 30.0
"""s between TERM and KILL of a worker that has a request."""


@dataclass(frozen=True, kw_only=True)
class WorkerImage:
    """The program of a worker.

    Args:
        command: the program, such as `[sys.executable, "handler.py"]`.
        environment: the endpoint's variables.
        prepare: fills the folder of a new container, and returns variables for it, such as RUNNER_DIR.
    """

    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[[Path], Mapping[str, str]] = field(default=lambda _folder: {})


@dataclass(kw_only=True)
class _Container:
    worker: Worker
    folder: Path
    life: asyncio.Task[None]
    output: LogFile
    process: asyncio.subprocess.Process | None = None


class Scaler:
    """Keeps the number of each endpoint's workers at what its requests need.

    Args:
        state: the model.
        images: by endpoint id; an endpoint without an image has no workers.
        root: for the containers' folders and logs.
        url: the emulator's base URL.
        worker_key: with which workers authenticate.
    """

    def __init__(
        self, state: RunPodState, images: Mapping[str, WorkerImage], *, root: Path, url: str, worker_key: str
    ) -> None:
        self._state = state
        self._images = images
        self._root = root
        self._url = url
        self._worker_key = worker_key
        self._containers: dict[str, _Container] = {}

    async def run(self) -> None:
        """Scale until cancelled; then stop all workers."""
        try:
            while True:
                for endpoint in list(self._images):  # some may be created or deleted meanwhile
                    self._scale(endpoint)
                for container in list(self._containers.values()):
                    self._read_log(container)
                await asyncio.sleep(CHECK_INTERVAL)
        finally:
            containers = list(self._containers.values())
            for container in containers:
                container.life.cancel()
            await asyncio.gather(*(c.life for c in containers), return_exceptions=True)

    def _read_log(self, container: _Container, *, ended: bool = False) -> None:
        for line in container.output.new_lines(ended=ended):
            self._state.logs.add(container.worker.id, "container", line)

    def logs(self) -> str:
        """The output of all workers."""
        return "".join(path.read_text(errors="replace") for path in sorted(self._root.glob("*.log")))

    def kill(self, worker_id: str) -> None:
        """Kill a worker, as if its machine failed."""
        _kill_container(worker_id)

    def _scale(self, endpoint: str) -> None:
        mine = [c for c in self._containers.values() if c.worker.endpoint == endpoint]
        staying = [c for c in mine if not c.worker.leaving]
        for _ in range(min(self._state.room(endpoint), self._state.wanted(endpoint) - len(staying))):
            self._start(endpoint)
        for worker in list(self._state.idle_workers(endpoint)):
            worker.leaving = True

    def _start(self, endpoint: str) -> None:
        worker = self._state.add_worker(endpoint)
        life = asyncio.create_task(self._live(worker, self._images[endpoint]))
        output = LogFile(self._root / f"{worker.id}.log")
        self._containers[worker.id] = _Container(worker=worker, folder=self._root / worker.id, life=life, output=output)
        self._state.logs.add(worker.id, "system", f"create container {IMAGE}")

    async def _live(self, worker: Worker, image: WorkerImage) -> None:
        """A container from its cold start to its removal."""
        try:
            await asyncio.sleep(self._state.endpoints[worker.endpoint].cold_start)
            await self._serve(self._containers[worker.id], image)
        finally:
            container = self._containers.pop(worker.id)
            self._read_log(container, ended=True)
            self._state.remove_worker(worker)
            shutil.rmtree(container.folder, ignore_errors=True)

    async def _serve(self, container: _Container, image: WorkerImage) -> None:
        worker = container.worker
        container.folder.mkdir(parents=True)
        environment = self._environment(container, image)
        self._state.started(worker)
        self._state.logs.add(worker.id, "system", f"start container for {IMAGE}: begin")
        with (self._root / f"{worker.id}.log").open("wb") as log:
            container.process = await asyncio.create_subprocess_exec(
                *image.command,
                cwd=container.folder,
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            while container.process.returncode is None and not self._may_go(worker):  # noqa: ASYNC110 - a state, not an event
                await asyncio.sleep(CHECK_INTERVAL)
        finally:
            await _unbroken(_end(container.process, worker))

    def _may_go(self, worker: Worker) -> bool:
        """Whether it must leave, and everything has been exchanged with it."""
        return worker.leaving and not worker.to_stop and worker.request is None

    def _environment(self, container: _Container, image: WorkerImage) -> dict[str, str]:
        """The complete environment of the program; from this process only the search path."""
        worker, home, tmp = container.worker, container.folder / "home", container.folder / "tmp"
        home.mkdir()
        tmp.mkdir()
        base = f"{self._url}/worker/{worker.endpoint}"
        return {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(home),
            "TMPDIR": str(tmp),
            "LANG": "C.UTF-8",
            "RUNPOD_POD_ID": worker.id,
            "RUNPOD_ENDPOINT_ID": worker.endpoint,
            "RUNPOD_AI_API_KEY": self._worker_key,
            "RUNPOD_PING_INTERVAL": "2000",
            # The SDK appends its parameters with &, so each URL needs a query.
            "RUNPOD_WEBHOOK_GET_JOB": f"{base}/job-take/$ID?gpu=none",
            "RUNPOD_WEBHOOK_POST_OUTPUT": f"{base}/job-done/$RUNPOD_POD_ID/$ID?gpu=none",
            "RUNPOD_WEBHOOK_PING": f"{base}/ping/$RUNPOD_POD_ID?gpu=none",
            "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true",
            "RUNPOD_SKIP_GPU_CHECK": "true",
            **image.environment,
            **image.prepare(container.folder),
        }


async def _unbroken(ending: Coroutine[object, object, None]) -> None:
    """Wait for `ending`, even if this task is cancelled meanwhile, so that no process is left behind."""
    task = asyncio.create_task(ending)
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(task)


async def _end(process: asyncio.subprocess.Process, worker: Worker) -> None:
    """Stop a container: TERM to its program, time to end a request, then KILL to all its processes."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        if worker.request is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(process.wait()), TERM_GRACE)
    await asyncio.to_thread(_kill_container, worker.id)
    await process.wait()


def _kill_container(worker_id: str) -> None:
    """Kill all processes with the container's id in their environment: they cannot leave a real container, either."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if process.environ().get("RUNPOD_POD_ID") == worker_id:
                process.kill()

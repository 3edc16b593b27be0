"""Starts and stops real worker processes, as RunPod would start and stop containers."""

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

from bridge.emulator.runpod.state import RunPodState, Worker

LOOK_EVERY = 0.05
"""s between two looks at what is wanted."""

TERM_GRACE = 30.0
"""s between TERM and KILL of a worker that holds a request."""


@dataclass(frozen=True, kw_only=True)
class WorkerImage:
    """What a worker runs.

    Args:
        command: the program, such as `[sys.executable, "handler.py"]`.
        environment: the endpoint's own variables.
        prepare: fills a new container's folder and returns variables for it, such as RUNNER_DIR.
    """

    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[[Path], Mapping[str, str]] = field(default=lambda _folder: {})


@dataclass(kw_only=True)
class _Container:
    worker: Worker
    folder: Path
    life: asyncio.Task[None]
    process: asyncio.subprocess.Process | None = None


class Scaler:
    """Keeps each endpoint's workers at what its requests want.

    Args:
        state: the model.
        images: by endpoint id; an endpoint without one has no processes.
        root: where containers' folders and logs are made.
        url: the emulator's base URL.
        worker_key: what workers authenticate with.
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
        """Scale until cancelled; then end every worker."""
        try:
            while True:
                for endpoint in list(self._images):  # some may be created or deleted meanwhile
                    self._scale(endpoint)
                await asyncio.sleep(LOOK_EVERY)
        finally:
            containers = list(self._containers.values())
            for container in containers:
                container.life.cancel()
            await asyncio.gather(*(c.life for c in containers), return_exceptions=True)

    def logs(self) -> str:
        """All that workers have written."""
        return "".join(path.read_text(errors="replace") for path in sorted(self._root.glob("*.log")))

    def kill(self, worker_id: str) -> None:
        """Let a worker vanish, as when its machine fails."""
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
        self._containers[worker.id] = _Container(worker=worker, folder=self._root / worker.id, life=life)

    async def _live(self, worker: Worker, image: WorkerImage) -> None:
        """A container from its cold start to its removal."""
        try:
            await asyncio.sleep(self._state.endpoints[worker.endpoint].cold_start)
            await self._serve(self._containers[worker.id], image)
        finally:
            container = self._containers.pop(worker.id)
            self._state.remove_worker(worker)
            shutil.rmtree(container.folder, ignore_errors=True)

    async def _serve(self, container: _Container, image: WorkerImage) -> None:
        worker = container.worker
        container.folder.mkdir(parents=True)
        environment = self._environment(container, image)
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
                await asyncio.sleep(LOOK_EVERY)
        finally:
            await _unbroken(_end(container.process, worker))

    def _may_go(self, worker: Worker) -> bool:
        """Told to leave, and nothing more to hear from it."""
        return worker.leaving and not worker.to_stop and worker.request is None

    def _environment(self, container: _Container, image: WorkerImage) -> dict[str, str]:
        """All that the program sees: nothing of this process's own environment but its search path."""
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
            # The SDK appends its parameters with &, so each URL has a query already.
            "RUNPOD_WEBHOOK_GET_JOB": f"{base}/job-take/$ID?gpu=none",
            "RUNPOD_WEBHOOK_POST_OUTPUT": f"{base}/job-done/$RUNPOD_POD_ID/$ID?gpu=none",
            "RUNPOD_WEBHOOK_PING": f"{base}/ping/$RUNPOD_POD_ID?gpu=none",
            "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true",
            "RUNPOD_SKIP_GPU_CHECK": "true",
            **image.environment,
            **image.prepare(container.folder),
        }


async def _unbroken(ending: Coroutine[object, object, None]) -> None:
    """Wait for `ending`, however often this task is cancelled meanwhile: no process is left behind."""
    task = asyncio.create_task(ending)
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(task)


async def _end(process: asyncio.subprocess.Process, worker: Worker) -> None:
    """Stop a container: TERM to its program and a grace while it holds a request, then KILL to all in it."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        if worker.request is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(process.wait()), TERM_GRACE)
    await asyncio.to_thread(_kill_container, worker.id)
    await process.wait()


def _kill_container(worker_id: str) -> None:
    """Kill all that carries the container's id in its environment: as with a real one, nothing can leave it."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if process.environ().get("RUNPOD_POD_ID") == worker_id:
                process.kill()

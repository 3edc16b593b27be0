"""Workers without processes or HTTP: they act on the state of both emulators directly, in the emulators' event loop.

For tests with many jobs, and for everything that can happen to a worker.
"""

import asyncio
import base64
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from bridge.emulator.github.state import GitHubState, Job, Refused, Runner
from bridge.emulator.runpod import RunPodState
from bridge.emulator.runpod.state import Request, Worker

POLL_EVERY = 0.02
"""s between two reads of the emulators' state."""

VERSION = "2.338.0"


class Fate(StrEnum):
    """What happens to one delivery of a request."""

    NORMAL = "normal"
    DIES_BEFORE = "dies_before"  # the worker disappears before its runner listens
    DIES_ASSIGNED = "dies_assigned"  # after its runner was assigned a job, before it takes the job: GitHub requeues it
    DIES_DURING = "dies_during"  # during its job: the runner stops reporting, and GitHub fails the job
    FAILS = "fails"  # its job fails by itself
    FAILS_AND_DIES = "fails_and_dies"  # its job fails by itself, and it dies before it answers RunPod
    DIES_AFTER = "dies_after"  # after its job, before it answers RunPod
    CRASHES = "crashes"  # answers `crashed` before its runner listens
    DEPRECATED = "deprecated"  # answers `version_deprecated`: GitHub refuses the runner's session
    NEVER_STARTS = "never_starts"  # stays IN_QUEUE; RunPod gives it to no worker


def normal(_request: Request) -> Fate:
    """Every delivery goes well."""
    return Fate.NORMAL


async def work(
    github: GitHubState,
    runpod: RunPodState,
    *,
    fate: Callable[[Request], Fate] = normal,
    seconds: float = 0.0,
    boot: float = 0.0,
) -> None:
    """Serve every endpoint with up to `workers_max` workers until cancelled. Runs in the emulators' event loop.

    Args:
        github: the emulator's state.
        runpod: the emulator's state; its endpoints have no images.
        fate: called before each delivery; `request.workers` names the workers that had the request before.
        seconds: how long each job takes.
        boot: how long a worker takes from the start of its container until it takes a request.
    """
    booting: dict[Worker, float] = {}
    async with asyncio.TaskGroup() as runs:
        while True:
            github.tick()  # here and not in the test's thread: the state belongs to this loop
            for endpoint in list(runpod.endpoints):
                _start(runpod, endpoint, booting, boot)
                for worker, request, fated in _handed_out(runpod, endpoint, fate, booting):
                    run = _WorkerRun(github, runpod, worker, request, fated, seconds)
                    runs.create_task(run.serve())
            await asyncio.sleep(POLL_EVERY)


@asynccontextmanager
async def instant_workers(github: GitHubState, runpod: RunPodState, **given: Any) -> AsyncIterator[None]:
    """Run `work` until the block ends; an error in it is raised then."""
    task = asyncio.create_task(work(github, runpod, **given))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _start(runpod: RunPodState, endpoint: str, booting: dict[Worker, float], boot: float) -> None:
    """Start workers for waiting requests, within the endpoint's limits; `booting` holds when each is ready."""
    runpod.tick()
    without = runpod.queued(endpoint) - sum(worker.endpoint == endpoint for worker in booting)
    for _ in range(min(runpod.room(endpoint), without)):
        worker = runpod.add_worker(endpoint)
        worker.billed_from = runpod.clock() + runpod.endpoints[endpoint].cold_start
        booting[worker] = worker.billed_from + boot


def _handed_out(
    runpod: RunPodState, endpoint: str, fate: Callable[[Request], Fate], booting: dict[Worker, float]
) -> list[tuple[Worker, Request, Fate]]:
    """Give waiting requests to workers that are ready."""
    made = []
    now = runpod.clock()
    for worker in [each for each, ready_at in booting.items() if each.endpoint == endpoint and ready_at <= now]:
        del booting[worker]
        fated = Fate.NORMAL
        while (waiting := runpod.next_request(endpoint)) and (fated := fate(waiting)) is Fate.NEVER_STARTS:
            runpod.withhold(waiting)
        if waiting is None:
            runpod.remove_worker(worker)
            continue
        taken = runpod.take(worker.id)
        assert taken is waiting
        made.append((worker, waiting, fated))
    return made


class _Gone(Exception):
    """The worker was stopped or died."""


class _Failed(Exception):
    """The worker answers with the error `{reason}: {detail}`."""


@dataclass(kw_only=True)
class _Outcome:
    outcome: str
    job: str | None = None
    result: str | None = None


class _WorkerRun:
    """One worker that serves one request."""

    def __init__(  # noqa: PLR0917 - all of them describe one worker
        self, github: GitHubState, runpod: RunPodState, worker: Worker, request: Request, fate: Fate, seconds: float
    ) -> None:
        self._github = github
        self._runpod = runpod
        self._worker = worker
        self._request = request
        self._input: Mapping[str, Any] = request.input
        self._fate = fate
        self._seconds = seconds
        self._boot = runpod.clock() - (worker.billed_from or runpod.clock())

    async def serve(self) -> None:
        """Serve the request and answer it, unless the worker dies."""
        try:
            answer = await self._answer()
            if self._fate not in (Fate.DIES_AFTER, Fate.FAILS_AND_DIES):
                self._runpod.done(self._worker.id, self._request.id, {**answer, "stopPod": True})
        except _Gone:
            pass
        finally:
            self._runpod.remove_worker(self._worker)

    async def _answer(self) -> dict[str, Any]:
        try:
            done = await self._served()
        except _Failed as failed:
            reason = str(failed).partition(":")[0]
            return {"output": {"outcome": reason, "boot_seconds": self._boot}, "error": str(failed)}
        name = self._input.get("runner_name") or ""
        return {"output": {**vars(done), "runner_name": name, "runner_version": VERSION, "boot_seconds": self._boot}}

    async def _served(self) -> _Outcome:
        if self._fate is Fate.DIES_BEFORE:
            raise _Gone
        # GitHub's clock: this machine's may be wrong (runner_image/lateness.py).
        if self._github.clock() > self._input.get("not_after", float("inf")):
            return _Outcome(outcome="expired")
        if self._fate is Fate.CRASHES:
            raise _Failed("crashed: RuntimeError: on request")
        runner = self._registered()
        self._open_session(runner)
        try:
            job = await self._acquired(runner)
            return await self._executed(runner, job) if job else _Outcome(outcome="no_job")
        finally:
            if self._fate not in (Fate.DIES_ASSIGNED, Fate.DIES_DURING):  # a dead worker reports nothing
                self._github.close_session(runner)

    def _registered(self) -> Runner:
        """The runner of the request's credential; in a token mode it is registered here."""
        if config := self._input.get("jit_config"):
            try:
                return self._github.by_client_id(credential_of(config))
            except Refused as refused:
                raise _Failed(f"registration_lost: {refused.message}") from None
        if not (token := self._input.get("registration_token")):
            raise _Failed("bad_input: jit_config: missing; instant workers know jit and registration mode")
        path = urlsplit(self._input["runner_url"]).path.strip("/")
        target = f"repos/{path}" if "/" in path else f"orgs/{path}"
        if not self._github.accepts(token, target):
            raise _Failed("credential_expired: Invalid registration token")
        try:
            return self._github.add_runner(target, self._input["runner_name"], self._input["runner_labels"])
        except Refused as refused:
            raise _Failed(f"name_taken: {refused.message}") from None

    def _open_session(self, runner: Runner) -> None:
        try:
            version = "0.0.0" if self._fate is Fate.DEPRECATED else VERSION
            self._github.open_session(runner, version)
        except Refused as refused:
            reason = "session_conflict" if refused.status == 409 else "version_deprecated"
            raise _Failed(f"{reason}: {refused.message}") from None

    async def _acquired(self, runner: Runner) -> Job | None:
        """Listen until there is a job or the idle timeout is over."""
        patience = self._runpod.clock() + self._input.get("idle_timeout", 300.0)
        while True:
            self._heed()
            try:
                self._github.by_client_id(runner.client_id)
            except Refused as refused:
                raise _Failed(f"registration_lost: {refused.message}") from None
            if job := self._github.assigned(runner):
                if self._fate is Fate.DIES_ASSIGNED:
                    raise _Gone
                return self._github.acquire(runner, job.id)
            if self._runpod.clock() >= patience:
                return None
            await asyncio.sleep(POLL_EVERY)

    async def _executed(self, runner: Runner, job: Job) -> _Outcome:
        result, until = (
            "Failed" if self._fate in (Fate.FAILS, Fate.FAILS_AND_DIES) else "Succeeded",
            time.monotonic() + self._seconds,
        )
        step = job.steps["1"] = {"name": "run", "number": 1, "status": 3}
        if self._fate is Fate.DIES_DURING:
            await asyncio.sleep(self._seconds / 2)
            raise _Gone
        try:
            while time.monotonic() < until:
                await asyncio.sleep(min(POLL_EVERY, until - time.monotonic()))
                cancelled = self._github.renew(runner, job.id)
                if cancelled or self._worker.to_stop:
                    result = "Canceled"
                    break
            step |= {"status": 6, "conclusion": {"Succeeded": 2, "Failed": 3}.get(result, 4)}
            self._github.complete(runner, job.id, result, {}, "")
        except Refused:  # GitHub has failed the job; the real runner cancels it then
            result = "Canceled"
        self._heed()
        return _Outcome(outcome="completed", job=job.spec.name, result=result)

    def _heed(self) -> None:
        """Stop without an answer if RunPod has told the worker to stop."""
        if self._runpod.stops(self._worker.id):
            raise _Gone


def credential_of(jit_config: str) -> str:
    """The credential in a just-in-time configuration."""
    files = json.loads(base64.b64decode(jit_config))
    return str(json.loads(base64.b64decode(files[".credentials"]))["Data"]["ClientId"])

"""Runs one request: configures the runner, listens, runs one job, cleans up."""

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bridge.core.worker import Credentials, Reason, WorkerAnswer
from runner_image import caching, diagnostics
from runner_image.bounded import Late, in_time
from runner_image.environment import runner_environment
from runner_image.failure import Failure
from runner_image.gpu import GpuMeter
from runner_image.installation import Installation
from runner_image.lateness import is_late
from runner_image.leftovers import Folder, forget_job, remember, restore
from runner_image.listener import RESTARTABLE, Phase, Progress, conclude, conclude_stopped, ended_by_itself
from runner_image.masking import Masker
from runner_image.process import Process, unbroken
from runner_image.registration import (
    Deletion,
    config_arguments,
    config_failure,
    delete_registration,
    registered_id,
    registration_token,
)
from runner_image.request import RunnerRequest


@dataclass
class _Stopwatch:
    """Measures the seconds of each phase."""

    phase: str = "configure"
    began: float = field(default_factory=time.monotonic)
    seconds: dict[str, float] = field(default_factory=dict)

    def enter(self, phase: str) -> None:
        now = time.monotonic()
        self.seconds[self.phase] = round(self.seconds.get(self.phase, 0.0) + now - self.began, 3)
        self.phase, self.began = str(phase), now


class Session:
    """Runs the runner of one request.

    Args:
        request: what to run.
        runner: the installed runner.
        environment: the worker's.
        masker: masks everything that is written.
        emit: writes one event to the log, as name and fields.
    """

    def __init__(
        self,
        request: RunnerRequest,
        runner: Installation,
        *,
        environment: Mapping[str, str],
        masker: Masker,
        emit: Callable[..., None],
    ) -> None:
        self._request = request
        self._runner = runner
        self._root, self._account, self._limits = runner.root, runner.account, runner.limits
        self._worker_environment = environment
        self._environment = runner_environment(environment, request.job_input)
        self._environment |= self._account.variables if self._account else {}
        self._masker = masker
        self._emit = emit
        self._stopwatch = _Stopwatch()
        self._progress = Progress()
        self._at_end: Progress | None = None
        self._timeout: asyncio.Timeout | None = None
        self._deadline = self._connect_until = self._idle_until = 0.0
        self._deletion: Deletion | None = None
        self._kept_until: dict[Deletion, float] = {}
        self._exit_code: int | None = None
        self._runner_id: int | None = None
        self._folder: Folder | None = None
        self._gpu = GpuMeter(environment, self._limits, emit)

    async def run(self) -> WorkerAnswer:
        """Run one job.

        Raises:
            Failure: for every reason but `completed`, `no_job` and `expired`.
            asyncio.CancelledError: the request was stopped before a job ended; everything has been cleaned up.
        """
        if await is_late(self._request, time.time(), self._limits):
            return self._answer(Reason.EXPIRED)
        reason = Reason.STOPPED
        try:
            secret = await self._configured()
            self._emit("configured")
            self._environment |= await self._gpu.open()
            self._environment |= await self._cache()
            reason, detail = await self._listened(secret)
        except asyncio.CancelledError:
            if not (self._at_end and ended_by_itself(self._at_end, self._progress)):
                raise
            reason, detail = Reason.COMPLETED, "the job ended before the request was stopped"
        finally:
            await unbroken(self._cleaned_up(reason))
        if reason not in (Reason.COMPLETED, Reason.NO_JOB):
            raise Failure(reason, detail, self._known())
        return self._answer(reason)

    def _answer(self, reason: Reason) -> WorkerAnswer:
        return {
            "outcome": reason.value,
            "job": self._progress.job,
            "result": self._progress.result,
            "runner_name": self._request.name,
            "runner_version": self._progress.version,
            "exit_code": self._exit_code,
            **self._known(),
        }

    async def _cache(self) -> dict[str, str]:
        """The variables of the hooks that give a job its cache, after its root was prepared."""
        if self._request.cache_gb is None:
            return {}
        return await caching.prepared(self._request, self._runner, self._worker_environment, self._emit)

    def _known(self) -> WorkerAnswer:
        """What every answer of a started runner tells."""
        known: WorkerAnswer = {"seconds": self._stopwatch.seconds}
        if usage := self._gpu.usage:
            known |= {"gpu_type": usage["name"], "gpu_usage": usage}
        if data_center := self._worker_environment.get("RUNPOD_DC_ID"):
            known["data_center"] = data_center
        return known

    async def _configured(self) -> dict[str, str]:
        """Register the runner. Returns secret variables for the Listener."""
        await self._prepare_folder()
        if self._request.mode is Credentials.JIT:
            return {"ACTIONS_RUNNER_INPUT_JITCONFIG": self._request.secret or ""}
        token = await registration_token(self._request, self._worker_environment, self._limits.connect)
        self._masker.learn(token)
        lines: list[str] = []
        try:
            code = await self._configure({"ACTIONS_RUNNER_INPUT_TOKEN": token}, lines.append)
        finally:  # it may have registered before it was stopped
            self._runner_id = registered_id(self._root)
        if code:
            raise config_failure(lines, code)
        return {}

    async def _configure(self, secret: Mapping[str, str], note: Callable[[str], None]) -> int:
        def on_line(line: str) -> None:
            self._show(line)
            note(line)

        process = await self._start(["./config.sh", *config_arguments(self._request)], secret, on_line)
        try:
            async with asyncio.timeout(self._limits.configure):
                return await process.wait()
        except TimeoutError:
            detail = f"config.sh did not finish within {self._limits.configure:.0f} s"
            raise Failure(Reason.GITHUB_UNREACHABLE, detail) from None
        finally:
            await unbroken(process.stop())

    async def _listened(self, secret: Mapping[str, str]) -> tuple[Reason, str]:
        """Run the Listener, and restart it if that can help. All starts share the limits before a job."""
        began = asyncio.get_running_loop().time()
        self._connect_until = began + self._limits.connect
        self._idle_until = began + self._request.idle_timeout + self._limits.idle_grace
        for restart in range(self._limits.restarts + 1):
            reason, detail = await self._listened_once(secret)
            restartable = self._exit_code in RESTARTABLE and self._progress.job is None and reason is Reason.CRASHED
            if not restartable or restart == self._limits.restarts:
                break
            self._emit("listener restarting", exit_code=self._exit_code)
            await asyncio.sleep(self._limits.restart_wait * 2**restart)
        return reason, detail

    async def _listened_once(self, secret: Mapping[str, str]) -> tuple[Reason, str]:
        self._stopwatch.enter(Phase.CONNECT)
        self._progress = Progress(version=self._progress.version, said=self._progress.said)
        self._at_end, self._deadline = None, self._due()
        process = await self._start(["./bin/Runner.Listener", "run", "--once"], secret, self._on_line)
        self._emit("listener started", pid=process.pid)
        try:
            exited = await self._followed(process)
        finally:
            self._at_end = self._progress
            self._stopwatch.enter("cleanup")
            # A signal to the whole group would make the step fail, and steps with `if: failure()` would run.
            await unbroken(process.stop(alone=self._limits.interrupt))
        if exited:
            return conclude(self._progress, self._exit_code or 0)
        if self._progress.job is None and self._deletion is Deletion.AGREED:
            return Reason.NO_JOB, "GitHub assigned no job"  # although the runner complains that it was deleted
        if self._progress.job is None and self._deletion is Deletion.BUSY:
            return Reason.CRASHED, "GitHub gave the runner a job, but the runner did not start it"
        return conclude_stopped(self._at_end, self._progress, self._request.job_timeout)

    async def _followed(self, process: Process) -> bool:
        """Wait until the Listener exits; False if it reached a limit first."""
        while True:
            try:
                async with asyncio.timeout_at(self._deadline) as self._timeout:
                    self._exit_code = await process.wait()
                    return True
            except TimeoutError:
                pass
            finally:
                self._timeout = None
            if not await self._kept():
                return False

    async def _kept(self) -> bool:
        """Whether the runner must go on although it has reached a limit.

        The registration of an idle runner is deleted first, if the credential allows it: then GitHub can give it no
        job. If GitHub refuses, the runner has a job.
        """
        idle = self._progress.phase is Phase.LISTEN and not self._progress.hopeless
        if not idle or not self._owned or self._runner_id is None:
            return False
        deletion = await self._deleted(self._runner_id)
        if self._progress.job is not None:
            return True
        self._deletion = deletion
        if deletion is Deletion.AGREED:
            self._runner_id = None
            return False
        if self._progress.phase is not Phase.LISTEN:
            return True  # it lost its connection meanwhile; that phase has its own limit
        now = asyncio.get_running_loop().time()
        kept = self._limits.kept_busy if deletion is Deletion.BUSY else self._limits.kept_unknown
        until = self._kept_until.setdefault(deletion, now + kept)
        self._deadline = now + self._limits.deletion_retry
        self._emit("runner kept", deletion=deletion.name.lower())
        return now < until

    @property
    def _owned(self) -> bool:
        """Whether this worker's credential may delete the runner that it registered."""
        return self._request.mode in (Credentials.APP, Credentials.PAT)

    async def _deleted(self, runner_id: int) -> Deletion:
        limit = self._limits.deletion
        return await delete_registration(self._request, self._worker_environment, runner_id, limit=limit)

    def _on_line(self, line: str) -> None:
        """Follow the Listener's output: each phase has its own limit."""
        self._show(line)
        before, self._progress = self._progress, self._progress.after(line)
        entered = self._progress.phase is not before.phase
        if entered:
            self._emit_phase(before)
        troubled = self._progress.trouble is not before.trouble and self._progress.job is None
        if self._at_end is None and (entered or troubled):
            self._stopwatch.enter(self._progress.phase)
            self._allow_until(self._due())

    def _emit_phase(self, before: Progress) -> None:
        match self._progress.phase:
            case Phase.CONNECT:
                self._emit("connection lost", detail=self._progress.said)
            case Phase.LISTEN:
                self._emit("reconnected" if before.listening else "listening")
            case Phase.JOB:
                self._emit("job started", job=self._progress.job)
                self._gpu.begin()
            case Phase.LEAVE:
                self._emit("job ended", job=self._progress.job, result=self._progress.result)
                self._gpu.end()

    def _due(self) -> float:
        """When the phase that has just begun must end, as the loop's time."""
        now = asyncio.get_running_loop().time()
        if self._progress.hopeless:
            return now
        match self._progress.phase:
            case Phase.JOB:
                return now + self._request.job_timeout
            case Phase.LEAVE:
                return now + self._limits.exit
            case Phase.CONNECT if self._progress.listening:
                return now + self._limits.reconnect
            case Phase.CONNECT if self._progress.trouble is not Reason.SESSION_CONFLICT:
                return self._connect_until
        return self._idle_until  # also for a session conflict: it may end, and the runner itself retries for 240 s

    def _allow_until(self, deadline: float) -> None:
        self._deadline = deadline
        if self._timeout and not self._timeout.expired():
            self._timeout.reschedule(deadline)

    def _show(self, line: str) -> None:
        print(self._masker.mask(line), flush=True)

    async def _start(self, argv: list[str], secret: Mapping[str, str], on_line: Callable[[str], None]) -> Process:
        try:
            environment = {**self._environment, **secret}
            return await Process.start(argv, self._runner, environment=environment, on_line=on_line)
        except OSError as error:
            detail = f"cannot start {self._root / argv[0]}: {error.strerror}; check RUNNER_DIR"
            raise Failure(Reason.CONFIGURATION_FAILED, detail) from None

    async def _cleaned_up(self, reason: Reason) -> None:
        """Remove the registration, if it ran no job, and everything that the next job could find."""
        self._stopwatch.enter("cleanup")
        await self._gpu.close()
        if self._owned and self._runner_id is not None and self._progress.result is None:
            await self._deleted(self._runner_id)
        if reason not in (Reason.COMPLETED, Reason.NO_JOB):
            await self._save_diagnostics()
        await self._restore_folder()
        self._stopwatch.enter("done")

    async def _prepare_folder(self) -> None:
        """Remove what an earlier job left. A worker that cannot do so must not run a job."""
        try:
            await in_time(lambda: forget_job(self._root, self._account), self._limits.clean_up)
            self._folder = await in_time(lambda: remember(self._root), self._limits.clean_up)
        except Late as late:
            raise Failure(Reason.CRASHED, f"the clean-up before the job failed: {late}") from None

    async def _restore_folder(self) -> None:
        """Remove what the job left. A failure does not change how the job ended, and this worker exits in any case."""

        def clean_up() -> int:
            stuck = forget_job(self._root, self._account)
            if self._folder is not None:
                restore(self._root, self._folder)
            return stuck

        try:
            stuck = await in_time(clean_up, self._limits.clean_up)
        except Late as late:
            self._emit("not cleaned up", detail=str(late))
        except Exception as error:
            self._emit("not cleaned up", detail=f"{type(error).__name__}: {error}")
        else:
            if stuck:
                detail = f"{stuck} processes were killed and have not ended; the network volume may not answer"
                self._emit("processes not ended", detail=detail)

    async def _save_diagnostics(self) -> None:
        configured = self._worker_environment.get("RUNNER_DIAG_DIR")
        if not configured:
            return
        directory = Path(configured) / f"{re.sub(r'[^A-Za-z0-9._-]', '_', self._request.name)}-{int(time.time())}"
        work = partial(diagnostics.save, self._root, directory, self._masker)
        try:
            saved = await in_time(work, self._limits.diagnostics)
        except (OSError, Late) as error:
            self._emit("diagnostics not saved", detail=str(error))
        else:
            self._emit("diagnostics saved", logs=saved, directory=str(directory))

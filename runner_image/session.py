"""One request from its start to its end: configure, listen, run one job, clean up."""

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bridge.model import WORKER_GRACE, Credentials, Reason, WorkerAnswer
from runner_image import diagnostics
from runner_image.account import runner_account
from runner_image.environment import runner_environment
from runner_image.failure import Failure
from runner_image.lateness import is_late
from runner_image.leftovers import forget_job
from runner_image.listener import RESTARTABLE, Progress, conclude
from runner_image.masking import Masker
from runner_image.process import Process, unbroken
from runner_image.registration import (
    config_arguments,
    config_failure,
    delete_registration,
    registered_id,
    registration_token,
)
from runner_image.request import RunnerRequest

CONFIGURE_LIMIT = 120.0
"""s for config.sh."""

EXIT_LIMIT = 300.0
"""s for the runner to leave after its job: it still sends logs, so it is not hurried."""

RESTARTS, RESTART_WAIT = 3, 1.0
"""Of a Listener that failed before it saw a job: how many, and s before the first; each wait is twice the last."""


@dataclass
class _Clock:
    """Seconds per phase."""

    phase: str = "configure"
    began: float = field(default_factory=time.monotonic)
    seconds: dict[str, float] = field(default_factory=dict)

    def enter(self, phase: str) -> None:
        now = time.monotonic()
        self.seconds[self.phase] = round(self.seconds.get(self.phase, 0.0) + now - self.began, 3)
        self.phase, self.began = phase, now


class Session:
    """Runs one request's runner.

    Args:
        request: what to run.
        root: the runner's directory.
        environment: the worker's.
        masker: masks what is written.
        emit: writes one event to the log, as name and fields.

    Raises:
        Failure: the environment names a user for the runner whom there is not.
    """

    def __init__(
        self,
        request: RunnerRequest,
        *,
        root: Path,
        environment: Mapping[str, str],
        masker: Masker,
        emit: Callable[..., None],
    ) -> None:
        self._request = request
        self._root = root
        self._worker_environment = environment
        self._environment = runner_environment(environment, request.job_input)
        self._account = runner_account(environment)
        self._environment |= self._account.variables if self._account else {}
        self._masker = masker
        self._emit = emit
        self._clock = _Clock()
        self._progress = Progress()
        self._limit: asyncio.Timeout | None = None
        self._exit_code: int | None = None
        self._runner_id: int | None = None

    async def run(self) -> WorkerAnswer:
        """Run one job, or find out why not.

        Raises:
            Failure: any end but `completed` and `no_job`.
            asyncio.CancelledError: the request was stopped; everything has been cleaned up.
        """
        if await is_late(self._request):
            return self._answer(Reason.NO_JOB)
        reason = Reason.STOPPED
        try:
            secret = await self._configured()
            self._emit("configured")
            reason, detail = await self._listened(secret)
        finally:
            await unbroken(self._cleaned_up(reason))
        if reason not in (Reason.COMPLETED, Reason.NO_JOB):
            raise Failure(reason, detail)
        return self._answer(reason)

    def _answer(self, reason: Reason) -> WorkerAnswer:
        return {
            "outcome": reason.value,
            "job": self._progress.job,
            "result": self._progress.result,
            "runner_name": self._request.name,
            "runner_version": self._progress.version,
            "exit_code": self._exit_code,
            "seconds": self._clock.seconds,
        }

    async def _configured(self) -> dict[str, str]:
        """Register the runner; what the Listener's environment needs beyond the job's."""
        await asyncio.to_thread(forget_job, self._root, self._account)
        if self._request.mode is Credentials.JIT:
            return {"ACTIONS_RUNNER_INPUT_JITCONFIG": self._request.secret or ""}
        token = await registration_token(self._request, self._worker_environment)
        self._masker.learn(token)
        lines: list[str] = []
        try:
            code = await self._configure({"ACTIONS_RUNNER_INPUT_TOKEN": token}, lines.append)
        finally:  # it may have registered before it was ended
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
            async with asyncio.timeout(CONFIGURE_LIMIT):
                return await process.wait()
        except TimeoutError:
            raise Failure(Reason.CONFIGURATION_FAILED, f"config.sh took over {CONFIGURE_LIMIT:.0f} s") from None
        finally:
            await unbroken(process.stop())

    async def _listened(self, secret: Mapping[str, str]) -> tuple[Reason, str]:
        """Start the Listener until it has run a job, or will not; all starts share one limit for idling."""
        idle_until = asyncio.get_running_loop().time() + self._request.idle_timeout + WORKER_GRACE
        for restart in range(RESTARTS + 1):
            self._clock.enter("listen")
            reason, detail = await self._listened_once(secret, idle_until)
            fruitless = self._exit_code in RESTARTABLE and self._progress.job is None and reason is Reason.CRASHED
            if not fruitless or restart == RESTARTS:
                break
            self._emit("listener restarts", exit_code=self._exit_code)
            await asyncio.sleep(RESTART_WAIT * 2**restart)
        return reason, detail

    async def _listened_once(self, secret: Mapping[str, str], idle_until: float) -> tuple[Reason, str]:
        self._progress = Progress(version=self._progress.version)
        process = await self._start(["./bin/Runner.Listener", "run", "--once"], secret, self._heard)
        self._emit("listener started", pid=process.pid)
        try:
            async with asyncio.timeout_at(idle_until) as self._limit:
                self._exit_code = await process.wait()
        except TimeoutError:
            return self._overdue()
        finally:
            self._limit = None
            self._clock.enter("cleanup")
            await unbroken(process.stop())
        return conclude(self._progress, self._exit_code)

    def _overdue(self) -> tuple[Reason, str]:
        if self._progress.result:
            return Reason.COMPLETED, "the runner did not leave after its job"
        if self._progress.job is not None:
            return Reason.TIMED_OUT, f"the job took over {self._request.job_timeout:.0f} s"
        if self._progress.trouble:
            return self._progress.trouble, "the runner did not recover"
        return Reason.NO_JOB, "no job came"

    def _heard(self, line: str) -> None:
        """Follow the Listener: each step has a limit of its own."""
        self._show(line)
        before, self._progress = self._progress, self._progress.after(line)
        if self._progress.job != before.job:
            self._emit("job started", job=self._progress.job)
            self._clock.enter("job")
            self._allow(self._request.job_timeout)
        elif self._progress.result != before.result:
            self._emit("job ended", job=self._progress.job, result=self._progress.result)
            self._clock.enter("leave")
            self._allow(EXIT_LIMIT)
        elif self._progress.listening and not before.listening:
            self._emit("listening")
        elif self._progress.hopeless:
            self._allow(0.0)

    def _allow(self, seconds: float) -> None:
        if self._limit and not self._limit.expired():
            self._limit.reschedule(asyncio.get_running_loop().time() + seconds)

    def _show(self, line: str) -> None:
        print(self._masker.mask(line), flush=True)

    async def _start(self, argv: list[str], secret: Mapping[str, str], on_line: Callable[[str], None]) -> Process:
        try:
            environment = {**self._environment, **secret}
            return await Process.start(
                argv, cwd=self._root, environment=environment, on_line=on_line, account=self._account
            )
        except OSError as error:
            detail = f"{self._root / argv[0]} cannot be started: {error.strerror}; is RUNNER_DIR right?"
            raise Failure(Reason.CONFIGURATION_FAILED, detail) from None

    async def _cleaned_up(self, reason: Reason) -> None:
        """Leave nothing for the next job: no registration without a job, no file."""
        self._clock.enter("cleanup")
        owned = self._request.mode in (Credentials.APP, Credentials.PAT)
        if owned and self._runner_id is not None and self._progress.result is None:
            await delete_registration(self._request, self._worker_environment, self._runner_id)
        if reason not in (Reason.COMPLETED, Reason.NO_JOB):
            await asyncio.to_thread(self._keep_diagnostics)
        await asyncio.to_thread(forget_job, self._root, self._account)
        self._clock.enter("done")

    def _keep_diagnostics(self) -> None:
        wanted = self._worker_environment.get("RUNNER_DIAG_DIR")
        if not wanted:
            return
        directory = Path(wanted) / f"{re.sub(r'[^A-Za-z0-9._-]', '_', self._request.name)}-{int(time.time())}"
        try:
            kept = diagnostics.keep(self._root, directory, self._masker)
        except OSError as error:
            self._emit("diagnostics lost", detail=str(error))
        else:
            self._emit("diagnostics kept", logs=kept, directory=str(directory))

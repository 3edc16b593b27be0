"""One request from its start to its end: configure, listen, run one job, clean up."""

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bridge.core.worker import WORKER_GRACE, Credentials, Reason, WorkerAnswer
from runner_image import diagnostics
from runner_image.account import runner_account
from runner_image.environment import runner_environment
from runner_image.failure import Failure
from runner_image.lateness import is_late
from runner_image.leftovers import Folder, forget_job, remember, restore
from runner_image.listener import RESTARTABLE, Phase, Progress, conclude, conclude_stopped, ended_by_itself
from runner_image.masking import Masker
from runner_image.process import Process, unbroken
from runner_image.registration import (
    CONNECT_LIMIT,
    Deletion,
    config_arguments,
    config_failure,
    delete_registration,
    registered_id,
    registration_token,
)
from runner_image.request import RunnerRequest

CONFIGURE_LIMIT = 60.0
"""s for config.sh, which waits for nothing but GitHub."""

RECONNECT_LIMIT = 120.0
"""s for a runner that lost GitHub while it waited for a job; it tries again every 15 to 60 s."""

DELETION_LIMIT, DELETION_AGAIN = 5.0, 30.0
"""s for GitHub's answer to a deletion, and s until it is asked again."""

KEEP_LIMITS = {Deletion.BUSY: 900.0, Deletion.UNKNOWN: 300.0}
"""s that a runner is kept at its idle limit although it speaks of no job: while GitHub says that it has one, which it
fails after 10 minutes without a sign of it, and while GitHub says nothing."""

LISTENER_GRACE = 15.0
"""s for the Listener, interrupted alone, to cancel its job and to leave. GitHub's runner takes up to 14 s: it
interrupts the step, terminates it after 7.5 s, kills it after 2.5 s more, and starts no other step. A signal to its
whole group would make the step fail instead, and the steps with `if: failure()` run."""

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
        self.phase, self.began = str(phase), now


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
        self._at_end: Progress | None = None
        self._limit: asyncio.Timeout | None = None
        self._deadline = self._connect_until = self._idle_until = 0.0
        self._deletion: Deletion | None = None
        self._kept_until: dict[Deletion, float] = {}
        self._exit_code: int | None = None
        self._runner_id: int | None = None
        self._folder: Folder | None = None

    async def run(self) -> WorkerAnswer:
        """Run one job, or find out why not.

        Raises:
            Failure: any end but `completed`, `no_job` and `expired`.
            asyncio.CancelledError: the request was stopped before a job ended; everything has been cleaned up.
        """
        if await is_late(self._request):
            return self._answer(Reason.EXPIRED)
        reason = Reason.STOPPED
        try:
            secret = await self._configured()
            self._emit("configured")
            reason, detail = await self._listened(secret)
        except asyncio.CancelledError:
            if not (self._at_end and ended_by_itself(self._at_end, self._progress)):
                raise
            reason, detail = Reason.COMPLETED, "the job had ended when the request was stopped"
        finally:
            await unbroken(self._cleaned_up(reason))
        if reason not in (Reason.COMPLETED, Reason.NO_JOB):
            raise Failure(reason, detail, self._clock.seconds)
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
        await asyncio.to_thread(self._prepare_folder)
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
            raise Failure(Reason.GITHUB_UNREACHABLE, f"config.sh took over {CONFIGURE_LIMIT:.0f} s") from None
        finally:
            await unbroken(process.stop())

    async def _listened(self, secret: Mapping[str, str]) -> tuple[Reason, str]:
        """Start the Listener until it has run a job, or will not; all starts share the limits before a job."""
        began = asyncio.get_running_loop().time()
        self._connect_until = began + CONNECT_LIMIT
        self._idle_until = began + self._request.idle_timeout + WORKER_GRACE
        for restart in range(RESTARTS + 1):
            reason, detail = await self._listened_once(secret)
            fruitless = self._exit_code in RESTARTABLE and self._progress.job is None and reason is Reason.CRASHED
            if not fruitless or restart == RESTARTS:
                break
            self._emit("listener restarts", exit_code=self._exit_code)
            await asyncio.sleep(RESTART_WAIT * 2**restart)
        return reason, detail

    async def _listened_once(self, secret: Mapping[str, str]) -> tuple[Reason, str]:
        self._clock.enter(Phase.CONNECT)
        self._progress = Progress(version=self._progress.version, said=self._progress.said)
        self._at_end, self._deadline = None, self._due()
        process = await self._start(["./bin/Runner.Listener", "run", "--once"], secret, self._heard)
        self._emit("listener started", pid=process.pid)
        try:
            left = await self._followed(process)
        finally:
            self._at_end = self._progress
            self._clock.enter("cleanup")
            await unbroken(process.stop(alone=LISTENER_GRACE))
        if left:
            return conclude(self._progress, self._exit_code or 0)
        if self._progress.job is None and self._deletion is Deletion.AGREED:
            return Reason.NO_JOB, "no job came"  # whatever the runner says of its deletion
        if self._progress.job is None and self._deletion is Deletion.BUSY:
            return Reason.CRASHED, "GitHub gave the runner a job, but the runner did not start it"
        return conclude_stopped(self._at_end, self._progress, self._request.job_timeout)

    async def _followed(self, process: Process) -> bool:
        """Wait for the Listener's end; False when a limit came first."""
        while True:
            try:
                async with asyncio.timeout_at(self._deadline) as self._limit:
                    self._exit_code = await process.wait()
                    return True
            except TimeoutError:
                pass
            finally:
                self._limit = None
            if not await self._kept():
                return False

    async def _kept(self) -> bool:
        """At a limit: whether the runner must not be stopped.

        An idle one is deleted first, where the credential allows it: then GitHub can give it no job. If GitHub refuses,
        the runner has one.
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
            return True  # it lost its connection meanwhile, which has a limit of its own
        now = asyncio.get_running_loop().time()
        until = self._kept_until.setdefault(deletion, now + KEEP_LIMITS[deletion])
        self._deadline = now + DELETION_AGAIN
        self._emit("runner kept", deletion=deletion.name.lower())
        return now < until

    @property
    def _owned(self) -> bool:
        """Whether this worker's credential may delete the runner that it registered."""
        return self._request.mode in (Credentials.APP, Credentials.PAT)

    async def _deleted(self, runner_id: int) -> Deletion:
        return await delete_registration(self._request, self._worker_environment, runner_id, limit=DELETION_LIMIT)

    def _heard(self, line: str) -> None:
        """Follow the Listener: each phase has a limit of its own."""
        self._show(line)
        before, self._progress = self._progress, self._progress.after(line)
        entered = self._progress.phase is not before.phase
        if entered:
            self._tell(before)
        troubled = self._progress.trouble is not before.trouble and self._progress.job is None
        if self._at_end is None and (entered or troubled):
            self._clock.enter(self._progress.phase)
            self._allow_until(self._due())

    def _tell(self, before: Progress) -> None:
        match self._progress.phase:
            case Phase.CONNECT:
                self._emit("connection lost", detail=self._progress.said)
            case Phase.LISTEN:
                self._emit("connected again" if before.listening else "listening")
            case Phase.JOB:
                self._emit("job started", job=self._progress.job)
            case Phase.LEAVE:
                self._emit("job ended", job=self._progress.job, result=self._progress.result)

    def _due(self) -> float:
        """The limit of the phase that has just begun, as the loop's time."""
        now = asyncio.get_running_loop().time()
        if self._progress.hopeless:
            return now
        match self._progress.phase:
            case Phase.JOB:
                return now + self._request.job_timeout
            case Phase.LEAVE:
                return now + EXIT_LIMIT
            case Phase.CONNECT if self._progress.listening:
                return now + RECONNECT_LIMIT
            case Phase.CONNECT if self._progress.trouble is not Reason.SESSION_CONFLICT:
                return self._connect_until
        return self._idle_until  # a conflict may end: the runner itself waits 240 s for that

    def _allow_until(self, deadline: float) -> None:
        self._deadline = deadline
        if self._limit and not self._limit.expired():
            self._limit.reschedule(deadline)

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
        if self._owned and self._runner_id is not None and self._progress.result is None:
            await self._deleted(self._runner_id)
        if reason not in (Reason.COMPLETED, Reason.NO_JOB):
            await asyncio.to_thread(self._keep_diagnostics)
        await asyncio.to_thread(self._put_folder_back)
        self._clock.enter("done")

    def _prepare_folder(self) -> None:
        forget_job(self._root, self._account)
        self._folder = remember(self._root)

    def _put_folder_back(self) -> None:
        forget_job(self._root, self._account)
        if self._folder is not None:
            restore(self._root, self._folder)

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

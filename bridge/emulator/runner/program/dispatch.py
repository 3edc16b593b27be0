"""Runs one job: acquires it, gives it to a Worker, and renews it while it runs. The Worker completes it."""

import contextlib
import json
import subprocess
import time
from enum import StrEnum
from pathlib import Path
from typing import IO, Any, cast

from . import console, web
from .cancellation import CANCEL, SHUTDOWN
from .identity import RegistrationDeleted
from .job import Job, Report, complete
from .session import Session, pause
from .settings import Settings
from .shutdown import Signals
from .web import Answer, Unreachable

RENEW_INTERVAL = 1.0
"""s. The official runner renews every 60 s; the emulated GitHub's lease is scaled, too."""

CHECK_INTERVAL = 0.2
ACQUIRE_TRIES = 5
ACQUIRE_INTERVAL = 2.0
"""Intervals are s between two attempts."""

FINAL = (404, 409, 422)
"""Statuses after which the runner does not ask again."""

RESULTS = {100: "Succeeded", 102: "Failed", 103: "Canceled", 104: "Skipped"}
"""By exit code of the Worker: 100 and the number of the result, as in src/Runner.Common/Util/TaskResultUtil.cs."""


class Done(StrEnum):
    """What became of an announced job."""

    RAN = "ran"
    NOT_OURS = "another runner got it"
    LOST = "the server took it back before it ran"


class Dispatcher:
    """Runs jobs for one runner.

    Args:
        root: the runner's directory.
        session: tells which jobs are cancelled.
        signals: received while a job runs. Once the job is acquired, they cancel it, and its end is reported.
    """

    def __init__(
        self, root: Path, runner: Settings, session: Session, log: console.Diagnostics, signals: Signals
    ) -> None:
        self.runner = runner
        self._root = root
        self._session = session
        self._log = log
        self._signals = signals

    def run(self, request: dict[str, Any]) -> Done:
        """Run an announced job to its end."""
        if not self._session.acknowledge(request):
            return Done.LOST
        answer = self._acquire(request)
        if answer is None or not answer.ok:
            self._log.info("Skipping message Job. Another runner has it, or the server does not answer.")
            return Done.NOT_OURS
        job = Job(answer.body)
        console.event(f"Running job: {job.name}")
        if not self._keep(job, tries=ACQUIRE_TRIES):
            return Done.LOST
        self._session.busy = True
        try:
            self._work(job)
        finally:
            self._session.busy = False
        return Done.RAN

    def _acquire(self, request: dict[str, Any]) -> Answer | None:
        """Take the job. The answer may be lost after the server gave the job, so the call is repeated."""
        body = {
            "jobMessageId": request["runner_request_id"],
            "runnerOS": "Linux",
            "billingOwnerId": request.get("billing_owner_id"),
        }
        for _ in range(ACQUIRE_TRIES):
            try:
                self._session.sign_in()
                answer = web.post(f"{request['run_service_url']}acquirejob", body, self._session.authorization)
            except RegistrationDeleted:
                return None
            except Unreachable as error:
                self._log.info(f"Catch exception during acquire job. {error}")
            else:
                if answer.ok or answer.status in FINAL:
                    return answer
            pause(ACQUIRE_INTERVAL)
        return None

    def _work(self, job: Job) -> None:
        worker = subprocess.Popen(
            [self._root / "bin" / "Runner.Worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )  # in the Listener's process group: as with the official runner, a signal to the group reaches the step
        _send(worker, {"runner": self.runner.name, "work": self.runner.work_folder, "message": job.message})
        end = SHUTDOWN
        try:
            with self._signals.heard():
                end = "" if self._supervise(worker, job) else CANCEL
        finally:
            _end(worker, end)
            worker.wait()
            self._report(job, worker.returncode)

    def _report(self, job: Job, code: int) -> None:
        """Print the result. If the Worker crashed, the Listener reports the job in its place."""
        if code not in RESULTS:
            annotation = {"level": "failure", "message": f"The worker exited with code {code}."}
            complete(job, Report(conclusion="failed", annotations=[annotation]), self._log)
        console.event(f"Job {job.name} completed with result: {RESULTS.get(code, 'Failed')}")

    def _supervise(self, worker: "subprocess.Popen[str]", job: Job) -> bool:
        """Renew the job until the Worker exits; False if the job must be cancelled before."""
        renewed_at = time.monotonic()
        while job.id not in self._session.cancelled:
            if time.monotonic() >= renewed_at + RENEW_INTERVAL:
                renewed_at = time.monotonic()
                if not self._keep(job):
                    break
            try:
                worker.wait(CHECK_INTERVAL)
            except subprocess.TimeoutExpired:
                continue
            return True
        self._log.info("The job is cancelled.")
        return False

    def _keep(self, job: Job, tries: int = 1) -> bool:
        """Renew the job; False if it is not this runner's any more. An outage does not mean that."""
        for _ in range(tries):
            try:
                return web.post(f"{job.run_url}renewjob", job.ids, job.authorization).status not in FINAL
            except Unreachable as error:
                self._log.info(f"Catch exception during renew job. {error}")
                if tries > 1:
                    pause(ACQUIRE_INTERVAL)
        return True


def _send(worker: "subprocess.Popen[str]", work: dict[str, object]) -> None:
    pipe = cast(IO[str], worker.stdin)
    with contextlib.suppress(BrokenPipeError):  # a Worker that is gone is noticed later: it gives no result
        pipe.write(json.dumps(work) + "\n")
        pipe.flush()


def _end(worker: "subprocess.Popen[str]", how: str) -> None:
    """Tell the Worker how its job ends, and close its input. If this process dies, the input closes by itself."""
    pipe = cast(IO[str], worker.stdin)
    with contextlib.suppress(BrokenPipeError):
        pipe.write(how)
    with contextlib.suppress(BrokenPipeError):
        pipe.close()

"""Runs one job: acquires it, gives it to a Worker, renews it while it runs, and completes it."""

import contextlib
import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import IO, cast

from . import console
from .cancellation import CANCEL, SHUTDOWN
from .server import Answer, Server, Unreachable
from .session import pause
from .settings import Settings
from .shutdown import Signals

RENEW_INTERVAL = 1.0
ACQUIRE_INTERVAL = 2.0
COMPLETE_TRIES = 5
COMPLETE_INTERVAL = 5.0
"""Intervals are s between two attempts."""


class Dispatcher:
    """Runs jobs for one runner.

    Args:
        root: the runner's directory.
        signals: received while a job runs. Once the job is acquired, they cancel it, and its end is reported.
    """

    def __init__(
        self, root: Path, runner: Settings, server: Server, log: console.Diagnostics, signals: Signals
    ) -> None:
        self.runner = runner
        self._root = root
        self._server = server
        self._log = log
        self._signals = signals

    def run(self, job_id: int) -> bool:
        """Run a job to its end; False if another runner got it meanwhile."""
        try:
            answer = self._server.post(f"/jobs/{job_id}/acquire")
        except Unreachable as error:
            answer = Answer(0, {"message": str(error)})
        if answer.status != 200:
            self._log.info(f"Skipping message Job. {answer.message}")
            with self._signals.heard():
                pause(ACQUIRE_INTERVAL)
            return False
        self._work(job_id, answer.body)
        return True

    def _work(self, job_id: int, job: dict[str, object]) -> None:
        console.event(f"Running job: {job['name']}")
        with tempfile.TemporaryFile() as output:
            worker = subprocess.Popen(
                [self._root / "bin" / "Runner.Worker"],
                stdin=subprocess.PIPE,
                stdout=output,
                text=True,
            )  # in the Listener's process group: as with the official runner, a signal to the group reaches the step
            _send(worker, self._assignment(job))
            end = SHUTDOWN
            try:
                with self._signals.heard():
                    end = "" if self._supervise(worker, job_id, job) else CANCEL
            finally:
                _end(worker, end)
                worker.wait()
                output.seek(0)
                self._report(job_id, str(job["name"]), _read_outcome(output.read()), end)

    def _report(self, job_id: int, name: str, outcome: dict[str, object], end: str) -> None:
        """Report the result. As with the official runner, a shutdown prints Canceled, but GitHub fails the job."""
        printed = "Canceled" if end else outcome["result"]
        self._complete(job_id, {**outcome, "result": "Failed" if end == SHUTDOWN else printed})
        console.event(f"Job {name} completed with result: {printed}")

    def _supervise(self, worker: "subprocess.Popen[str]", job_id: int, job: dict[str, object]) -> bool:
        """Renew the job until the Worker exits; False if the job must be cancelled before."""
        limit = time.monotonic() + 60 * float(str(job.get("timeout_minutes") or 360))
        while time.monotonic() < limit and self._renew(job_id):
            try:
                worker.wait(RENEW_INTERVAL)
            except subprocess.TimeoutExpired:
                continue
            return True
        self._log.info("The job is cancelled.")
        return False

    def _assignment(self, job: dict[str, object]) -> dict[str, object]:
        message: dict[str, object] = job["message"]  # type: ignore[assignment]  # the protocol's object
        return {
            "runner_name": self.runner.name,
            "work": str(self._root / self.runner.work_folder),
            "repository": job["repository"],
            "workspace": job["workspace"],
            "sha": job["sha"],
            "ref": message.get("ref", ""),
            "event": message["event"],
            "workflow": message["workflow"],
            "job": message["job"],
        }

    def _renew(self, job_id: int) -> bool:
        """Tell the server that the job still runs; False if it must be cancelled."""
        try:
            answer = self._server.post(f"/jobs/{job_id}/renew")
        except Unreachable as error:
            self._log.info(f"Catch exception during renew job. {error}")
            return True
        return answer.status < 400 and not answer.body.get("cancel")

    def _complete(self, job_id: int, outcome: dict[str, object]) -> None:
        for _ in range(COMPLETE_TRIES):
            try:
                self._server.post(f"/jobs/{job_id}/complete", outcome)
                return
            except Unreachable as error:
                self._log.info(f"Catch exception during complete job. {error}")
                pause(COMPLETE_INTERVAL)


def _send(worker: "subprocess.Popen[str]", assignment: dict[str, object]) -> None:
    pipe = cast(IO[str], worker.stdin)
    with contextlib.suppress(BrokenPipeError):  # a Worker that is gone is noticed later: it gives no answer
        pipe.write(json.dumps(assignment) + "\n")
        pipe.flush()


def _end(worker: "subprocess.Popen[str]", how: str) -> None:
    """Tell the Worker how its job ends, and close its input. If this process dies, the input closes by itself."""
    pipe = cast(IO[str], worker.stdin)
    with contextlib.suppress(BrokenPipeError):
        pipe.write(how)
    with contextlib.suppress(BrokenPipeError):
        pipe.close()


def _read_outcome(output: bytes) -> dict[str, object]:
    try:
        outcome: dict[str, object] = json.loads(output)
    except ValueError:
        return {"result": "Failed", "outputs": {}, "log": "The worker exited without an answer."}
    return outcome

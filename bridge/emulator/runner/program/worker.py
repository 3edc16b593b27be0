"""The Worker: runs the job that it reads from standard input, and prints the outcome to standard output."""

import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from . import act, console
from .assignment import Assignment
from .cancellation import TRACKING, Cancellation, kill_orphans

ROOT = Path(__file__).parents[3]
"""The runner's directory: this file is installed as bin/standin/program/worker.py."""

NOWHERE = "/dev/null"
"""The git remote in the clone: a job must not push into the repository that it was cloned from."""


def main(_argv: Sequence[str]) -> int:
    """Run the job in the first line of standard input, as JSON. The end of standard input cancels the job."""
    console.use_utf8()
    raw = json.loads(sys.stdin.readline())
    binary = json.loads((ROOT / "bin" / "standin" / "install.json").read_text())["act"]
    worker = Worker(Assignment(**{**raw, "work": Path(raw["work"])}), binary)
    json.dump(worker.run(), sys.stdout)
    return 0


class Worker:
    """Runs one job.

    Args:
        assignment: the job.
        binary: path of act.
    """

    def __init__(self, assignment: Assignment, binary: str) -> None:
        self._assignment = assignment
        self._binary = binary
        self._tracking = f"github_{uuid.uuid4()}"
        self._cancellation = Cancellation(self._tracking)
        self._diagnostics = console.Diagnostics(ROOT, "Worker")
        self._log: list[str] = []

    def run(self) -> dict[str, object]:
        """Run the job and its hooks; returns the outcome in the server's format."""
        self._cancellation.forward_group_signals()
        self._cancellation.start()
        self._diagnostics.info(f"Job message:\n{json.dumps(self._assignment.workflow, indent=2)}")
        _empty(self._assignment.temp)
        outcome = self._run_job()
        if not self._hook("completed"):
            outcome["result"] = "Failed"
        for pid in kill_orphans(self._tracking):
            self._write(f"Terminate orphan process: pid ({pid})\n")
        _empty(self._assignment.temp)
        return {**outcome, "log": "".join(self._log)}

    def _run_job(self) -> dict[str, object]:
        if self._check_out() and self._hook("started"):
            return self._act()
        return {"result": "Failed", "outputs": {}}

    def _check_out(self) -> bool:
        """Clone the repository at the job's commit. act's checkout step copies this clone."""
        job, directory = self._assignment, str(self._assignment.checkout)
        _empty(self._assignment.checkout)
        if job.workspace is None:
            return True
        branch = ["-B", job.ref.removeprefix("refs/heads/")] if job.ref.startswith("refs/heads/") else []
        return all(
            self._stream(["git", *arguments], os.environ) == 0
            for arguments in (
                ["clone", "--quiet", "--no-checkout", "--no-hardlinks", job.workspace, directory],
                ["-C", directory, "remote", "set-url", "origin", NOWHERE],
                ["-C", directory, "checkout", "--quiet", *branch, job.sha],
            )
        )

    def _hook(self, moment: str) -> bool:
        """Run a hook, if there is one; False if it failed."""
        script = os.environ.get(f"ACTIONS_RUNNER_HOOK_JOB_{moment.upper()}")
        if not script or self._cancellation.shut_down:
            return True
        self._write(f"A job {moment} hook has been configured by the self-hosted runner administrator\n")
        return self._stream(["bash", "-e", script], os.environ) == 0

    def _act(self) -> dict[str, object]:
        job = self._assignment
        workflow, summary = act.with_summary(job.workflow, job.job)
        path = job.temp / "workflow.yml"
        path.write_bytes(act.document(workflow))
        log = act.Log(job.job, summary)
        command = act.command(self._binary, summary, path, job, self._tracking)
        self._stream(command, act.environment(job), log.read)
        return log.outcome()

    def _stream(self, command: list[str], environment: Mapping[str, str], read: Callable[[str], str] = str) -> int:
        """Run a command to its end; returns its exit code. Its output goes through `read` into the log."""
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self._assignment.temp,  # not the checkout, where act would read .actrc
            env={**environment, TRACKING: self._tracking},
            start_new_session=True,  # a signal to the group goes to the steps, because act would cancel the job
            encoding="utf-8",
            errors="replace",
        ) as process:
            self._cancellation.watch(process)
            for line in process.stdout or ():
                self._write(read(line))
        return process.returncode

    def _write(self, text: str) -> None:
        self._log.append(text)
        for line in text.splitlines():
            self._diagnostics.info(line)


def _empty(directory: Path) -> None:
    """Create an empty directory; remove an existing one."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True, exist_ok=True)

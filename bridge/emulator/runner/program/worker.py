"""The Worker: runs the job that it reads from standard input, and reports it to the server."""

import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import act, console, hook
from .cancellation import ABANDONED, CANCEL, SHUTDOWN, TRACKING, Cancellation, kill_orphans
from .job import Job, Report, complete
from .results import Results, now
from .steps import Steps
from .workflow import assignment

ROOT = Path(__file__).parents[3]
"""The runner's directory: this file is installed as bin/standin/program/worker.py."""

NOWHERE = "/dev/null"
"""The git remote in the clone: a job must not push into the repository that it was cloned from."""


EXIT_CODES = {"succeeded": 100, "failed": 102, "canceled": 103, "skipped": 104}
SHUT_DOWN = (
    "The runner has received a shutdown signal. This can happen when the runner service is stopped, "
    "or a manually started runner is canceled."
)


def main(_argv: Sequence[str]) -> int:
    """Run the job in the first line of standard input, as JSON; returns a code for its result.

    The end of standard input cancels the job.
    """
    console.use_utf8()
    work = json.loads(sys.stdin.readline())
    binary = json.loads((ROOT / "bin" / "standin" / "install.json").read_text())["act"]
    return Worker(Job(work["message"]), work["runner"], ROOT / work["work"], binary).run()


class Worker:
    """Runs one job.

    Args:
        job: the job.
        runner_name: of the runner.
        work: the work folder.
        binary: path of act.
    """

    def __init__(self, job: Job, runner_name: str, work: Path, binary: str) -> None:
        self._job = job
        self._assignment = assignment(job, runner_name, work)
        self._binary = binary
        self._tracking = f"github_{uuid.uuid4()}"
        self._cancellation = Cancellation(self._tracking)
        self._diagnostics = console.Diagnostics(ROOT, "Worker")
        self._results = Results(job, self._diagnostics)
        self._steps = Steps(self._assignment.job, job.message.get("steps") or ())
        self._log: list[str] = []
        self._given: dict[str, str] = {}

    def run(self) -> int:
        """Run the job and its hooks, and report it; returns the exit code."""
        self._cancellation.forward_group_signals()
        self._cancellation.start()
        self._results.start()
        self._diagnostics.info(f"Job message:\n{self._job.masked()}")
        _empty(self._assignment.temp)
        self._results.steps(list(self._steps.all.values()))
        outcome = self._run_job()
        if not self._hook("completed"):
            outcome["result"] = "Failed"
        for pid in kill_orphans(self._tracking):
            self._write(f"Terminate orphan process: pid ({pid})\n")
        _empty(self._assignment.temp)
        return self._report(outcome)

    def _report(self, outcome: Mapping[str, Any]) -> int:
        """Report the end. A shutdown cancels the job, but GitHub gets a failure, as from the official runner."""
        requested = self._cancellation.requested
        if requested == ABANDONED:
            return EXIT_CODES["canceled"]
        conclusion = {CANCEL: "canceled", SHUTDOWN: "failed"}.get(requested, str(outcome["result"]).lower())
        self._steps.finish()
        for key, lines in self._steps.logs.items():
            self._results.step_log(self._steps.all[key]["external_id"], timed("".join(lines)))
        self._results.steps(list(self._steps.all.values()))
        self._results.job_log(timed("".join(self._log)))
        self._results.close()
        report = Report(
            conclusion=conclusion,
            outputs=outcome["outputs"] or {},
            steps=self._steps.results(),
            annotations=[{"level": "failure", "message": SHUT_DOWN}] if requested == SHUTDOWN else [],
        )
        accepted = complete(self._job, report, self._diagnostics)
        if not accepted:
            return EXIT_CODES["failed"]
        return EXIT_CODES["canceled"] if requested else EXIT_CODES[conclusion]

    def _run_job(self) -> dict[str, Any]:
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
        succeeded = self._stream(["bash", "-e", script], hook.environment(self._assignment)) == 0
        self._given |= hook.variables(self._assignment)
        return succeeded

    def _act(self) -> dict[str, Any]:
        job = self._assignment
        workflow, summary = act.with_summary(job.workflow, job.job)
        path = job.temp / "workflow.yml"
        path.write_bytes(act.document(workflow))
        log = act.Log(job.job, summary)
        command = act.command(self._binary, summary, path, job, self._tracking)
        command += [part for item in self._given.items() for part in ("--env", "=".join(item))]
        if secrets := self._job.secrets():
            file = job.temp / "secrets"
            file.touch(mode=0o600)
            file.write_text(act.secret_file(secrets))
            command += ["--secret-file", str(file)]
        self._stream(command, act.environment(job), lambda line: self._read(log, line))
        return log.outcome()

    def _read(self, log: act.Log, line: str) -> str:
        text = log.read(line)
        if self._steps.read(log.entry, text):
            self._results.steps(list(self._steps.all.values()))
        return text

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


def timed(text: str) -> str:
    """A log with the time before each line."""
    at = now()
    return "".join(f"{at} {line}\n" for line in text.split("\n")[: -1 if text.endswith("\n") else None] if text)


def _empty(directory: Path) -> None:
    """Create an empty directory; remove an existing one."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True, exist_ok=True)

"""Reads the output of the runner's Listener line by line, and explains its exit. Pure.

Exit codes alone prove nothing: the Listener exits with 0 after a job, and also when its registration is gone.
The strings are those of https://github.com/actions/runner, src/Runner.Listener, the codes those of
src/Runner.Common/Constants.cs.
"""

import re
from dataclasses import dataclass, replace
from enum import StrEnum

from bridge.core.worker import Reason

RESTARTABLE = frozenset({2, 3, 4})
"""Codes after which run.sh restarts the Listener, without limit: an unhandled exception, an update."""

LONGEST_SAID = 500
"""Characters of the runner's own error message that a detail repeats."""

_TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ: "
_VERSION = re.compile(r"Current runner version: '(?P<version>[^']+)'")
_LISTENING = re.compile(rf"{_TIME}Listening for Jobs")
_RECONNECTED = re.compile(rf"{_TIME}Runner reconnected\.")
_LOST = re.compile(rf"{_TIME}Runner connect error: ")
_RUNNING = re.compile(rf"{_TIME}Running job: (?P<name>.*)")
_COMPLETED = re.compile(
    rf"{_TIME}Job (?P<name>.*) completed with result: (?P<result>Succeeded|Failed|Canceled|Skipped|Abandoned)\s*"
)
_ERROR = rf"(?:{_TIME})?(?:An error occurr?ed: )?"
_COMPLAINT = re.compile(
    rf"(?:{_TIME})?(?P<said>(?:An error occurr?ed|Failed to create|Runner connect error|Unhandled exception"
    r"|Process terminated).*)"
)
_TROUBLE = (
    (
        re.compile(_ERROR + r"(?:Error: \w+ )?Runner version v\S+ is deprecated and cannot receive messages"),
        Reason.VERSION_DEPRECATED,
    ),
    (re.compile(_ERROR + r"A session for this runner already exists"), Reason.SESSION_CONFLICT),
    (
        re.compile(_ERROR + r"Failed to create a session\. The runner registration has been deleted"),
        Reason.REGISTRATION_LOST,
    ),
    (re.compile(_ERROR + r"The runner no longer exists on the server"), Reason.REGISTRATION_LOST),
    (re.compile(_ERROR + r"(?:Runner connect error: )?Registration \S+ was not found"), Reason.REGISTRATION_LOST),
)


class Phase(StrEnum):
    """What the Listener is doing. Each phase has its own limit, and its seconds are in the answer."""

    CONNECT = "connect"  # no session with GitHub, not yet or no longer
    LISTEN = "listen"  # waiting for a job
    JOB = "job"
    LEAVE = "leave"  # the job has ended, the Listener has not exited yet


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What the Listener has printed so far.

    Args:
        version: the runner's.
        listening: it is waiting for a job, or was.
        lost: it has lost its connection to GitHub, and retries.
        job: the display name of the job that it took.
        result: of the job, in the runner's terms.
        trouble: the reason behind its last known error.
        said: its last error message.
    """

    version: str | None = None
    listening: bool = False
    lost: bool = False
    job: str | None = None
    result: str | None = None
    trouble: Reason | None = None
    said: str | None = None

    def after(self, line: str) -> "Progress":
        """The progress after one more line."""
        if found := _RUNNING.match(line):
            return replace(self, listening=True, lost=False, job=found["name"])
        if (found := _COMPLETED.match(line)) and self.job is not None:
            return replace(self, result=found["result"])
        if _LISTENING.match(line):
            return replace(self, listening=True, lost=False, trouble=None, said=None)
        if _RECONNECTED.match(line):
            return replace(self, lost=False, trouble=None, said=None)
        if found := _VERSION.match(line):
            return replace(self, version=found["version"])
        return self._complained(line)

    def _complained(self, line: str) -> "Progress":
        found = _COMPLAINT.match(line)
        trouble = next((reason for pattern, reason in _TROUBLE if pattern.match(line)), self.trouble)
        said = found["said"].strip()[:LONGEST_SAID] if found else self.said
        return replace(self, trouble=trouble, said=said, lost=self.lost or bool(_LOST.match(line)))

    @property
    def phase(self) -> Phase:
        """The current phase."""
        if self.result:
            return Phase.LEAVE
        if self.job is not None:
            return Phase.JOB
        return Phase.LISTEN if self.listening and not self.lost else Phase.CONNECT

    @property
    def hopeless(self) -> bool:
        """Whether it can never get a job: its registration is gone, and it may retry forever."""
        return self.trouble is Reason.REGISTRATION_LOST and self.job is None


def conclude(progress: Progress, code: int) -> tuple[Reason, str]:
    """Why the Listener exited by itself.

    Args:
        progress: everything that it printed.
        code: its exit code, negative for a signal.

    Returns:
        The reason, and one line for people. `no_job` only for a runner that was connected to GitHub to the end.
    """
    if progress.result:
        return Reason.COMPLETED, f"the job ended: {progress.result}"
    if progress.job is not None:
        return Reason.CRASHED, _with_error(progress, f"the runner exited with code {code} during its job")
    if progress.trouble:
        return progress.trouble, _with_error(progress, f"the runner exited with code {code}")
    match code:
        case 0 if progress.phase is Phase.LISTEN:
            return Reason.NO_JOB, "the runner exited without a job"
        case 0 if progress.lost:
            return Reason.GITHUB_UNREACHABLE, _with_error(progress, "the runner exited without a connection to GitHub")
        case 0:
            return Reason.REGISTRATION_LOST, "the runner exited before it listened for jobs"
        case 1:
            return Reason.CONFIGURATION_FAILED, _with_error(progress, "the runner could not start a session")
        case 5:
            return Reason.SESSION_CONFLICT, "another process holds this registration's session"
        case 7:
            return Reason.VERSION_DEPRECATED, _with_error(progress, "GitHub no longer accepts this runner's version")
        case _:
            return Reason.CRASHED, _with_error(progress, f"the runner exited with code {code}")


def conclude_stopped(before: Progress, after: Progress, job_timeout: float) -> tuple[Reason, str]:
    """Why the worker stopped the Listener at a limit.

    Args:
        before: everything that it had printed at the limit.
        after: everything that it printed until its exit. The interrupt cancelled a job that arrived in between.
        job_timeout: s, the limit of a job.

    Returns:
        The reason, and one line for people. `no_job` only for a runner that listened and mentioned no job.
    """
    if before.result:
        return Reason.COMPLETED, "the runner did not exit after its job"
    if before.job is not None and not ended_by_itself(before, after):
        return Reason.TIMED_OUT, f"the job ran for longer than {job_timeout:.0f} s"
    if after.result:
        return Reason.COMPLETED, f"the job ended while the runner was being stopped: {after.result}"
    if after.job is not None:
        return Reason.STOPPED, "GitHub assigned a job while the idle runner was being stopped; its result is unknown"
    if before.trouble:
        return before.trouble, _with_error(before, "the runner did not recover")
    if before.phase is Phase.LISTEN:
        return Reason.NO_JOB, "GitHub assigned no job"
    what = "lost its connection to GitHub" if before.listening else "did not reach GitHub"
    return Reason.GITHUB_UNREACHABLE, _with_error(before, f"the runner {what}")


def ended_by_itself(before: Progress, after: Progress) -> bool:
    """Whether the job of an interrupted runner ended for another reason than the interrupt.

    Args:
        before: what the Listener had printed before the interrupt; its last lines may have been read later.
        after: everything that it printed.
    """
    return before.result is not None or after.result not in (None, "Canceled")


def _with_error(progress: Progress, detail: str) -> str:
    return f"{detail}: {progress.said}" if progress.said else detail

"""What the runner's Listener says, line by line, and what its end means. Pure.

Exit codes alone prove nothing: the Listener exits 0 after a job, and as well when its registration is gone.
Strings and codes are those of https://github.com/actions/runner, src/Runner.Listener.
"""

import re
from dataclasses import dataclass, replace

from bridge.model import Reason

RESTARTABLE = frozenset({2, 3, 4})
"""Codes after which run.sh starts the Listener again, without limit: an unhandled exception, an update."""

_TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ: "
_VERSION = re.compile(r"Current runner version: '(?P<version>[^']+)'")
_LISTENING = re.compile(rf"{_TIME}Listening for Jobs")
_RUNNING = re.compile(rf"{_TIME}Running job: (?P<name>.*)")
_COMPLETED = re.compile(
    rf"{_TIME}Job (?P<name>.*) completed with result: (?P<result>Succeeded|Failed|Canceled|Skipped|Abandoned)\s*"
)
_ERROR = rf"(?:{_TIME})?(?:An error occurr?ed: )?"
_TROUBLE = (
    (
        re.compile(_ERROR + r"Runner version v\S+ is deprecated and cannot receive messages"),
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


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What the Listener has said so far.

    Args:
        version: the runner's.
        listening: it waits for a job, or has waited.
        job: the display name of the job that it took.
        result: how the job ended, the runner's word.
        trouble: what it complained of.
    """

    version: str | None = None
    listening: bool = False
    job: str | None = None
    result: str | None = None
    trouble: Reason | None = None

    def after(self, line: str) -> "Progress":
        """What is known after one more line."""
        if found := _RUNNING.match(line):
            return replace(self, listening=True, job=found["name"])
        if (found := _COMPLETED.match(line)) and self.job is not None:
            return replace(self, result=found["result"])
        if _LISTENING.match(line):
            return replace(self, listening=True, trouble=None)
        if found := _VERSION.match(line):
            return replace(self, version=found["version"])
        for pattern, reason in _TROUBLE:
            if pattern.match(line):
                return replace(self, trouble=reason)
        return self

    @property
    def hopeless(self) -> bool:
        """Whether waiting on is in vain: its registration is gone, and it may retry for ever."""
        return self.trouble is Reason.REGISTRATION_LOST and self.job is None


def conclude(progress: Progress, code: int) -> tuple[Reason, str]:
    """What the Listener's end means.

    Args:
        progress: all that it said.
        code: its exit code, negative for a signal.

    Returns:
        The reason, and one line for a person.
    """
    if progress.result:
        return Reason.COMPLETED, f"the job ended: {progress.result}"
    if progress.job is not None:
        return Reason.CRASHED, f"the runner ended with code {code} during its job"
    if progress.trouble:
        return progress.trouble, f"the runner ended with code {code}"
    match code:
        case 0 if progress.listening:
            return Reason.NO_JOB, "the runner left without a job"
        case 0:
            return Reason.REGISTRATION_LOST, "the runner left before it listened"
        case 1:
            return Reason.CONFIGURATION_FAILED, "the runner could not start a session"
        case 5:
            return Reason.SESSION_CONFLICT, "another runner holds this registration's session"
        case 7:
            return Reason.VERSION_DEPRECATED, "GitHub no longer accepts this runner's version"
        case _:
            return Reason.CRASHED, f"the runner ended with code {code}"

"""One job through act: its command line, and what its JSON log says. https://nektosact.com/usage/"""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from .assignment import Assignment
from .cancellation import TRACKING

RESULTS = {"success": "Succeeded", "failure": "Failed", "cancelled": "Canceled", "skipped": "Skipped"}

PRIVATE = ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")
"""Where act would find settings of the user's and leave files; the steps get them as the runner did."""


def with_summary(workflow: Mapping[str, object], job: str) -> tuple[dict[str, object], str]:
    """Add a last job that prints the `needs` context, in which act itself sums up `job`.

    Args:
        workflow: a workflow as JSON.
        job: the key of the job of interest.

    Returns:
        The workflow, and the new job's key.
    """
    jobs: dict[str, object] = dict(workflow["jobs"])  # type: ignore[call-overload]  # a JSON object
    key = "_" + max(jobs, key=len)  # longer than any, so no other job's
    jobs[key] = {
        "runs-on": "self-hosted",
        "needs": job,
        "if": "${{ always() }}",
        # A here-document: a variable must not be longer than 128 KB. No line of JSON is its end.
        "steps": [{"run": "cat <<'NEEDS'\n${{ toJSON(needs) }}\nNEEDS\n"}],
    }
    return {**workflow, "jobs": jobs}, key


def document(workflow: object) -> bytes:
    """A workflow as JSON that is YAML, too: in that, an escaped surrogate pair is no character."""
    return json.dumps(workflow, ensure_ascii=False).encode("ascii", "backslashreplace")


def command(act: str, job: str, workflow: Path, assignment: Assignment, tracking: str) -> list[str]:
    """The command line that runs `job` of the file `workflow` on this machine, without network or Docker."""
    nothing = ("env", "secret", "var", "input")  # else act reads the repository's own .env, .secrets, ...
    return [
        act, assignment.event, "--job", job, "--workflows", str(workflow),
        "--directory", str(assignment.checkout), "--platform", "self-hosted=-self-hosted",
        "--json", "--rm", "--use-gitignore=false", "--pull=false", "--no-cache-server",
        "--artifact-server-addr", "127.0.0.1", "--cache-server-addr", "127.0.0.1",
        "--action-cache-path", str(assignment.temp / "act"),
        *(part for name in nothing for part in (f"--{name}-file", os.devnull)),
        *(part for item in _variables(assignment, tracking).items() for part in ("--env", "=".join(item))),
    ]  # fmt: skip


def environment(assignment: Assignment) -> dict[str, str]:
    """What act runs in: this process's environment, with the user's directories moved into the work folder."""
    home = str(assignment.temp / "home")
    return {name: home if name in PRIVATE else value for name, value in os.environ.items()} | {"HOME": home}


def _variables(assignment: Assignment, tracking: str) -> dict[str, str]:
    """What steps get beside act's environment; act takes its `github` context from some of them."""
    return {
        **{name: os.environ[name] for name in PRIVATE if name in os.environ},
        TRACKING: tracking,
        "RUNNER_NAME": assignment.runner_name,
        "GITHUB_REPOSITORY": assignment.repository,
        "GITHUB_REF": assignment.ref,
        "SHA_REF": assignment.sha,
    }


class Log:
    """Folds act's log, line by line.

    Args:
        job: the key of the job of interest.
        summary: the key of the job that prints its outcome; `printed` is what it printed.
    """

    def __init__(self, job: str, summary: str) -> None:
        self._job = job
        self._summary = summary
        self.printed = ""

    def read(self, line: str) -> str:
        """Take a line; return what it adds to the job's own log, often nothing."""
        try:
            entry = json.loads(line)
        except ValueError:
            return line
        if entry.get("jobID") == self._summary and entry.get("raw_output"):
            self.printed += entry["msg"]
        if entry.get("jobID") != self._job and entry.get("level") not in ("error", "fatal"):
            return ""
        return str(entry["msg"]).rstrip("\n") + "\n"

    def outcome(self) -> dict[str, object]:
        """The job's result and outputs; failed, when act did not come to it."""
        try:
            needs = json.loads(self.printed)[self._job]
        except ValueError:  # nothing, or only a part of it
            return {"result": "Failed", "outputs": {}}
        return {"result": RESULTS[needs["result"]], "outputs": needs["outputs"]}

"""Runs one job with act: the command line, and how its JSON log is read. https://nektosact.com/usage/"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .assignment import Assignment
from .cancellation import TRACKING

RESULTS = {"success": "Succeeded", "failure": "Failed", "cancelled": "Canceled", "skipped": "Skipped"}
"""The runner's word for each result of act."""

PRIVATE = ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")
"""Variables that act itself must not get, because it would read the user's settings. Steps get them."""


def with_summary(workflow: Mapping[str, object], job: str) -> tuple[dict[str, object], str]:
    """Add a last job that prints the `needs` context, which contains act's result of `job`.

    Args:
        workflow: a workflow as JSON.
        job: the key of the job.

    Returns:
        The workflow, and the new job's key.
    """
    jobs: dict[str, object] = dict(workflow["jobs"])  # type: ignore[call-overload]  # a JSON object
    key = "_" + max(jobs, key=len)  # longer than all others, so it is new
    jobs[key] = {
        "runs-on": "self-hosted",
        "needs": job,
        "if": "${{ always() }}",
        # A here-document, because a variable must not be longer than 128 KB. No line of JSON ends it.
        "steps": [{"run": "cat <<'NEEDS'\n${{ toJSON(needs) }}\nNEEDS\n"}],
    }
    return {**workflow, "jobs": jobs}, key


def document(workflow: object) -> bytes:
    """A workflow as JSON that is also YAML, where an escaped surrogate pair is not one character."""
    return json.dumps(workflow, ensure_ascii=False).encode("ascii", "backslashreplace")


def command(act: str, job: str, workflow: Path, assignment: Assignment, tracking: str) -> list[str]:
    """The command that runs `job` of the file `workflow` on this machine, without network and Docker."""
    nothing = ("env", "secret", "var", "input")  # otherwise act reads .env, .secrets, ... of the repository
    return [
        act, assignment.event, "--job", job, "--workflows", str(workflow),
        "--directory", str(assignment.checkout), "--platform", "self-hosted=-self-hosted",
        "--json", "--rm", "--use-gitignore=false", "--pull=false", "--no-cache-server",
        "--artifact-server-addr", "127.0.0.1", "--cache-server-addr", "127.0.0.1",
        "--action-cache-path", str(assignment.temp / "act"),
        *(part for name in nothing for part in (f"--{name}-file", os.devnull)),
        *(part for item in _variables(assignment, tracking).items() for part in ("--env", "=".join(item))),
    ]  # fmt: skip


def secret_file(secrets: Mapping[str, str]) -> str:
    """Secrets in the format of act's `--secret-file`: https://github.com/joho/godotenv"""
    marks = {"\\": "\\\\", '"': '\\"', "$": "\\$", "\n": "\\n"}
    escaped = {name: "".join(marks.get(each, each) for each in value) for name, value in secrets.items()}
    return "".join(f'{name}="{value}"\n' for name, value in escaped.items())


def environment(assignment: Assignment) -> dict[str, str]:
    """The environment of act: this process's, but with the user's directories in the work folder."""
    home = str(assignment.temp / "home")
    return {name: home if name in PRIVATE else value for name, value in os.environ.items()} | {"HOME": home}


def _variables(assignment: Assignment, tracking: str) -> dict[str, str]:
    """Variables that steps get in addition to act's environment. act uses some of them for its `github` context."""
    return {
        **{name: os.environ[name] for name in PRIVATE if name in os.environ},
        TRACKING: tracking,
        "RUNNER_NAME": assignment.runner_name,
        "GITHUB_REPOSITORY": assignment.repository,
        "GITHUB_REF": assignment.ref,
        "SHA_REF": assignment.sha,
    }


class Log:
    """Reads act's log line by line.

    Args:
        job: the key of the job.
        summary: the key of the job that prints its outcome, which is collected in `printed`.

    Attributes:
        entry: the last one; empty if a line is no entry.
    """

    def __init__(self, job: str, summary: str) -> None:
        self._job = job
        self._summary = summary
        self.printed = ""
        self.entry: Mapping[str, Any] = {}

    def read(self, line: str) -> str:
        """Read a line; returns the text that it adds to the job's own log, often none."""
        try:
            self.entry = entry = json.loads(line)
        except ValueError:
            self.entry = {}
            return line
        if entry.get("jobID") == self._summary and entry.get("raw_output"):
            self.printed += entry["msg"]
        if entry.get("jobID") != self._job and entry.get("level") not in ("error", "fatal"):
            return ""
        return str(entry["msg"]).rstrip("\n") + "\n"

    def outcome(self) -> dict[str, object]:
        """The job's result and outputs. It failed if act did not get to the summary."""
        try:
            needs = json.loads(self.printed)[self._job]
        except ValueError:  # nothing or only a part was printed
            return {"result": "Failed", "outputs": {}}
        return {"result": RESULTS[needs["result"]], "outputs": needs["outputs"]}

"""The environment of a job hook, and what it gives to the steps.

A hook gets the variables of the runner's process and of the contexts `github` and `runner`, and none of the workflow's:
https://github.com/actions/runner, src/Runner.Worker/JobHookProvider.cs
"""

import json
import os
from pathlib import Path

from .assignment import Assignment


def environment(assignment: Assignment) -> dict[str, str]:
    """The variables of a hook. Writes the files that they name.

    https://docs.github.com/actions/reference/workflows-and-actions/variables
    """
    payload, variables = assignment.temp / "_github_workflow" / "event.json", _file(assignment)
    payload.parent.mkdir(exist_ok=True)
    payload.write_text(json.dumps(assignment.payload))
    variables.write_text("")
    return {
        **os.environ,
        "GITHUB_ENV": str(variables),
        "GITHUB_EVENT_NAME": assignment.event,
        "GITHUB_EVENT_PATH": str(payload),
        "GITHUB_REPOSITORY": assignment.repository,
        "RUNNER_NAME": assignment.runner_name,
        "RUNNER_TEMP": str(assignment.temp),
    }


def variables(assignment: Assignment) -> dict[str, str]:
    """What the hook has written to GITHUB_ENV, for the steps. Only `NAME=value` is supported."""
    file = _file(assignment)
    lines = file.read_text().splitlines() if file.is_file() else []
    return dict(line.split("=", 1) for line in lines if "=" in line)


def _file(assignment: Assignment) -> Path:
    return assignment.temp / "hook_variables"

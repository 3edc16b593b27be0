"""The steps that GitHub shows of a job."""

from collections.abc import Mapping
from typing import Any

from bridge.emulator.github.model import Job, iso

_DONE = 6
_STATUS = {3: "in_progress", 5: "queued", _DONE: "completed"}
_CONCLUSION = {2: "success", 3: "failure", 4: "cancelled", 7: "skipped"}
"""By the numbers in the runner's reports.

https://github.com/actions/runner/blob/main/src/Sdk/WebApi/WebApi/Contracts.cs
"""


def steps(job: Job) -> list[dict[str, Any]]:
    """What the runner reported of a job's steps, in GitHub's words. A step whose runner died stays in progress."""
    reported = sorted(job.steps.values(), key=lambda step: _number(step, "number"))
    return [
        {
            "name": str(step.get("name")),
            "status": _STATUS.get(_number(step, "status"), "queued"),
            "conclusion": _CONCLUSION.get(_number(step, "conclusion")),
            "number": number,
            "started_at": iso(job.started_at),
            "completed_at": iso(job.completed_at) if _number(step, "status") == _DONE else None,
        }
        for number, step in enumerate(reported, 1)
    ]


def _number(step: Mapping[str, Any], key: str) -> int:
    """A number of a report; 0 if the runner sent something else."""
    value = step.get(key)
    return value if isinstance(value, int) else 0

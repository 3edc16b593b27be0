"""The steps that GitHub shows of a job."""

from typing import Any

from bridge.emulator.github.model import Job, iso

_STATUS = {"3": "in_progress", "5": "queued"}
_CONCLUSIONS = {
    "2": "success",
    "3": "failure",
    "4": "cancelled",
    "7": "skipped",
    "succeeded": "success",
    "failed": "failure",
    "canceled": "cancelled",
    "skipped": "skipped",
}
"""The runner reports numbers while a job runs, and words at its end.

https://github.com/actions/runner/blob/main/src/Sdk/WebApi/WebApi/Contracts.cs
"""


def steps(job: Job) -> list[dict[str, Any]]:
    """What the runner reported of a job's steps, in GitHub's words. A step whose runner died stays in progress."""
    reported = sorted(job.steps.values(), key=lambda step: _number(step.get("number")))
    return [
        {
            "name": str(step.get("name")),
            "status": _STATUS.get(str(step.get("status")), "completed"),
            "conclusion": _CONCLUSIONS.get(str(step.get("conclusion"))),
            "number": number,
            "started_at": step.get("started_at") or iso(job.started_at),
            "completed_at": step.get("completed_at"),
        }
        for number, step in enumerate(reported, 1)
    ]


def _number(value: object) -> int:
    """A number of a report; 0 if the runner sent something else."""
    return value if isinstance(value, int) else 0

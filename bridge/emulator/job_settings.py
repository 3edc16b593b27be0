"""What a job of a workflow says of itself, in all forms that a workflow allows. Pure.

https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-syntax#jobs
"""

from collections.abc import Mapping
from typing import Any

Job = Mapping[str, Any]
"""A job as in the workflow file."""

_EVALUATED = ("runs-on", "timeout-minutes", "continue-on-error", "with")
"""Keys of a job, besides its name, that GitHub evaluates before the job is queued."""


def settings_of(job: Job) -> dict[str, Any]:
    """The settings that are evaluated for each combination of the matrix; `env` only if it is an expression."""
    expression = {"env": job["env"]} if isinstance(job.get("env"), str) else {}
    return {key: job[key] for key in _EVALUATED if key in job} | expression


def needs_of(job: Job) -> tuple[str, ...]:
    """The ids of the jobs that a job needs."""
    needs = job.get("needs", ())
    return (needs,) if isinstance(needs, str) else tuple(needs)


def display_name(job_id: str, job: Job) -> str:
    """The name of a job, without the values of its matrix."""
    return str(job.get("name", job_id))


def labels_of(runs_on: object) -> tuple[str, ...]:
    """The labels in a `runs-on`."""
    if isinstance(runs_on, Mapping):
        return labels_of(runs_on.get("labels"))
    if isinstance(runs_on, list):
        return tuple(label for each in runs_on for label in labels_of(each))
    return () if runs_on is None else (str(runs_on),)


def group_of(runs_on: object) -> str | None:
    """The runner group in a `runs-on`."""
    group = runs_on.get("group") if isinstance(runs_on, Mapping) else None
    return None if group is None else str(group)

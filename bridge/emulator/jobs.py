"""The jobs that the emulated GitHub runs, and their results. Knows neither workflows nor HTTP."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Gate(StrEnum):
    """Why a job that GitHub has announced is not given to a runner."""

    REVIEW = "review"  # a deployment review: the job's status is `waiting`
    MAX_PARALLEL = "max-parallel"  # the job's status is `queued`, but no runner gets it


@dataclass(frozen=True, kw_only=True)
class JobResult:
    """The result of a job, for the jobs that need it.

    Args:
        conclusion: success, failure, cancelled or skipped.
        outputs: the job's outputs by name.
    """

    conclusion: str
    outputs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """The settings that the jobs of one matrix share.

    Args:
        job_id: of the job in the workflow.
        max_parallel: number of jobs that may run at a time; None for all.
        fail_fast: whether the others are cancelled when one fails.
    """

    job_id: str
    max_parallel: int | None = None
    fail_fast: bool = True


@dataclass(frozen=True, kw_only=True)
class JobSpec:
    """A job of a run, before it is queued.

    Args:
        key: unique in its run; `needs` of other jobs contains it.
        name: the display name, matrix values included.
        labels: its `runs-on`.
        group: the runner group that it requires; None for any.
        needs: keys of the jobs that must end before this one is queued.
        message: returns the message for the runner, a JSON object, from the results of the ended jobs by key; None if
            the job's condition skips it.
        gate: why it waits until it is released.
        strategy: of its matrix; None without one.
        timeout: minutes that it may run; None for the runner's default.
        tolerated: whether its failure counts as success for the run and for the jobs that need it.
        unsupported: why this job cannot run here, so that it is never queued; None if it can.
    """

    key: str
    name: str
    labels: tuple[str, ...]
    group: str | None = None
    needs: tuple[str, ...] = ()
    message: Callable[[Mapping[str, JobResult]], Mapping[str, object] | None]
    gate: Gate | None = None
    strategy: Strategy | None = None
    timeout: float | None = None
    tolerated: bool = False
    unsupported: str | None = None


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """A workflow run to be queued.

    Args:
        workflow: the workflow's name.
        path: of its file in the repository.
        event: that triggered it.
        sha: the commit, 40 hex digits.
        branch: of the commit.
        jobs: in the order of the file, each matrix expanded.
        fork: the commit is from a pull request of a fork.
        concurrency: its concurrency group; None without one.
        unsupported: why its file cannot be read, so that it has no jobs; None if it can.
        not_applied: filters of its event that were ignored, such as `pull_request.types`.
    """

    workflow: str
    path: str
    event: str
    sha: str
    branch: str
    jobs: tuple[JobSpec, ...]
    fork: bool = False
    concurrency: str | None = None
    unsupported: str | None = None
    not_applied: tuple[str, ...] = ()

"""What the GitHub emulator is told to run, and what it learns of it. Knows neither workflows nor HTTP."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Gate(StrEnum):
    """What holds a job back that GitHub has announced."""

    REVIEW = "review"  # a deployment review: the job's status is `waiting`
    MAX_PARALLEL = "max-parallel"  # the job's status is `queued`, and yet no runner is given it


@dataclass(frozen=True, kw_only=True)
class JobResult:
    """How a job ended, as its dependants see it.

    Args:
        conclusion: success, failure, cancelled or skipped.
        outputs: the job's outputs by name.
    """

    conclusion: str
    outputs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """What the jobs of one matrix have in common.

    Args:
        job_id: of the job in the workflow that they are variants of.
        max_parallel: how many of them may run at a time; None for all.
        fail_fast: whether the others are cancelled when one fails.
    """

    job_id: str
    max_parallel: int | None = None
    fail_fast: bool = True


@dataclass(frozen=True, kw_only=True)
class JobSpec:
    """A job of a run, before it is queued.

    Args:
        key: unique in its run; what `needs` of other jobs name.
        name: the display name, matrix values included.
        labels: its `runs-on`.
        group: the runner group that it asks for; None for any.
        needs: keys of the jobs that must end before this one is queued.
        message: given the results of all that ended before by key, what the runner is sent: a JSON object, or None
            when the job's condition skips it.
        gate: what holds it back until it is released.
        strategy: of its matrix; None without one.
        timeout: minutes that it may run; None for as many as the runner allows.
        tolerated: whether its failure counts as success for the run and for the jobs that need it.
        unsupported: why this job cannot run here, if it cannot; it is then never queued.
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
        path: its file within the repository.
        event: what triggered it.
        sha: the commit, 40 hex digits.
        branch: the branch of that commit.
        jobs: in the order of the file, matrix expanded.
        fork: the commit is a stranger's, of a pull request from a fork.
        concurrency: its concurrency group; None without one.
    """

    workflow: str
    path: str
    event: str
    sha: str
    branch: str
    jobs: tuple[JobSpec, ...]
    fork: bool = False
    concurrency: str | None = None

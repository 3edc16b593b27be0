"""Values of jobs that may have lost their workers: what is known of them, and what is decided.

Times are Unix seconds (UTC), durations are seconds.
"""

from dataclasses import dataclass
from enum import StrEnum

from bridge.core.model import WorkflowJob
from bridge.core.submissions import Submission


class RerunState(StrEnum):
    """What became of a job that may have lost its worker. The first two are not final."""

    ASKED = "asked"  # the call is made next, or its answer is not known
    POSTPONED = "postponed"  # GitHub did not do it, and may do it later
    RERUN = "rerun"
    REFUSED = "refused"
    SKIPPED = "skipped"  # it lost its worker, and a rule forbids the re-run
    NOT_LOST = "not_lost"  # it failed by itself


@dataclass(frozen=True, kw_only=True, slots=True)
class LostJob:
    """A job that GitHub failed on one of our runners, and that may have lost its worker.

    Args:
        submission: the one whose runner had it; it has ended.
        error: why RunPod says that the request failed; None if it does not.
    """

    job: WorkflowJob
    submission: Submission
    error: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class RerunRecord:
    """What the ledger has written down about one job that may have lost its worker.

    Args:
        name: of the job, with the values of its matrix.
        run_attempt: the attempt of the run before the re-run.
        at: Unix seconds, of the last change.
        until: Unix seconds; until then the dispatcher that wrote `ASKED` is assumed to be calling, and what was
            postponed is not tried again.
        tries: calls that were made, or may have been.
        why: one line for a person.
    """

    job_id: int
    run_id: int
    name: str
    route: str
    run_attempt: int
    state: RerunState
    at: float
    until: float = 0.0
    tries: int = 0
    why: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class SeenJob:
    """A job of the newest attempt of a run, as GitHub lists it.

    Args:
        step_failed: one of its steps has failed.
        step_open: one of its steps never ended.
    """

    id: int
    name: str
    run_attempt: int
    conclusion: str | None
    step_failed: bool = False
    step_open: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class SeenRun:
    """A run, as GitHub shows it.

    Args:
        at: Unix seconds, when the reading began.
        attempt: its newest one, from 1.
        completed: all jobs of that attempt have ended.
        created_at: Unix seconds.
        fork: it comes from a fork.
        cancelled: somebody cancelled that attempt, or a newer run took its place.
        jobs: of the newest attempt, if it is completed.
    """

    at: float
    attempt: int
    completed: bool
    created_at: float
    fork: bool
    cancelled: bool = False
    jobs: tuple[SeenJob, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Rerun:
    """What is decided about one job that may have lost its worker.

    Args:
        job: that was lost.
        state: to write down; None to decide later. ASKED: GitHub is asked for the re-run next.
        job_id: that GitHub is asked to re-run: the lost job, or its copy in the newest attempt.
        run_attempt: the attempt of the run now, 0 if it is not known.
        tries: calls for this job, with this one.
        why: one line for a person.
    """

    job: WorkflowJob
    route: str
    state: RerunState | None
    job_id: int
    run_attempt: int
    tries: int
    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RerunAnswer:
    """How GitHub answered when it was asked to re-run a job.

    Args:
        state: afterwards.
        why: one line for a person.
        until: Unix seconds, before which it is not tried again.
        tries: that count.
    """

    state: RerunState
    why: str
    until: float
    tries: int


OPEN_RERUNS = frozenset({RerunState.ASKED, RerunState.POSTPONED})
"""States that are decided again."""

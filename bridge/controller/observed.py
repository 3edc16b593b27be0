"""What an observation starts from (`Memory`), and what it gives (`Observed`)."""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from bridge.core.lost import LostJob, SeenRun
from bridge.core.model import Event, JobStatus, Request, WorkflowJob
from bridge.core.readings import Readings
from bridge.core.repositories import Names
from bridge.core.submissions import JobHistory, Submission
from bridge.errors import Problem


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What the ledger holds before an observation.

    Args:
        jobs: those not completed, and those of open submissions' runners, each with when it was seen (Unix seconds).
        submissions: the open ones.
        readings: the last ones.
        history: by job id, what became of earlier submissions.
        lost: jobs that may have lost their workers.
        known_deliveries: asks the ledger which of some deliveries, by guid, it knows.
        untold: submissions that ended lately, before RunPod told how their requests were executed.
    """

    jobs: Mapping[int, tuple[WorkflowJob, float]]
    submissions: Collection[Submission]
    readings: Readings
    history: Mapping[int, JobHistory]
    known_deliveries: Callable[[Collection[str]], Awaitable[Collection[str]]]
    untold: Collection[Submission] = ()
    lost: tuple[LostJob, ...] = ()

    @property
    def names(self) -> Names:
        """The names of repositories, as far as they are known."""
        return self.readings.names.value if self.readings.names else Names()

    @property
    def missing(self) -> Mapping[str, float]:
        """By submission id, Unix seconds since when RunPod does not know its request."""
        return self.readings.missing.value if self.readings.missing else {}

    @property
    def unread(self) -> frozenset[str]:
        """Repositories that the last scan could not read."""
        return self.readings.unread.value if self.readings.unread else frozenset()

    def ended_since(self, job_id: int, at: float) -> bool:
        """Whether a runner asked for on a job's behalf ended after `at` (Unix seconds)."""
        return job_id in self.history and self.history[job_id].last_end > at

    def under(self, names: Names) -> "Memory":
        """With the current names of repositories."""
        return replace(self, jobs={job_id: (names.of_job(job), at) for job_id, (job, at) in self.jobs.items()})


@dataclass(frozen=True, kw_only=True)
class Observed:
    """What GitHub and RunPod answered.

    Args:
        began: Unix seconds, when the observation began.
        at: Unix seconds, when the look-up of jobs began, the last step. A job that is seen as queued in it is not at
            the same time held by a runner that an earlier step saw.
        jobs: as listed or looked up; jobs that the bridge does not serve may be among them.
        events: deliveries that had not reached the bridge.
        names: of repositories, as far as they are known; None if they were not read.
        renamed: by an earlier name in lower case, the current name of each repository that was found renamed.
        not_ours: ids of known jobs that no route serves any more.
        forks: by run id, whether the run comes from a fork.
        readings: what is kept for all dispatchers.
        requests: by submission id.
        runs: by run id, those of jobs that lost their workers; None for one that GitHub does not know.
        problems: what could not be read.
    """

    began: float
    at: float
    jobs: tuple[WorkflowJob, ...] = ()
    events: tuple[Event, ...] = ()
    names: Names | None = None
    renamed: Mapping[str, str] = field(default_factory=dict)
    not_ours: frozenset[int] = frozenset()
    forks: Mapping[int, bool] = field(default_factory=dict)
    readings: Readings = field(default_factory=Readings)
    requests: Mapping[str, Request] = field(default_factory=dict)
    runs: Mapping[int, SeenRun | None] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()


def unsure(events: Iterable[Event], memory: Memory, seen: Iterable[WorkflowJob]) -> list[WorkflowJob]:
    """Jobs that the delivery log says are queued, and that nothing else was seen of.

    The ledger may have them as in progress. And a job that the ledger does not know may have ended in a later
    delivery that was skipped.
    """
    seen_ids = {job.id for job in seen}
    queued = {e.job.id: e.job for e in events if e.job and e.job.status is JobStatus.QUEUED}
    known = {job.id: job for job, _ in memory.jobs.values()}
    return [
        known.get(job_id, job)
        for job_id, job in sorted(queued.items())
        if job_id not in seen_ids and (job_id not in known or known[job_id].status is JobStatus.IN_PROGRESS)
    ]

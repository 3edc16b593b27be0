"""What a look needs and what it gives: the readers of both services, the ledger's memory, and the observation."""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from bridge.controller.scan import ScanReader
from bridge.core.model import EndpointHealth, Event, JobStatus, Repository, Request, Runner, WorkflowJob
from bridge.core.repositories import Names
from bridge.core.snapshot import Reading, ReadingKind
from bridge.core.submissions import JobHistory, Submission


class GitHubReader(ScanReader, Protocol):
    """What is read of GitHub."""

    async def repositories(self, owner: str) -> tuple[Repository, ...]: ...
    async def repository(self, name: str) -> Repository | None: ...
    async def job(self, repository: str, job_id: int) -> WorkflowJob | None: ...
    async def is_fork(self, repository: str, run_id: int) -> bool: ...
    async def runners(self, target: str) -> tuple[Runner, ...]: ...
    async def spare_runners(self, target: str) -> tuple[Runner, ...]: ...


class RunPodReader(Protocol):
    """What is read of RunPod."""

    async def status(self, endpoint: str, request_id: str) -> Request: ...
    async def health(self, endpoint: str) -> EndpointHealth: ...


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What the ledger holds before a look.

    Args:
        jobs: not completed, or of an open submission's runner, with when they were seen (Unix seconds).
        submissions: the open ones.
        looks: the last ones.
        history: by job id, what came of earlier submissions.
        known_deliveries: which of some deliveries' guids have reached the ledger.
    """

    jobs: Mapping[int, tuple[WorkflowJob, float]]
    submissions: Collection[Submission]
    readings: Collection[Reading]
    history: Mapping[int, JobHistory]
    known_deliveries: Callable[[Collection[str]], Awaitable[Collection[str]]]

    def ended_since(self, job_id: int, at: float) -> bool:
        """Whether a runner asked for a job ended after `at` (Unix seconds)."""
        return job_id in self.history and self.history[job_id].last_end > at

    def looked_at(self, kind: ReadingKind) -> float:
        """Unix seconds of the last look of a kind, 0 for none."""
        return max((reading.at for reading in self.readings if reading.kind is kind), default=0.0)

    def last(self, kind: ReadingKind) -> Any:
        """The JSON of the last look of a kind that has no key, None for none."""
        return next((reading.value for reading in self.readings if reading.kind is kind), None)

    def under(self, names: Names) -> "Memory":
        """With the current names of repositories."""
        return replace(self, jobs={job_id: (names.of_job(job), at) for job_id, (job, at) in self.jobs.items()})


@dataclass(frozen=True, kw_only=True)
class Observed:
    """What was seen outside.

    Args:
        began: Unix seconds, when the look began.
        at: Unix seconds, when the look-up of jobs began, the last of all: what was seen to have left its job or
            taken one is then no longer beside that job as queued.
        jobs: as listed or looked up; those of others may be among them.
        events: deliveries that had not reached us.
        names: of repositories, as far as they are known; None if this was no look at them.
        renamed: by an earlier name in lower case, the current one of each repository whose new name was learned.
        not_ours: known jobs that no route serves any more.
        forks: by run id, whether the run comes from a fork.
        looks: for all dispatchers: runners by target, health by endpoint, and what else was looked at.
        requests: by submission id.
        problems: what could not be read, a line each.
    """

    began: float
    at: float
    jobs: tuple[WorkflowJob, ...] = ()
    events: tuple[Event, ...] = ()
    names: Names | None = None
    renamed: Mapping[str, str] = field(default_factory=dict)
    not_ours: frozenset[int] = frozenset()
    forks: Mapping[int, bool] = field(default_factory=dict)
    readings: tuple[Reading, ...] = ()
    requests: Mapping[str, Request] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


def unsure(events: Iterable[Event], memory: Memory, seen: Iterable[WorkflowJob]) -> list[WorkflowJob]:
    """Jobs that an event of the delivery log tells are queued, and that nothing else was seen of.

    The ledger may hold them in progress; and of a job that it does not know, a later delivery that tells its end may
    have been skipped.
    """
    looked_at = {job.id for job in seen}
    queued = {e.job.id: e.job for e in events if e.job and e.job.status is JobStatus.QUEUED}
    known = {job.id: job for job, _ in memory.jobs.values()}
    return [
        known.get(job_id, job)
        for job_id, job in sorted(queued.items())
        if job_id not in looked_at and (job_id not in known or known[job_id].status is JobStatus.IN_PROGRESS)
    ]

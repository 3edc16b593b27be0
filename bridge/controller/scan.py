"""Scans: the open jobs that repositories list, and the jobs of runs that wait for a deployment review."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from bridge.concurrency import each
from bridge.controller.ports import GitHubReader
from bridge.core import reviews
from bridge.core.model import WorkflowJob
from bridge.core.reviews import RunRead, WaitingRuns
from bridge.core.routing import is_kept, is_served
from bridge.core.scope import Scope
from bridge.core.timing import Timing
from bridge.errors import BridgeError, Problem, Rejected

T = TypeVar("T")
K = TypeVar("K")


@dataclass(frozen=True, kw_only=True)
class Scan:
    """What repositories list.

    Args:
        full: all repositories that are served were asked.
        repositories: those that answered.
        failed: those that did not.
        gone: those that GitHub does not know.
        jobs: by id.
        waits: ids of runs that wait for a review: they are read less often.
        waiting: what is now known of these runs; None if they were not listed.
    """

    full: bool
    repositories: frozenset[str]
    failed: frozenset[str]
    gone: frozenset[str]
    jobs: Mapping[int, WorkflowJob]
    waits: frozenset[int] = frozenset()
    waiting: WaitingRuns | None = None

    def should_list(self, job: WorkflowJob) -> bool:
        """Whether the scan lists this job if it is still open."""
        asked = job.repository in self.repositories or (self.full and job.repository not in self.failed)
        return asked and job.run_id not in self.waits


def not_ours(known: Iterable[WorkflowJob], scan: Scan, scope: Scope) -> frozenset[int]:
    """Ids of known jobs to forget: those that are not kept any more, and those kept for a label that have ended.

    Jobs that no route serves are not looked up. One that a scan should list and does not has ended.
    """
    unserved = [job for job in known if not is_served(job, scope)]
    ended = {job.id for job in unserved if scan.should_list(job) and job.id not in scan.jobs}
    return frozenset(job.id for job in unserved if job.id in ended or not is_kept(job, scope))


async def scanned(github: GitHubReader, repositories: Iterable[str], problems: list[Problem], *, full: bool) -> Scan:
    """Read the open jobs of repositories.

    Args:
        github: to read.
        repositories: owner/name.
        problems: gets one for each repository that cannot be read.
        full: these are all that are served.
    """
    gone: set[str] = set()

    async def listed(name: str) -> tuple[WorkflowJob, ...]:
        try:
            return await github.open_jobs(name)
        except Rejected as error:
            if error.status != 404:
                raise
            gone.add(name)
            return ()

    asked = tuple(repositories)
    found = await attempt(asked, listed, problems)
    return Scan(
        full=full,
        repositories=frozenset(found) - gone,
        failed=frozenset(asked) - found.keys(),
        gone=frozenset(gone),
        jobs={job.id: job for jobs in found.values() for job in jobs},
    )


async def with_waiting(  # noqa: PLR0913, PLR0917
    github: GitHubReader, scan: Scan, last: WaitingRuns, at: float, problems: list[Problem], timing: Timing
) -> Scan:
    """Add the jobs of runs that wait for a review to a full scan, if it is time to read them.

    Args:
        github: to read.
        scan: of all repositories.
        last: what was known of these runs before.
        at: Unix seconds.
        problems: gets one for each call that fails.
        timing: how rarely these runs are read.
    """
    if at < last.next_at:
        return replace(scan, waits=frozenset(last.read))
    listed = await attempt(sorted(scan.repositories), github.waiting_runs, problems)
    runs = {run.id: run for waiting in listed.values() for run in waiting}
    due = {run.id: run for run in reviews.due(runs.values(), last.read, timing, at)}
    found = await attempt(due, lambda run_id: github.run_jobs(due[run_id]), problems)
    now = {run_id: RunRead(at=at, updated_at=runs[run_id].updated_at) for run_id in found}
    kept = {run_id: read for run_id, read in last.read.items() if run_id in runs}
    more = len(due) == reviews.MOST_READ
    return replace(
        scan,
        jobs={**{job.id: job for jobs in found.values() for job in jobs}, **scan.jobs},
        waits=frozenset(runs),
        waiting=WaitingRuns(next_at=at + timing.reviews_every * (not more), read={**kept, **now}),
    )


async def attempt(keys: Iterable[K], call: Callable[[K], Awaitable[T]], problems: list[Problem]) -> dict[K, T]:
    """Call for each of `keys`. The result leaves out calls that fail; each of them is added to `problems`."""

    async def tried(key: K) -> tuple[T] | None:
        try:
            return (await call(key),)
        except BridgeError as error:
            problems.append(Problem.of(error))
            return None

    return {key: found[0] for key, found in (await each(keys, tried)).items() if found}

"""Wraps the readers of GitHub and RunPod: what fails is not asked again for a while, and a scan has a time limit.

A scan that reaches its time limit continues in the next pass. That pass reads the repositories that are left before
it reads any repository again.
"""

from collections.abc import Awaitable, Callable, Collection, Hashable
from typing import TypeVar

from bridge.controller.backoff import Backoff
from bridge.controller.ports import GitHubReader, RunPodReader
from bridge.core.model import EndpointHealth, Repository, Request, Runner, WaitingRun, WorkflowJob
from bridge.core.timing import Timing
from bridge.errors import AuthError, BridgeError, Paced

SHORTEST_SCAN, LONGEST_SCAN = 60.0, 600.0
"""s that the scan of one pass may take: the interval, within these limits."""

T = TypeVar("T")


async def _tried(backoff: Backoff, key: Hashable, read: Awaitable[T]) -> T:
    try:
        found = await read
    except BridgeError as error:
        backoff.failed(key, error)
        raise
    backoff.worked(key)
    return found


class GitHubGuard(GitHubReader):
    """A reader of GitHub that backs off from what fails.

    Args:
        reader: of GitHub.
        interval: s between two resyncs.
        clock: Unix seconds.
        timing: the pauses.
    """

    def __init__(self, reader: GitHubReader, interval: float, clock: Callable[[], float], timing: Timing) -> None:
        self._reader = reader
        self._clock = clock
        self._backoff = Backoff(clock, timing)
        self._interval = interval
        self._needed: frozenset[str] | None = None
        self._ends_at = 0.0
        self._read: set[str] = set()  # in this scan
        self._left: set[str] = set()

    async def repositories(self, owner: str) -> tuple[Repository, ...]:
        """See GitHubReader."""
        self._backoff.check("repositories")
        return await _tried(self._backoff, "repositories", self._reader.repositories(owner))

    async def repository(self, name: str) -> Repository | None:
        """See GitHubReader."""
        return await self._reader.repository(name)

    async def open_jobs(self, repository: str) -> tuple[WorkflowJob, ...]:
        """See GitHubReader.

        Raises:
            Paced: not in this pass: this scan has read the repository already, or its time is over.
        """
        key = repository.lower()
        self._backoff.check(("jobs", key))
        if key in self._read or self._clock() > self._ends_at:
            self._left.add(key)
            raise Paced(self._too_slow(), retry_at=self._ends_at)
        try:
            found = await _tried(self._backoff, ("jobs", key), self._reader.open_jobs(repository))
        except Paced as error:
            self._left.add(key)
            raise Paced(self._too_slow(), retry_at=error.retry_at) from None
        self._read.add(key)
        return found

    async def waiting_runs(self, repository: str) -> tuple[WaitingRun, ...]:
        """See GitHubReader."""
        return await self._reader.waiting_runs(repository)

    async def run_jobs(self, run: WaitingRun) -> tuple[WorkflowJob, ...]:
        """See GitHubReader."""
        return await self._reader.run_jobs(run)

    async def job(self, repository: str, job_id: int) -> WorkflowJob | None:
        """See GitHubReader."""
        return await self._reader.job(repository, job_id)

    async def is_fork(self, repository: str, run_id: int) -> bool:
        """See GitHubReader."""
        return await self._reader.is_fork(repository, run_id)

    async def runners(self, target: str) -> tuple[Runner, ...]:
        """See GitHubReader. A target at which nothing may be registered is read at the pace of a scan."""
        self._backoff.check(("runners", target))
        if self._needed is None or target in self._needed:
            return await _tried(self._backoff, ("runners", target), self._reader.runners(target))
        return await self.runners_at_low_priority(target)

    async def runners_at_low_priority(self, target: str) -> tuple[Runner, ...]:
        """See GitHubReader.

        Raises:
            Paced: the time of this scan is over.
        """
        if self._clock() > self._ends_at:
            raise Paced(self._too_slow(), retry_at=self._ends_at)
        try:
            return await _tried(self._backoff, ("runners", target), self._reader.runners_at_low_priority(target))
        except Paced as error:
            raise Paced(self._too_slow(), retry_at=error.retry_at) from None

    def begin(self, needed: Collection[str] | None) -> None:
        """Begin a pass. It continues the last scan if that left repositories that could be read.

        Args:
            needed: targets at which something may be registered; None for all.
        """
        self._needed = None if needed is None else frozenset(needed)
        if not self._left - self._read:
            self._read.clear()
        self._left.clear()
        self._ends_at = self._clock() + min(max(self._interval, SHORTEST_SCAN), LONGEST_SCAN)

    def _too_slow(self) -> str:
        return (
            f"GitHub: repositories are read less often than every {self._interval:.0f} s: a scan needs 2 calls per "
            "repository and 1 per open run, and scans may use 600 calls a minute and 80% of the hourly rate limit; "
            "use a webhook or the App's delivery log, fewer repositories (GITHUB_REPOSITORIES), or a longer interval"
        )


class RunPodGuard(RunPodReader):
    """A reader of RunPod that backs off from endpoints that fail.

    Args:
        reader: of RunPod.
        clock: Unix seconds.
    """

    def __init__(self, reader: RunPodReader, clock: Callable[[], float], timing: Timing) -> None:
        self._reader = reader
        self._backoff = Backoff(clock, timing)

    async def health(self, endpoint: str) -> EndpointHealth:
        """See RunPodReader."""
        self._backoff.check(endpoint)
        return await _tried(self._backoff, endpoint, self._reader.health(endpoint))

    async def status(self, endpoint: str, request_id: str) -> Request:
        """See RunPodReader. A rejected key concerns the whole endpoint, any other failure one request."""
        key = ("status", endpoint)
        self._backoff.check(key)
        try:
            found = await self._reader.status(endpoint, request_id)
        except AuthError as error:
            self._backoff.failed(key, error)
            raise
        self._backoff.worked(key)
        return found

"""Stands between a look and the services: each target that fails is left alone by itself, and a scan has a time limit.

A scan that meets its time limit goes on with the next look: repositories that it has read are not read again before
the others.
"""

from collections.abc import Awaitable, Callable, Collection, Hashable
from typing import Any, TypeVar

from bridge.controller.backoff import Backoff
from bridge.core.model import EndpointHealth, Request, Runner, WorkflowJob
from bridge.core.timing import Timing
from bridge.errors import AuthError, BridgeError, Paced

SHORTEST_SCAN, LONGEST_SCAN = 60.0, 600.0
"""s that the scan of one look may take: the interval, within these limits."""

T = TypeVar("T")


class _Guard:
    def __init__(self, reader: Any, clock: Callable[[], float], timing: Timing) -> None:
        self._reader = reader
        self._clock = clock
        self._backoff = Backoff(clock, timing)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    async def _tried(self, key: Hashable, read: Awaitable[T]) -> T:
        try:
            found = await read
        except BridgeError as error:
            self._backoff.failed(key, error)
            raise
        self._backoff.worked(key)
        return found


class GitHubGuard(_Guard):
    """A reader of GitHub that spares what fails. What it does not name is passed on.

    Args:
        reader: of GitHub.
        interval: s between two looks.
        clock: Unix seconds.
        timing: the pauses.
    """

    def __init__(self, reader: Any, interval: float, clock: Callable[[], float], timing: Timing) -> None:
        super().__init__(reader, clock, timing)
        self._interval = interval
        self._needed: frozenset[str] | None = None
        self._ends_at = 0.0
        self._read: set[str] = set()  # in this scan
        self._left: set[str] = set()

    async def repositories(self, owner: str) -> Any:
        """See bridge.controller.observe.GitHubView."""
        self._backoff.check("repositories")
        return await self._tried("repositories", self._reader.repositories(owner))

    async def open_jobs(self, repository: str) -> tuple[WorkflowJob, ...]:
        """See bridge.controller.observe.GitHubView.

        Raises:
            Paced: not in this look: the repository has been read in this scan, or there is no time left.
        """
        key = repository.lower()
        self._backoff.check(("jobs", key))
        if key in self._read or self._clock() > self._ends_at:
            self._left.add(key)
            raise Paced(self._too_slow(), retry_at=self._ends_at)
        try:
            found: tuple[WorkflowJob, ...] = await self._tried(("jobs", key), self._reader.open_jobs(repository))
        except Paced as error:
            self._left.add(key)
            raise Paced(self._too_slow(), retry_at=error.retry_at) from None
        self._read.add(key)
        return found

    async def runners(self, target: str) -> tuple[Runner, ...]:
        """See bridge.controller.observe.GitHubView; where no registration waits for it, it is read as a scan is."""
        self._backoff.check(("runners", target))
        if self._needed is None or target in self._needed:
            return await self._tried(("runners", target), self._reader.runners(target))
        if self._clock() > self._ends_at:
            raise Paced(self._too_slow(), retry_at=self._ends_at)
        try:
            return await self._tried(("runners", target), self._spare_runners(target))
        except Paced as error:
            raise Paced(self._too_slow(), retry_at=error.retry_at) from None

    def _spare_runners(self, target: str) -> Awaitable[tuple[Runner, ...]]:
        found: Awaitable[tuple[Runner, ...]] = self._reader.spare_runners(target)
        return found

    def begin(self, needed: Collection[str] | None) -> None:
        """A look begins; the last one's scan goes on if it left repositories that could be read.

        Args:
            needed: targets at which something may be registered; None for all.
        """
        self._needed = None if needed is None else frozenset(needed)
        if not self._left - self._read:
            self._read.clear()
        self._left.clear()
        self._ends_at = self._clock() + min(max(self._interval, SHORTEST_SCAN), LONGEST_SCAN)

    def has_ended(self) -> bool:
        """Whether the scan that this look began or continued has read every repository that can be read."""
        return not self._left - self._read

    def _too_slow(self) -> str:
        return (
            f"GitHub: repositories are looked at less often than every {self._interval:.0f} s: each look needs 2 calls "
            "per repository and 1 per open run, and looks may use 600 calls a minute and 80% of the hourly rate limit; "
            "use a webhook or the App's delivery log, fewer repositories (GITHUB_REPOSITORIES), or a longer interval"
        )


class RunPodGuard(_Guard):
    """A reader of RunPod that spares endpoints that fail."""

    async def health(self, endpoint: str) -> EndpointHealth:
        """See bridge.controller.observe.RunPodView."""
        self._backoff.check(endpoint)
        return await self._tried(endpoint, self._reader.health(endpoint))

    async def status(self, endpoint: str, request_id: str) -> Request:
        """See `RunPodReader`. A rejected key concerns the whole endpoint, any other failure one request."""
        key = ("status", endpoint)
        self._backoff.check(key)
        try:
            found: Request = await self._reader.status(endpoint, request_id)
        except AuthError as error:
            self._backoff.failed(key, error)
            raise
        self._backoff.worked(key)
        return found

"""Scans: the open jobs that repositories list, and those of runs that wait for a review."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from bridge.concurrency import each
from bridge.core import reviews as waiting
from bridge.core.model import WaitingRun, WorkflowJob
from bridge.core.timing import Timing
from bridge.errors import BridgeError, Rejected

T = TypeVar("T")
K = TypeVar("K")


class ScanReader(Protocol):
    """What a scan reads of GitHub."""

    async def open_jobs(self, repository: str) -> tuple[WorkflowJob, ...]: ...
    async def waiting_runs(self, repository: str) -> tuple[WaitingRun, ...]: ...
    async def run_jobs(self, run: WaitingRun) -> tuple[WorkflowJob, ...]: ...


@dataclass(frozen=True, kw_only=True)
class Scan:
    """What repositories list.

    Args:
        full: all of them were asked.
        repositories: those that answered.
        failed: those that did not.
        gone: those of which GitHub knows nothing.
        jobs: by id.
        waits: runs that wait for a review: they are read more rarely.
        waiting: JSON, for the look at these runs; None if there was none.
    """

    full: bool
    repositories: frozenset[str]
    failed: frozenset[str]
    gone: frozenset[str]
    jobs: Mapping[int, WorkflowJob]
    waits: frozenset[int] = frozenset()
    waiting: Mapping[str, Any] | None = None

    def should_list(self, job: WorkflowJob) -> bool:
        """Whether it should list an open job."""
        asked = job.repository in self.repositories or (self.full and job.repository not in self.failed)
        return asked and job.run_id not in self.waits


async def scanned(github: ScanReader, repositories: Iterable[str], problems: list[str], *, full: bool) -> Scan:
    """Read the open jobs of repositories.

    Args:
        github: to read.
        repositories: owner/name.
        problems: gets a line for each that cannot be read.
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
        jobs={job.id: job for of_it in found.values() for job in of_it},
    )


async def with_waiting(  # noqa: PLR0913, PLR0917
    github: ScanReader, scan: Scan, last: Any, at: float, problems: list[str], timing: Timing
) -> Scan:
    """A full scan with the jobs of runs that wait for a review, where it is time to read them.

    Args:
        github: to read.
        scan: of all repositories.
        last: JSON of the last such look, None if there was none.
        at: Unix seconds.
        problems: gets a line for each that cannot be read.
        timing: how rarely these runs are read.
    """
    state = last or {"next": 0.0, "runs": {}}
    readings = waiting.of_value(state["runs"])
    if at < state["next"]:
        return replace(scan, waits=frozenset(readings))
    listed = await attempt(sorted(scan.repositories), github.waiting_runs, problems)
    runs = {run.id: run for of_it in listed.values() for run in of_it}
    reading = {run.id: run for run in waiting.due(runs.values(), readings, timing, at)}
    found = await attempt(reading, lambda run_id: github.run_jobs(reading[run_id]), problems)
    now = {run_id: waiting.RunRead(at=at, updated_at=runs[run_id].updated_at) for run_id in found}
    kept = {run_id: last_read for run_id, last_read in readings.items() if run_id in runs}
    more = len(reading) == waiting.MOST_READ
    return replace(
        scan,
        jobs={**{job.id: job for of_it in found.values() for job in of_it}, **scan.jobs},
        waits=frozenset(runs),
        waiting={"next": at + timing.reviews_every * (not more), "runs": waiting.value_of({**kept, **now})},
    )


async def attempt(keys: Iterable[K], look: Callable[[K], Awaitable[T]], problems: list[str]) -> dict[K, T]:
    """Look at each of `keys`; what cannot be read is left out, and a line of `problems`."""

    async def tried(key: K) -> tuple[T] | None:
        try:
            return (await look(key),)
        except BridgeError as error:
            problems.append(str(error))
            return None

    return {key: found[0] for key, found in (await each(keys, tried)).items() if found}

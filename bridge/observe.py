"""Look at GitHub and RunPod: everything that a plan needs and the ledger cannot know."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from bridge.errors import BridgeError
from bridge.model import (
    Credentials,
    EndpointHealth,
    JobStatus,
    Repository,
    Request,
    Route,
    Runner,
    Submission,
    WorkflowJob,
)

T = TypeVar("T")
K = TypeVar("K")


class GitHubView(Protocol):
    """What is read of GitHub."""

    async def repositories(self, owner: str) -> tuple[Repository, ...]: ...
    async def open_jobs(self, repository: str) -> tuple[WorkflowJob, ...]: ...
    async def job(self, repository: str, job_id: int) -> WorkflowJob | None: ...
    async def runners(self, target: str) -> tuple[Runner, ...]: ...


class RunPodView(Protocol):
    """What is read of RunPod."""

    async def status(self, endpoint: str, request_id: str) -> Request: ...
    async def health(self, endpoint: str) -> EndpointHealth: ...


@dataclass(frozen=True, kw_only=True)
class Scope:
    """What the bridge serves.

    Args:
        owner: of all repositories.
        organisation: where runners register; None means at each repository.
        repositories: owner/name; empty means all that the credentials can see.
        routes: in the order of the configuration.
        prefix: of our runners' names.
    """

    owner: str
    organisation: str | None
    repositories: tuple[str, ...]
    routes: tuple[Route, ...]
    prefix: str


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What was seen outside.

    Args:
        looked_at: Unix seconds, when the look-up began.
        jobs_at: Unix seconds, when the look-up of jobs began: after that of requests, so that a request which
            RunPod calls done has its job no longer queued.
        jobs: as listed or looked up.
        runners: by target; a target that could not be read is absent.
        requests: by submission id.
        health: by endpoint id.
        problems: what could not be read, a line each.
    """

    looked_at: float
    jobs_at: float
    jobs: tuple[WorkflowJob, ...]
    runners: Mapping[str, tuple[Runner, ...]]
    requests: Mapping[str, Request]
    health: Mapping[str, EndpointHealth]
    problems: tuple[str, ...]


async def observe(
    scope: Scope,
    github: GitHubView,
    runpod: RunPodView,
    *,
    submissions: Sequence[Submission],
    known: Iterable[WorkflowJob],
) -> Observation:
    """Look everything up once. What cannot be read is a problem in the answer, never an exception.

    Args:
        scope: what to look at.
        github: to read.
        runpod: to read.
        submissions: the open ones.
        known: jobs that the ledger has as not completed.
    """
    problems: list[str] = []
    looked_at = time.time()
    requests = await _requests(runpod, submissions, problems)
    health = await _health(runpod, scope.routes, problems)
    jobs_at = time.time()
    repositories = await _repositories(scope, github, problems)
    listed = await _each(repositories, github.open_jobs, problems)
    jobs = {job.id: job for found in listed.values() for job in found}
    vanished = [job for job in known if job.id not in jobs and job.status is not JobStatus.COMPLETED]
    looked_up = await _each(vanished, lambda job: _look_up(github, job), problems)
    targets = [f"orgs/{scope.organisation}"] if scope.organisation else [f"repos/{r}" for r in repositories]
    return Observation(
        looked_at=looked_at,
        jobs_at=jobs_at,
        jobs=(*jobs.values(), *looked_up.values()),
        runners=await _each(targets, github.runners, problems),
        requests=requests,
        health=health,
        problems=tuple(problems),
    )


async def _each(keys: Iterable[K], look: Callable[[K], Awaitable[T]], problems: list[str]) -> dict[K, T]:
    """Look at each at once; the clients bound their own concurrency."""

    async def one(key: K) -> tuple[K, T] | None:
        try:
            return key, await look(key)
        except BridgeError as error:
            problems.append(str(error))
            return None

    return dict(filter(None, await asyncio.gather(*map(one, keys))))


async def _repositories(scope: Scope, github: GitHubView, problems: list[str]) -> tuple[str, ...]:
    """The repositories whose jobs some route may serve."""
    found = scope.repositories
    if not found:
        answers = await _each([scope.owner], github.repositories, problems)
        found = tuple(r.full_name for repositories in answers.values() for r in repositories)
    if all(route.repositories for route in scope.routes):
        served = frozenset[str]().union(*(route.repositories for route in scope.routes))
        return tuple(name for name in found if name.lower() in served)
    return found


async def _look_up(github: GitHubView, job: WorkflowJob) -> WorkflowJob:
    """A job that no open run lists any more; one that GitHub no longer knows was deleted with its run."""
    found = await github.job(job.repository, job.id)
    if found:
        return replace(found, public=job.public, fork=job.fork)
    return replace(job, status=JobStatus.COMPLETED, conclusion="deleted")


async def _requests(runpod: RunPodView, submissions: Iterable[Submission], problems: list[str]) -> dict[str, Request]:
    sent = {s.id: (s.endpoint, s.request_id) for s in submissions if s.request_id}
    return await _each(sent, lambda key: runpod.status(*sent[key]), problems)


async def _health(runpod: RunPodView, routes: Iterable[Route], problems: list[str]) -> dict[str, EndpointHealth]:
    """Asked only where a lost ledger may have left requests that nothing else shows."""
    endpoints = {route.endpoint for route in routes if route.credentials is not Credentials.JIT}
    return await _each(sorted(endpoints), runpod.health, problems)

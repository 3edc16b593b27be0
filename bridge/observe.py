"""Look at GitHub and RunPod: everything that a plan needs and the ledger cannot know."""

import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Protocol, TypeVar

from bridge.concurrency import each
from bridge.decision import JobHistory, Look, LookKind, State, Submission, target_of_repository
from bridge.errors import BridgeError
from bridge.model import (
    Credentials,
    EndpointHealth,
    Event,
    JobStatus,
    Repository,
    Request,
    Route,
    Runner,
    Scope,
    Sent,
    WorkflowJob,
)
from bridge.routing import match

LOOK_AGAIN = 20.0
"""s after which a job that nothing was heard of is looked up by itself, between two scans. The delivery log tells
what becomes of it, so that the next look-ups come ever later: each when it is twice as old as at the last."""

MOST_AGAIN = 100
"""Such look-ups at a time: they must leave most of what GitHub allows in a minute to registrations."""

OVERLAP = 120.0
"""s by which two looks at the delivery log overlap: GitHub lists a delivery some time after it was sent."""

T = TypeVar("T")
K = TypeVar("K")


class GitHubView(Protocol):
    """What is read of GitHub."""

    async def repositories(self, owner: str) -> tuple[Repository, ...]: ...
    async def open_jobs(self, repository: str) -> tuple[WorkflowJob, ...]: ...
    async def job(self, repository: str, job_id: int) -> WorkflowJob | None: ...
    async def is_fork(self, repository: str, run_id: int) -> bool: ...
    async def runners(self, target: str) -> tuple[Runner, ...]: ...


class DeliveryLogView(Protocol):
    """What is read of the App's delivery log."""

    async def is_kept(self) -> bool: ...
    async def since(self, at: float) -> tuple[Sent, ...]: ...
    async def job(self, delivery_id: int) -> WorkflowJob | None: ...


class RunPodView(Protocol):
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
    looks: Collection[Look]
    history: Mapping[int, JobHistory]
    known_deliveries: Callable[[Collection[str]], Awaitable[Collection[str]]]

    def ended_since(self, job_id: int, at: float) -> bool:
        """Whether a runner asked for a job ended after `at` (Unix seconds)."""
        return job_id in self.history and self.history[job_id].last_end > at

    def looked_at(self, kind: LookKind) -> float:
        """Unix seconds of the last look of a kind, 0 for none."""
        return max((look.at for look in self.looks if look.kind is kind), default=0.0)


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What was seen outside.

    Args:
        began: Unix seconds, when the look began.
        at: Unix seconds, when the look-up of jobs began, the last of all: what was seen to have left its job or
            taken one is then no longer beside that job as queued.
        jobs: as listed or looked up.
        events: deliveries that had not reached us.
        forks: by run id, whether the run comes from a fork.
        looks: for all dispatchers: runners by target, health by endpoint, and what else was looked at.
        requests: by submission id.
        problems: what could not be read, a line each.
    """

    began: float
    at: float
    jobs: tuple[WorkflowJob, ...] = ()
    events: tuple[Event, ...] = ()
    forks: Mapping[int, bool] = field(default_factory=dict)
    looks: tuple[Look, ...] = ()
    requests: Mapping[str, Request] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


class Observer:
    """Looks. What cannot be read is a problem in the answer, never an exception.

    Args:
        scope: what to look at.
        github: to read.
        runpod: to read.
        log: the App's delivery log, None without an App.
        clock: Unix seconds.
    """

    def __init__(
        self,
        scope: Scope,
        github: GitHubView,
        runpod: RunPodView,
        log: DeliveryLogView | None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._scope = scope
        self._github = github
        self._runpod = runpod
        self._log = log
        self._clock = clock
        self._asked: set[int] = set()

    async def look(self, memory: Memory) -> Observation:
        """Look everything up once.

        Args:
            memory: what the ledger holds.
        """
        problems: list[str] = []
        began = self._clock()
        requests = await self._requests(memory.submissions, problems)
        health = await self._health(memory.submissions, problems)
        events = await self._missed(memory, began, problems)
        scan = events is None or began >= memory.looked_at(LookKind.SCAN) + self._scope.full_scan_every
        repositories = await self._repositories(problems) if scan or not self._scope.organisation else ()
        runners = await _each(self._targets(repositories), self._github.runners, problems)
        if self._has_strangers(memory, runners):
            unread = {route.endpoint for route in self._scope.routes} - health.keys()
            health |= await _each(sorted(unread), self._runpod.health, problems)
        at = self._clock()
        jobs, scanned = await self._jobs(memory, repositories if scan else None, at, problems)
        told = (*jobs, *(e.job for e in events or () if e.job), *(job for job, _ in memory.jobs.values()))
        return Observation(
            began=began,
            at=at,
            jobs=jobs,
            events=tuple(events or ()),
            forks=await self._forks(told, problems),
            looks=(
                *(_runners(target, found, began) for target, found in runners.items()),
                *(Look(kind=LookKind.HEALTH, key=key, at=began, value=asdict(value)) for key, value in health.items()),
                *([Look(kind=LookKind.SCAN, key="", at=began, value=None)] if scanned else []),
                *([Look(kind=LookKind.DELIVERIES, key="", at=began, value=None)] if events is not None else []),
            ),
            requests=requests,
            problems=tuple(problems),
        )

    async def glance(self, jobs: Iterable[WorkflowJob], ended: Iterable[Submission]) -> Observation:
        """Look up only what events leave open.

        Args:
            jobs: of whose runs it is not known whether they come from forks.
            ended: submissions of whose requests RunPod has told that they ended.
        """
        problems: list[str] = []
        began = self._clock()
        forks = await self._forks(jobs, problems)
        requests = await self._requests(ended, problems)
        return Observation(began=began, at=self._clock(), forks=forks, requests=requests, problems=tuple(problems))

    def _has_strangers(self, memory: Memory, runners: Mapping[str, Iterable[Runner]]) -> bool:
        """Whether runners are offline that may be ours and that no open submission explains."""
        explained = {s.name for s in memory.submissions}
        start = f"{self._scope.prefix}-"
        offline = (r.name for found in runners.values() for r in found if not r.online)
        return any(name.startswith(start) and name not in explained for name in offline)

    async def _missed(self, memory: Memory, now: float, problems: list[str]) -> list[Event] | None:
        """Deliveries that failed or never came; None if no log tells, so that all repositories must be asked."""
        if self._log is None:
            return None
        since = memory.looked_at(LookKind.DELIVERIES)
        before = len(problems)
        try:
            if not await self._log.is_kept():
                return None
            sent = await self._log.since(since - OVERLAP) if since else ()
        except BridgeError as error:
            problems.append(str(error))
            return None
        known = await memory.known_deliveries({each.guid for each in sent})
        missed = {each.guid: each.id for each in sent if each.guid not in known}
        jobs = await _each(missed, lambda guid: self._delivered(missed[guid]), problems)
        if len(problems) > before:
            return None
        return [Event(guid=guid, at=now, job=job) for guid, job in jobs.items()]

    async def _delivered(self, delivery_id: int) -> WorkflowJob | None:
        job = await self._log.job(delivery_id) if self._log else None
        return job if job and is_served(job, self._scope) else None

    async def _repositories(self, problems: list[str]) -> tuple[str, ...]:
        """The repositories whose jobs some route may serve."""
        found = self._scope.repositories
        if not found:
            answers = await _each([self._scope.owner], self._github.repositories, problems)
            found = tuple(r.full_name for repositories in answers.values() for r in repositories)
        return tuple(name for name in found if _is_routed(name, self._scope))

    def _targets(self, repositories: Iterable[str]) -> list[str]:
        if self._scope.organisation:
            return [f"orgs/{self._scope.organisation}"]
        return [target_of_repository(name) for name in repositories]

    async def _jobs(
        self, memory: Memory, repositories: Iterable[str] | None, at: float, problems: list[str]
    ) -> tuple[tuple[WorkflowJob, ...], bool]:
        """Jobs as `repositories` list them, None for no scan; with those that they no longer list, or that are due."""
        before = len(problems)
        listed = await _each(repositories or (), self._github.open_jobs, problems)
        scanned = repositories is not None and len(problems) == before
        jobs = {job.id: job for found in listed.values() for job in found}
        unlisted = [
            (job, seen_at)
            for job, seen_at in memory.jobs.values()
            if job.id not in jobs and job.status is not JobStatus.COMPLETED
        ]
        unheard = [job for job, _ in unlisted] if repositories is not None else _due(unlisted, memory, at)
        looked_up = await _each(unheard, self._look_up, problems)
        return (*jobs.values(), *looked_up.values()), scanned

    async def _look_up(self, job: WorkflowJob) -> WorkflowJob:
        """A job by itself; one that GitHub no longer knows was deleted with its run."""
        found = await self._github.job(job.repository, job.id)
        if found:
            return replace(found, public=job.public, fork=job.fork)
        return replace(job, status=JobStatus.COMPLETED, conclusion="deleted")

    async def _forks(self, jobs: Iterable[WorkflowJob], problems: list[str]) -> dict[int, bool]:
        """Whether runs come from forks, where it matters; what another pass is asking is that pass's to plan."""
        runs = {
            job.run_id: job.repository
            for job in jobs
            if _awaits_origin(job, self._scope) and job.run_id not in self._asked
        }
        self._asked |= runs.keys()
        try:
            return await _each(runs, lambda run_id: self._github.is_fork(runs[run_id], run_id), problems)
        finally:
            self._asked -= runs.keys()

    async def _requests(self, submissions: Iterable[Submission], problems: list[str]) -> dict[str, Request]:
        sent = {s.id: (s.endpoint, s.request_id) for s in submissions if s.request_id}
        return await _each(sent, lambda key: self._runpod.status(*sent[key]), problems)

    async def _health(self, submissions: Iterable[Submission], problems: list[str]) -> dict[str, EndpointHealth]:
        """Asked where a request waits, and where a lost ledger may have left some that nothing else shows."""
        waiting = {s.endpoint for s in submissions if s.state is State.SUBMITTED}
        unseen = {route.endpoint for route in self._scope.routes if route.credentials is not Credentials.JIT}
        return await _each(sorted(waiting | unseen), self._runpod.health, problems)


def _due(unlisted: Iterable[tuple[WorkflowJob, float]], memory: Memory, at: float) -> list[WorkflowJob]:
    """What to look up between two scans: first of all, jobs that a runner's end may have left without one."""
    ended = [job for job, seen_at in unlisted if memory.ended_since(job.id, seen_at)]
    unheard = sorted(
        (seen_at, job.id, job) for job, seen_at in unlisted if at > seen_at + max(LOOK_AGAIN, seen_at - job.created_at)
    )
    again = {job.id: job for job in (*ended, *(job for *_, job in unheard[:MOST_AGAIN]))}
    return list(again.values())


def is_served(job: WorkflowJob, scope: Scope) -> bool:
    """Whether a job may be for a runner of ours, or has one."""
    if job.repository.partition("/")[0].lower() != scope.owner.lower():
        return False
    if scope.repositories and job.repository.lower() not in {name.lower() for name in scope.repositories}:
        return False
    ours = (job.runner_name or "").startswith(f"{scope.prefix}-")
    return ours or isinstance(match(job.labels, job.repository, scope.routes), Route)


def _is_routed(repository: str, scope: Scope) -> bool:
    return any(not route.repositories or repository.lower() in route.repositories for route in scope.routes)


def _awaits_origin(job: WorkflowJob, scope: Scope) -> bool:
    if job.fork is not None or job.status is not JobStatus.QUEUED:
        return False
    route = match(job.labels, job.repository, scope.routes)
    return isinstance(route, Route) and not route.allow_forks and (route.allow_public_repositories or not job.public)


def _runners(target: str, found: Iterable[Runner], at: float) -> Look:
    return Look(kind=LookKind.RUNNERS, key=target, at=at, value=[asdict(runner) for runner in found])


async def _each(keys: Iterable[K], look: Callable[[K], Awaitable[T]], problems: list[str]) -> dict[K, T]:
    """Look at each; what cannot be read is left out."""

    async def tried(key: K) -> tuple[T] | None:
        try:
            return (await look(key),)
        except BridgeError as error:
            problems.append(str(error))
            return None

    return {key: found[0] for key, found in (await each(keys, tried)).items() if found}

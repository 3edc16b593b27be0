"""Read from GitHub and RunPod what a plan needs and the ledger cannot know."""

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import TypeVar

from bridge.controller import missed
from bridge.controller.guard import GitHubGuard, RunPodGuard
from bridge.controller.missed import Missed
from bridge.controller.observed import Memory, Observed, unsure
from bridge.controller.ports import DeliveryLog, GitHubReader, RunPodReader
from bridge.controller.scan import Scan, attempt, not_ours, scanned, with_waiting
from bridge.core.model import EndpointHealth, Event, JobStatus, Repository, Request, RequestStatus, Runner, WorkflowJob
from bridge.core.readings import Readings, Timed
from bridge.core.repositories import Names, configured, following, is_routed, routed
from bridge.core.reviews import WaitingRuns
from bridge.core.routing import is_served, match
from bridge.core.scope import Route, Scope, endpoints_of
from bridge.core.submissions import State, Submission, target_of_repository
from bridge.core.timing import Timing
from bridge.core.worker import Credentials
from bridge.errors import Problem

T = TypeVar("T")

MOST_AGAIN = 100
"""Such look-ups in one pass: most of the calls that GitHub allows in a minute are left for registrations."""


class Observer:
    """Reads GitHub and RunPod. What cannot be read is a problem in the answer, never an exception.

    Args:
        scope: what is served.
        github: to read.
        runpod: to read.
        log: the App's delivery log, None without an App.
        clock: Unix seconds.
    """

    def __init__(
        self,
        scope: Scope,
        github: GitHubReader,
        runpod: RunPodReader,
        log: DeliveryLog | None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._configured = self._scope = scope
        self._names = Names()
        self._resyncing = False
        self._github = GitHubGuard(github, scope.interval, clock, scope.timing)
        self._runpod = RunPodGuard(runpod, clock, scope.timing)
        self._log = log
        self._clock = clock
        self._asking_origin: set[int] = set()  # ids of runs
        self._looking_up: set[int] = set()  # ids of jobs

    @property
    def scope(self) -> Scope:
        """What is served, under the names that repositories are known to have now."""
        return self._scope

    @property
    def names(self) -> Names:
        """The names of repositories, as far as they are known."""
        return self._names

    def follow(self, names: Names) -> None:
        """Serve repositories under these names, unless a resync is learning newer ones."""
        if not self._resyncing:
            self._set(names)

    def _set(self, names: Names) -> None:
        if names != self._names:
            self._names, self._scope = names, following(self._configured, names)

    async def observe_all(self, memory: Memory, *, full_scan: bool = False) -> Observed:
        """Read everything once.

        Args:
            memory: what the ledger holds.
            full_scan: scan all repositories now, even if the delivery log would do.
        """
        self._resyncing = True
        try:
            return await self._observed(memory, full_scan=full_scan)
        finally:
            self._resyncing = False

    async def _observed(self, memory: Memory, *, full_scan: bool) -> Observed:
        problems: list[Problem] = []
        began = self._clock()
        self._github.begin(self._needed(memory))
        waits = any(job.status is JobStatus.QUEUED for job, _ in memory.jobs.values())
        health = await self._health(memory.submissions, problems, waits=waits)
        requests = await self._requests([*memory.submissions, *memory.untold], problems)
        await self._ask_names(memory.names, began, problems)
        known_names, memory = memory.names, memory.under(self._names)
        told = Missed(everything=True) if full_scan else await self._missed(known_names, memory, began, problems)
        listed = await self._repositories(problems) if told.everything or not self._scope.organisation else None
        repositories, full = listed or (), told.everything and listed is not None
        runners = await attempt(self._targets(repositories), self._github.runners, problems)
        health |= await self._health_of_unexplained(memory, runners, health, problems)
        at = self._clock()
        scan = await self._scan(repositories if full else sorted(told.scan | memory.unread), memory, at, problems, full)
        jobs = await self._jobs(scan, memory, told.jobs, at, problems)
        jobs += await self._doubted(unsure(self._served(told.events), memory, jobs), problems)
        known = (*jobs, *(e.job for e in told.events if e.job), *(job for job, _ in memory.jobs.values()))
        readings = replace(
            _of_scan(scan, began),
            runners=_timed(runners, began),
            health=_timed(health, began),
            missing=_missing(memory, requests, began),
            names=Timed(began, self._names) if self._names != known_names else None,
            place=Timed(began, told.place) if told.place and full == told.everything else None,
        )
        return Observed(
            began=began,
            at=at,
            jobs=jobs,
            events=told.events,
            names=self._names,
            renamed=self._names.renamed_since(known_names),
            not_ours=not_ours((job for job, _ in memory.jobs.values()), scan, self._scope),
            forks=await self._forks(known, problems),
            readings=readings,
            requests=requests,
            problems=tuple(problems),
        )

    async def observe_some(
        self, jobs: Iterable[WorkflowJob], ended: Iterable[Submission], doubted: Iterable[WorkflowJob] = ()
    ) -> Observed:
        """Read only what events leave open.

        Args:
            jobs: jobs for which it is unknown whether their runs come from forks.
            ended: submissions whose requests have ended, as RunPod's callbacks say.
            doubted: jobs in progress that a later event says are queued.
        """
        problems: list[Problem] = []
        began = self._clock()
        forks = await self._forks(jobs, problems)
        requests = await self._requests(ended, problems)
        at = self._clock()
        return Observed(
            began=began,
            at=at,
            jobs=await self._doubted(doubted, problems),
            forks=forks,
            requests=requests,
            problems=tuple(problems),
        )

    def _served(self, events: Iterable[Event]) -> list[Event]:
        return [event for event in events if event.job and is_served(event.job, self._scope)]

    async def _health_of_unexplained(
        self,
        memory: Memory,
        runners: Mapping[str, Iterable[Runner]],
        read: Mapping[str, EndpointHealth],
        problems: list[Problem],
    ) -> dict[str, EndpointHealth]:
        """The health of endpoints that may have requests for runners that no open submission explains."""
        if not self._has_unexplained(memory, runners):
            return {}
        unread = endpoints_of(self._scope.routes) - read.keys()
        return await attempt(sorted(unread), self._runpod.health, problems)

    def _has_unexplained(self, memory: Memory, runners: Mapping[str, Iterable[Runner]]) -> bool:
        """Whether there are offline runners that may be ours and that no open submission explains."""
        explained = {s.name for s in memory.submissions}
        start = f"{self._scope.prefix}-"
        offline = (r.name for found in runners.values() for r in found if not r.online)
        return any(name.startswith(start) and name not in explained for name in offline)

    async def _ask_names(self, known: Names, now: float, problems: list[Problem]) -> None:
        """Read the current names of the configured repositories, if that is due."""
        self._set(known)
        named = configured(self._configured)
        if named and now >= known.asked_at + self._scope.timing.names_every:
            found = await attempt(named, self._github.repository, problems)
            self._learn(found, problems)
            if len(found) == len(named):
                self._set(replace(self._names, asked_at=now))

    def _learn(self, found: Mapping[str, Repository | None], problems: list[Problem]) -> None:
        """Follow renamed repositories; report each one that is gone once."""
        learned = self._names.learn(found)
        problems += [
            Problem(
                f"GitHub: the repository {name} is gone, or these credentials cannot see it; "
                "correct its name in the configuration, or remove it"
            )
            for name in sorted(learned.gone - self._names.gone)
        ]
        self._set(learned)

    async def _missed(self, known_names: Names, memory: Memory, now: float, problems: list[Problem]) -> Missed:
        """Read the delivery log, unless a scan of all repositories is needed, which finds the same jobs."""
        scanned_at = memory.readings.scanned_at
        if self._log is None or now >= scanned_at + self._scope.full_scan_every:
            return Missed(everything=True)
        if self._names.renamed_since(known_names):
            # Deliveries that came under a new name before the bridge knew it were not kept.
            return Missed(everything=True)
        known = missed.Known(
            place=memory.readings.place.value if memory.readings.place else missed.first_place(scanned_at),
            jobs=[job for job, _ in memory.jobs.values() if is_served(job, self._scope)],
            deliveries=memory.known_deliveries,
            name_of=lambda: self._name_of(problems),
        )
        told = await missed.read(self._log, known, now)
        problems += told.problems
        return told

    async def _name_of(self, problems: list[Problem]) -> missed.NameOf | None:
        """Read the names of repositories; None if they cannot be read now."""
        if self._scope.repositories:
            served = {name.lower() for name in self._scope.repositories}
            if served - self._names.gone - self._names.ids.keys():
                return None
            found = {key: name for key, name in self._names.current.items() if name.lower() in served}
            return lambda key: found.get(key or 0)
        answers = await attempt([self._scope.owner], self._github.repositories, problems)
        if not answers:
            return None
        names = {r.id: r.full_name for repositories in answers.values() for r in repositories if r.id}
        scope = self._scope
        return lambda key: None if (name := names.get(key or 0, "")) and not is_routed(name, scope) else name

    async def _repositories(self, problems: list[Problem]) -> tuple[str, ...] | None:
        """The repositories whose jobs some route may serve; None if they cannot be listed."""
        if self._scope.repositories:
            there = [name for name in self._scope.repositories if not self._is_gone(name)]
            return routed(there, self._scope)
        answers = await attempt([self._scope.owner], self._github.repositories, problems)
        if not answers:
            return None
        found = {r.full_name: r for repositories in answers.values() for r in repositories}
        if not self._scope.organisation:
            # A repository that is listed but was not found stays gone: the list may be out of date.
            self._learn({name: r for name, r in found.items() if not self._is_gone(name)}, problems)
        return routed(found, self._scope)

    def _is_gone(self, name: str) -> bool:
        return name.lower() in self._names.gone

    def _targets(self, repositories: Iterable[str]) -> list[str]:
        if self._scope.organisation:
            return [f"orgs/{self._scope.organisation}"]
        return [target_of_repository(name) for name in repositories]

    def _needed(self, memory: Memory) -> set[str] | None:
        """The targets where jobs wait or our runners may be registered; None for all, if there is only one."""
        if self._scope.organisation:
            return None
        waiting = (job for job, _ in memory.jobs.values() if job.status is JobStatus.QUEUED)
        served = (job for job in waiting if is_served(job, self._scope))
        return {target_of_repository(job.repository) for job in served} | {s.pool.target for s in memory.submissions}

    async def runners(self, repositories: Collection[str], read_at: Mapping[str, float]) -> Observed:
        """Read the runners of targets where jobs wait, if they were not read recently.

        Args:
            repositories: of queued jobs.
            read_at: by target, Unix seconds when its runners were last read.
        """
        problems: list[Problem] = []
        began = self._clock()
        stale = began - self._scope.timing.list_stale
        old = [t for t in set(self._targets(repositories)) if read_at.get(t, 0.0) <= stale]
        if not repositories or not old:
            return Observed(began=began, at=began)
        health = await self._health((), problems, waits=True)
        found = await attempt(sorted(old), self._github.runners, problems)
        readings = Readings(runners=_timed(found, began), health=_timed(health, began))
        return Observed(began=began, at=began, readings=readings, problems=tuple(problems))

    async def _scan(
        self, wanted: Iterable[str], memory: Memory, at: float, problems: list[Problem], full: bool
    ) -> Scan:
        scan = await scanned(self._github, wanted, problems, full=full)
        self._learn(dict.fromkeys(scan.gone), problems)
        if not full:
            return scan
        last = memory.readings.waiting.value if memory.readings.waiting else WaitingRuns()
        return await with_waiting(self._github, scan, last, at, problems, self._scope.timing)

    async def _jobs(
        self, scan: Scan, memory: Memory, named: Collection[int], at: float, problems: list[Problem]
    ) -> tuple[WorkflowJob, ...]:
        """The jobs that a scan lists. Open jobs that it should list and does not, or that are due, are looked up."""
        unlisted = [
            (job, seen_at)
            for job, seen_at in memory.jobs.values()
            if job.id not in scan.jobs and job.status is not JobStatus.COMPLETED and is_served(job, self._scope)
        ]
        lacking = {job.id: job for job, _ in unlisted if scan.should_list(job) or job.id in named}
        others = [(job, seen_at) for job, seen_at in unlisted if job.id not in lacking]
        due = _due(others, memory, self._scope.timing, at)
        looked_up = await attempt([*lacking.values(), *due], self._look_up, problems)
        return (*scan.jobs.values(), *looked_up.values())

    async def _look_up(self, job: WorkflowJob) -> WorkflowJob:
        """Read one job. A job that GitHub no longer knows was deleted with its run."""
        found = await self._github.job(job.repository, job.id)
        if found:
            return replace(found, public=job.public, fork=job.fork)
        return replace(job, status=JobStatus.COMPLETED, conclusion="deleted")

    async def _doubted(self, doubted: Iterable[WorkflowJob], problems: list[Problem]) -> tuple[WorkflowJob, ...]:
        """Look up jobs, except those that another pass is looking up."""
        jobs = [job for job in doubted if job.id not in self._looking_up]
        self._looking_up |= {job.id for job in jobs}
        try:
            return tuple((await attempt(jobs, self._look_up, problems)).values())
        finally:
            self._looking_up -= {job.id for job in jobs}

    async def _forks(self, jobs: Iterable[WorkflowJob], problems: list[Problem]) -> dict[int, bool]:
        """Whether runs come from forks, where that matters, except runs that another pass is asking about."""
        runs = {
            job.run_id: job.repository
            for job in jobs
            if _awaits_origin(job, self._scope) and job.run_id not in self._asking_origin
        }
        self._asking_origin |= runs.keys()
        try:
            return await attempt(runs, lambda run_id: self._github.is_fork(runs[run_id], run_id), problems)
        finally:
            self._asking_origin -= runs.keys()

    async def _requests(self, submissions: Iterable[Submission], problems: list[Problem]) -> dict[str, Request]:
        sent = {s.id: (s.endpoint, s.request_id) for s in submissions if s.request_id}
        return await attempt(sent, lambda key: self._runpod.status(*sent[key]), problems)

    async def _health(
        self, submissions: Iterable[Submission], problems: list[Problem], *, waits: bool
    ) -> dict[str, EndpointHealth]:
        """Read the health of endpoints that matter, before their requests: see `bridge.core.unknown`.

        These are endpoints with a request that waits or whose existence is unknown, endpoints of token modes, because
        requests that a lost ledger has left there show nowhere else, and, if a job waits, those to choose from.
        """
        waiting = {s.endpoint for s in submissions if s.state in (State.SUBMITTED, State.UNKNOWN)}
        unseen = endpoints_of(route for route in self._scope.routes if route.credentials is not Credentials.JIT)
        several = endpoints_of(route for route in self._scope.routes if waits and len(route.endpoints) > 1)
        return await attempt(sorted(waiting | unseen | several), self._runpod.health, problems)


def _due(unlisted: Iterable[tuple[WorkflowJob, float]], memory: Memory, timing: Timing, at: float) -> list[WorkflowJob]:
    """Jobs to look up between two scans: those whose runner has ended, then those unheard of for the longest time."""
    ended = [job for job, seen_at in unlisted if memory.ended_since(job.id, seen_at)]
    unheard = sorted(
        (seen_at, job.id, job)
        for job, seen_at in unlisted
        if at > seen_at + max(timing.look_up_after, seen_at - job.created_at)
    )
    again = {job.id: job for job in (*ended, *(job for *_, job in unheard[:MOST_AGAIN]))}
    return list(again.values())


def _awaits_origin(job: WorkflowJob, scope: Scope) -> bool:
    if job.fork is not None or job.status is not JobStatus.QUEUED:
        return False
    route = match(job.labels, job.repository, scope.routes)
    return isinstance(route, Route) and not route.allow_forks and (route.allow_public_repositories or not job.public)


def stale_after(scope: Scope) -> float:
    """Seconds after which a reading counts for nothing."""
    return max(scope.timing.list_stale, 3 * scope.interval)


def _timed(found: Mapping[str, T], at: float) -> dict[str, Timed[T]]:
    return {key: Timed(at, value) for key, value in found.items()}


def _of_scan(scan: Scan, at: float) -> Readings:
    asked = scan.full or scan.repositories or scan.failed
    return Readings(
        full_scan=Timed(at, None) if scan.full else None,
        unread=Timed(at, scan.failed) if asked else None,
        waiting=Timed(at, scan.waiting) if scan.waiting is not None else None,
    )


def _missing(memory: Memory, requests: Mapping[str, Request], at: float) -> Timed[Mapping[str, float]] | None:
    """Since when RunPod does not know requests. A request whose status could not be read stays as it was."""
    before = memory.missing
    unread = {s.id for s in memory.submissions} - requests.keys()
    missing = {key for key, request in requests.items() if request.status is RequestStatus.MISSING}
    since = {key: before.get(key, at) for key in sorted(missing | (unread & before.keys()))}
    return Timed(at, since) if since or before else None

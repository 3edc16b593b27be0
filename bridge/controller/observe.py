"""Look at GitHub and RunPod: everything that a plan needs and the ledger cannot know."""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any, cast

from bridge.controller import missed
from bridge.controller.guard import GitHubGuard, RunPodGuard
from bridge.controller.missed import DeliveryLogReader, Missed, Place
from bridge.controller.observed import GitHubReader, Memory, Observed, RunPodReader, unsure
from bridge.controller.scan import Scan, attempt, scanned, with_waiting
from bridge.core.model import EndpointHealth, Event, JobStatus, Repository, Request, RequestStatus, Runner, WorkflowJob
from bridge.core.repositories import Names, configured, following, is_routed, routed
from bridge.core.routing import is_served, match
from bridge.core.scope import Route, Scope
from bridge.core.snapshot import Reading, ReadingKind
from bridge.core.submissions import State, Submission, target_of_repository
from bridge.core.timing import Timing
from bridge.core.worker import Credentials

MOST_AGAIN = 100
"""Such look-ups at a time: they must leave most of what GitHub allows in a minute to registrations."""


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
        github: GitHubReader,
        runpod: RunPodReader,
        log: DeliveryLogReader | None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._configured = self._scope = scope
        self._names = Names()
        self._looking = False
        self._guard = GitHubGuard(github, scope.interval, clock, scope.timing)
        self._github = cast(GitHubReader, self._guard)
        self._runpod = cast(RunPodReader, RunPodGuard(runpod, clock, scope.timing))
        self._log = log
        self._clock = clock
        self._asked: set[int] = set()
        self._looked_up: set[int] = set()

    @property
    def scope(self) -> Scope:
        """What is served, under the names that repositories are known to have now."""
        return self._scope

    @property
    def names(self) -> Names:
        """The names of repositories, as far as they are known."""
        return self._names

    def follow(self, names: Names) -> None:
        """Serve repositories under these names, unless a look is learning newer ones."""
        if not self._looking:
            self._set(names)

    def _set(self, names: Names) -> None:
        if names != self._names:
            self._names, self._scope = names, following(self._configured, names)

    async def observe_all(self, memory: Memory) -> Observed:
        """Look everything up once.

        Args:
            memory: what the ledger holds.
        """
        self._looking = True
        try:
            return await self._observed(memory)
        finally:
            self._looking = False

    async def _observed(self, memory: Memory) -> Observed:
        problems: list[str] = []
        began = self._clock()
        self._guard.begin(self._needed(memory))
        health = await self._health(memory.submissions, problems)
        requests = await self._requests(memory.submissions, problems)
        names = await self._ask_names(memory, began, problems)
        memory = memory.under(self._names)
        # What came for a new name before it was known was not kept.
        renamed = bool(self._names.renamed_since(names))
        told = Missed(everything=True) if renamed else await self._missed(memory, began, problems)
        listed = await self._repositories(problems) if told.everything or not self._scope.organisation else None
        repositories, full = listed or (), told.everything and listed is not None
        runners = await attempt(self._targets(repositories), self._github.runners, problems)
        health |= await self._health_of_strangers(memory, runners, health, problems)
        at = self._clock()
        wanted = repositories if full else sorted(told.scan | set(memory.last(ReadingKind.RESCAN) or ()))
        scan = await scanned(self._github, wanted, problems, full=full)
        self._learn(dict.fromkeys(scan.gone), problems)
        if scan.full:
            scan = await with_waiting(
                self._github, scan, memory.last(ReadingKind.WAITING), at, problems, self._scope.timing
            )
        jobs = await self._jobs(scan, memory, told.jobs, at, problems)
        jobs += await self._doubted(unsure(self._served(told.events), memory, jobs), problems)
        known = (*jobs, *(e.job for e in told.events if e.job), *(job for job, _ in memory.jobs.values()))
        readings = [*_of_supply(runners, health, began), *_missing(memory, requests, began), *_of_scan(scan, began)]
        if self._names != names:
            readings.append(_reading(ReadingKind.NAMES, began, self._names.value()))
        if told.place and full == told.everything:
            readings.append(_reading(ReadingKind.DELIVERIES, began, told.place.value()))
        return Observed(
            began=began,
            at=at,
            jobs=jobs,
            events=told.events,
            names=self._names,
            renamed=self._names.renamed_since(names),
            not_ours=frozenset(job.id for job, _ in memory.jobs.values() if not is_served(job, self._scope)),
            forks=await self._forks(known, problems),
            readings=tuple(readings),
            requests=requests,
            problems=tuple(problems),
        )

    async def observe_some(
        self, jobs: Iterable[WorkflowJob], ended: Iterable[Submission], doubted: Iterable[WorkflowJob] = ()
    ) -> Observed:
        """Look up only what events leave open.

        Args:
            jobs: of whose runs it is not known whether they come from forks.
            ended: submissions of whose requests RunPod has told that they ended.
            doubted: in progress, although an event since has told that they are queued.
        """
        problems: list[str] = []
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

    async def _health_of_strangers(
        self,
        memory: Memory,
        runners: Mapping[str, Iterable[Runner]],
        read: Mapping[str, EndpointHealth],
        problems: list[str],
    ) -> dict[str, EndpointHealth]:
        """The health of endpoints that may have requests for runners that no open submission explains."""
        if not self._has_strangers(memory, runners):
            return {}
        unread = {route.endpoint for route in self._scope.routes} - read.keys()
        return await attempt(sorted(unread), self._runpod.health, problems)

    def _has_strangers(self, memory: Memory, runners: Mapping[str, Iterable[Runner]]) -> bool:
        """Whether runners are offline that may be ours and that no open submission explains."""
        explained = {s.name for s in memory.submissions}
        start = f"{self._scope.prefix}-"
        offline = (r.name for found in runners.values() for r in found if not r.online)
        return any(name.startswith(start) and name not in explained for name in offline)

    async def _ask_names(self, memory: Memory, now: float, problems: list[str]) -> Names:
        """Ask now and then what the configured repositories are called; the names that were known before."""
        before = Names.of_value(memory.last(ReadingKind.NAMES))
        self._set(before)
        named = configured(self._configured)
        if named and now >= before.asked_at + self._scope.timing.names_every:
            found = await attempt(named, self._github.repository, problems)
            self._learn(found, problems)
            if len(found) == len(named):
                self._set(replace(self._names, asked_at=now))
        return before

    def _learn(self, found: Mapping[str, Repository | None], problems: list[str]) -> None:
        """Follow renamed repositories; one that is gone is a problem once."""
        learned = self._names.learn(found)
        problems += [
            f"GitHub: the repository {name} is gone, or these credentials cannot see it; "
            "correct its name in the configuration, or remove it"
            for name in sorted(learned.gone - self._names.gone)
        ]
        self._set(learned)

    async def _missed(self, memory: Memory, now: float, problems: list[str]) -> Missed:
        """What the delivery log tells; where a scan of all repositories is due, that tells the same."""
        scanned_at = memory.looked_at(ReadingKind.SCAN)
        if self._log is None or now >= scanned_at + self._scope.full_scan_every:
            return Missed(everything=True)
        known = missed.Known(
            place=Place.of_value(memory.last(ReadingKind.DELIVERIES), scanned_at),
            jobs=[job for job, _ in memory.jobs.values()],
            deliveries=memory.known_deliveries,
            name_of=lambda: self._name_of(problems),
        )
        told = await missed.read(self._log, known, now)
        problems += told.problems
        return told

    async def _name_of(self, problems: list[str]) -> missed.NameOf | None:
        """By a repository's id its name, None where no route serves it and empty where it is unknown."""
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

    async def _repositories(self, problems: list[str]) -> tuple[str, ...] | None:
        """The repositories whose jobs some route may serve; None if they cannot be listed."""
        if self._scope.repositories:
            there = [name for name in self._scope.repositories if not self._is_gone(name)]
            return routed(there, self._scope)
        answers = await attempt([self._scope.owner], self._github.repositories, problems)
        if not answers:
            return None
        found = {r.full_name: r for repositories in answers.values() for r in repositories}
        if not self._scope.organisation:
            # One that is listed and yet not found stays reported: the list may be late.
            self._learn({name: r for name, r in found.items() if not self._is_gone(name)}, problems)
        return routed(found, self._scope)

    def _is_gone(self, name: str) -> bool:
        return name.lower() in self._names.gone

    def _targets(self, repositories: Iterable[str]) -> list[str]:
        if self._scope.organisation:
            return [f"orgs/{self._scope.organisation}"]
        return [target_of_repository(name) for name in repositories]

    def _needed(self, memory: Memory) -> set[str] | None:
        """The targets at which jobs wait or runners of ours may be; None for all, where there is but one."""
        if self._scope.organisation:
            return None
        waiting = (job.repository for job, _ in memory.jobs.values() if job.status is JobStatus.QUEUED)
        return {target_of_repository(name) for name in waiting} | {s.pool.target for s in memory.submissions}

    async def runners(self, repositories: Collection[str], read_at: Mapping[str, float]) -> Observed:
        """Read the runners of targets where jobs wait, if they were not read lately.

        Args:
            repositories: of queued jobs.
            read_at: by target, Unix seconds of the last look at its runners.
        """
        problems: list[str] = []
        began = self._clock()
        stale = began - self._scope.timing.list_stale
        old = [t for t in set(self._targets(repositories)) if read_at.get(t, 0.0) <= stale]
        if not repositories or not old:
            return Observed(began=began, at=began)
        health = await self._health((), problems)
        found = await attempt(sorted(old), self._github.runners, problems)
        readings = tuple(_of_supply(found, health, began))
        return Observed(began=began, at=began, readings=readings, problems=tuple(problems))

    async def _jobs(
        self, scan: Scan, memory: Memory, named: Collection[int], at: float, problems: list[str]
    ) -> tuple[WorkflowJob, ...]:
        """The jobs that a scan lists, with those known that it should list and does not, or that are due."""
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
        """A job by itself; one that GitHub no longer knows was deleted with its run."""
        found = await self._github.job(job.repository, job.id)
        if found:
            return replace(found, public=job.public, fork=job.fork)
        return replace(job, status=JobStatus.COMPLETED, conclusion="deleted")

    async def _doubted(self, doubted: Iterable[WorkflowJob], problems: list[str]) -> tuple[WorkflowJob, ...]:
        """Jobs by themselves, but for those that another pass is looking up."""
        jobs = [job for job in doubted if job.id not in self._looked_up]
        self._looked_up |= {job.id for job in jobs}
        try:
            return tuple((await attempt(jobs, self._look_up, problems)).values())
        finally:
            self._looked_up -= {job.id for job in jobs}

    async def _forks(self, jobs: Iterable[WorkflowJob], problems: list[str]) -> dict[int, bool]:
        """Whether runs come from forks, where it matters; what another pass is asking is that pass's to plan."""
        runs = {
            job.run_id: job.repository
            for job in jobs
            if _awaits_origin(job, self._scope) and job.run_id not in self._asked
        }
        self._asked |= runs.keys()
        try:
            return await attempt(runs, lambda run_id: self._github.is_fork(runs[run_id], run_id), problems)
        finally:
            self._asked -= runs.keys()

    async def _requests(self, submissions: Iterable[Submission], problems: list[str]) -> dict[str, Request]:
        sent = {s.id: (s.endpoint, s.request_id) for s in submissions if s.request_id}
        return await attempt(sent, lambda key: self._runpod.status(*sent[key]), problems)

    async def _health(self, submissions: Iterable[Submission], problems: list[str]) -> dict[str, EndpointHealth]:
        """Asked where a request waits, where it is not known whether there is one, and where a lost ledger may have
        left some that nothing else shows. Before the requests themselves: see `bridge.core.unknown`.
        """
        waiting = {s.endpoint for s in submissions if s.state in (State.SUBMITTED, State.UNKNOWN)}
        unseen = {route.endpoint for route in self._scope.routes if route.credentials is not Credentials.JIT}
        return await attempt(sorted(waiting | unseen), self._runpod.health, problems)


def _due(unlisted: Iterable[tuple[WorkflowJob, float]], memory: Memory, timing: Timing, at: float) -> list[WorkflowJob]:
    """What to look up between two scans: first of all, jobs that a runner's end may have left without one."""
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


def _of_supply(
    runners: Mapping[str, Iterable[Runner]], health: Mapping[str, EndpointHealth], at: float
) -> Iterator[Reading]:
    for target, found in runners.items():
        yield Reading(kind=ReadingKind.RUNNERS, key=target, at=at, value=[asdict(runner) for runner in found])
    for endpoint, value in health.items():
        yield Reading(kind=ReadingKind.HEALTH, key=endpoint, at=at, value=asdict(value))


def _of_scan(scan: Scan, at: float) -> Iterator[Reading]:
    if scan.full:
        yield _reading(ReadingKind.SCAN, at, None)
    if scan.full or scan.repositories or scan.failed:
        yield _reading(ReadingKind.RESCAN, at, sorted(scan.failed))
    if scan.waiting is not None:
        yield _reading(ReadingKind.WAITING, at, scan.waiting)


def _reading(kind: ReadingKind, at: float, value: Any) -> Reading:
    return Reading(kind=kind, key="", at=at, value=value)


def _missing(memory: Memory, requests: Mapping[str, Request], at: float) -> list[Reading]:
    """Since when RunPod does not know requests: those of the look before whose answer did not come stay as they are."""
    before = {
        k: v for reading in memory.readings if reading.kind is ReadingKind.MISSING for k, v in reading.value.items()
    }
    unread = {s.id for s in memory.submissions} - requests.keys()
    missing = {key for key, request in requests.items() if request.status is RequestStatus.MISSING}
    since = {key: before.get(key, at) for key in sorted(missing | (unread & before.keys()))}
    return [Reading(kind=ReadingKind.MISSING, key="", at=at, value=since)] if since or before else []

"""What the pages show, read in one transaction. The plan says why a job waits; this selects and counts. Pure."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from bridge.controller.report import Decision
from bridge.core.breaker import probe_at
from bridge.core.cost import midnight
from bridge.core.endpoint_names import with_id
from bridge.core.history import JobRecord, Waits
from bridge.core.model import EndpointHealth, JobStatus, WorkflowJob
from bridge.core.pauses import Pause, said
from bridge.core.prices import with_settings
from bridge.core.scope import Route, Scope
from bridge.core.story import Outlook, Story, outlooks, story, told
from bridge.core.submissions import OPEN_STATES, WAITING_STATES, Streak, Submission
from bridge.dashboard.costs import Costs, costs_of
from bridge.dashboard.ports import Overview, Transaction
from bridge.dashboard.queries import Group, Query

RECENT = 86_400.0
"""s for which finished jobs and their waits are shown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A job in a list.

    Args:
        told: what happened or why it waits, without its subject.
        since: Unix seconds, when it entered the list; None if that is not known.
        route: that serves it; None if none does, or if that is not known.
    """

    job: WorkflowJob
    told: str
    since: float | None
    route: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """A page of a list of jobs.

    Args:
        total: jobs of the whole list.
        rows: on this page.
    """

    group: Group
    total: int
    rows: tuple[Row, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class RouteUse:
    """A route and what it does.

    Args:
        used: its open submissions.
        queued: jobs that wait for it and have no runner that was requested for them.
        oldest: Unix seconds, since when the first of them waits; None for none.
        waits: of the jobs that started recently; None for none.
        paused: by whom and why, one line; None if it is not paused.
    """

    route: Route
    used: int
    queued: int
    oldest: float | None
    waits: Waits | None
    paused: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class EndpointUse:
    """An endpoint as RunPod and its workers show it.

    Args:
        endpoint: RunPod's id.
        shown: its name with its id, for a person.
        health: None if it was not read recently.
        streak: its failures in a row; None for none.
        probe_at: Unix seconds of the next try; None while its breaker is closed.
    """

    endpoint: str
    shown: str
    health: EndpointHealth | None
    streak: Streak | None
    probe_at: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Content:
    """What was read for all pages that are open.

    Args:
        at: Unix seconds.
        lists: by query, its lists of jobs.
        stories: by job id, the story of each job that a page shows; absent if the ledger does not know it.
        totals: by list, without filters.
        given_up: ids of jobs that get no more runners.
        warnings: what a person should change.
        costs: of today; None if there are none, or no open page shows them.
        runners_read_at: Unix seconds, when GitHub's runners were last read; 0 for never.
    """

    at: float
    lists: Mapping[Query, tuple[Listing, ...]]
    stories: Mapping[int, tuple[JobRecord, Story]]
    totals: Mapping[Group, int]
    routes: tuple[RouteUse, ...] = ()
    endpoints: tuple[EndpointUse, ...] = ()
    given_up: frozenset[int] = field(default_factory=frozenset)
    warnings: tuple[str, ...] = ()
    costs: Costs | None = None
    runners_read_at: float = 0.0


def read_content(
    transaction: Transaction, decision: Decision, scope: Scope, queries: Collection[Query], now: float
) -> Content:
    """Answer all queries from one transaction.

    Args:
        transaction: that the decision was made in.
        decision: what the next pass would decide.
        scope: what is served.
        queries: of the pages that are open.
        now: Unix seconds.
    """
    overview, submissions = transaction.overview(), transaction.open_submissions()
    jobs = _Jobs(decision, submissions, overview, now)
    return Content(
        at=now,
        lists=jobs.lists([each for each in queries if each.job is None]),
        stories=jobs.stories({each.job for each in queries if each.job is not None}),
        totals=jobs.totals(),
        routes=tuple(_routes(scope, decision, jobs, overview.waits(now - RECENT))),
        endpoints=tuple(_endpoints(scope, decision)),
        given_up=frozenset(decision.plan.given_up),
        warnings=decision.plan.warnings,
        costs=_costs(transaction, decision, scope, now) if any(each.is_overview for each in queries) else None,
        runners_read_at=max(transaction.runners_read_at().values(), default=0.0),
    )


class _List(NamedTuple):
    """The jobs of a list on one page: open ones, or the ids of those that have ended."""

    group: Group
    total: int
    open: Sequence[WorkflowJob] = ()
    finished: Sequence[int] = ()


class _Jobs:
    """The jobs of a decision in their lists, and those that have ended."""

    def __init__(self, decision: Decision, submissions: Iterable[Submission], overview: Overview, now: float) -> None:
        self._overview = overview
        self._now = now
        self._names = decision.endpoint_names
        self._seen = outlooks(decision.plan, self._names)
        submissions = [each for each in submissions if each.state in OPEN_STATES]
        self._route_of_runner = {each.name: each.pool.route for each in submissions}
        self._requested = {each.job_id: each for each in submissions if each.state in WAITING_STATES}
        self.groups: dict[Group, list[WorkflowJob]] = {group: [] for group in Group}
        for job in sorted(decision.jobs, key=lambda job: (job.created_at, job.id)):
            if group := self._group(job):
                self.groups[group].append(job)

    def _group(self, job: WorkflowJob) -> Group | None:
        if job.status is JobStatus.COMPLETED:
            return None  # the ledger lists it
        if job.status is JobStatus.IN_PROGRESS:
            return Group.RUNNING
        requested = job.status is JobStatus.QUEUED and job.id in self._requested
        return Group.STARTING if requested else Group.QUEUED

    def route_of(self, job: WorkflowJob) -> str | None:
        """The route that serves an open job."""
        route = self._outlook(job).route
        return route or self._route_of_runner.get(job.runner_name or "")

    def totals(self) -> dict[Group, int]:
        """How many jobs each list has without filters."""
        finished = self._overview.count_finished(since=self._now - RECENT, repository=None, route=None)
        return {**{group: len(jobs) for group, jobs in self.groups.items()}, Group.FINISHED: finished}

    def lists(self, queries: Iterable[Query]) -> dict[Query, tuple[Listing, ...]]:
        """By query, the lists that it asks for. The records of all their jobs are read at once."""
        found = {each: [self._list(each, group) for group in each.groups] for each in queries}
        shown = {job.id: job for lists in found.values() for each in lists for job in each.open}
        ids = shown.keys() | {job_id for lists in found.values() for each in lists for job_id in each.finished}
        records = {job_id: JobRecord(job=job) for job_id, job in shown.items()}
        records |= {record.job.id: record for record in self._overview.records(ids)}
        return {each: tuple(self._listing(one, records) for one in lists) for each, lists in found.items()}

    def _list(self, query: Query, group: Group) -> _List:
        if group is Group.FINISHED:
            return self._finished(query)
        found = [job for job in self.groups[group] if self._is_wanted(job, query)]
        shown = found[query.offset : query.offset + query.per_page]
        return _List(group, len(found), open=shown)

    def _finished(self, query: Query) -> _List:
        since, repository, route = self._now - RECENT, query.repository, query.route
        ids = self._overview.finished(
            since=since, repository=repository, route=route, limit=query.per_page, offset=query.offset
        )
        total = self._overview.count_finished(since=since, repository=repository, route=route)
        return _List(Group.FINISHED, total, finished=ids)

    def _listing(self, found: _List, records: Mapping[int, JobRecord]) -> Listing:
        ids = [*(job.id for job in found.open), *found.finished]
        rows = tuple(self._row(records[job_id], found.group) for job_id in ids if job_id in records)
        return Listing(group=found.group, total=found.total, rows=rows)

    def _is_wanted(self, job: WorkflowJob, query: Query) -> bool:
        if query.repository is not None and job.repository.lower() != query.repository.lower():
            return False
        return query.route is None or self.route_of(job) == query.route

    def _row(self, record: JobRecord, group: Group) -> Row:
        job = record.job
        since = {Group.RUNNING: job.started_at, Group.FINISHED: job.completed_at}.get(group, job.created_at)
        route = self.route_of(job) or next((s.submission.pool.route for s in record.submissions), None)
        return Row(job=job, told=told(record, self._outlook(job), self._now), since=since, route=route)

    def _outlook(self, job: WorkflowJob) -> Outlook:
        return self._seen.get(job.id, Outlook())

    def stories(self, job_ids: Collection[int]) -> dict[int, tuple[JobRecord, Story]]:
        """The story of each of these jobs that the ledger knows."""
        return {
            record.job.id: (record, story(record, self._outlook(record.job), self._now, self._names))
            for record in self._overview.records(job_ids)
        }


def _costs(transaction: Transaction, decision: Decision, scope: Scope, now: float) -> Costs | None:
    spent = transaction.costs.spent_by_repository(midnight(now), now)
    prices = with_settings(transaction.costs.prices(), scope.prices, now)
    return costs_of(spent, decision.budgets, prices, now)


def _routes(scope: Scope, decision: Decision, jobs: _Jobs, waits: Mapping[str, Waits]) -> Iterator[RouteUse]:
    used = Counter[str]()
    for (name, _), count in decision.standing.items():
        used[name] += count
    queued: dict[str | None, list[float]] = {}
    for job in jobs.groups[Group.QUEUED]:
        if job.status is JobStatus.QUEUED:
            queued.setdefault(jobs.route_of(job), []).append(job.created_at)
    for route in scope.routes:
        waiting = queued.get(route.name, [])
        yield RouteUse(
            route=route,
            used=used[route.name],
            queued=len(waiting),
            oldest=min(waiting, default=None),
            waits=waits.get(route.name),
            paused=_paused(decision.pauses.get(route.name)),
        )


def _paused(pause: Pause | None) -> str | None:
    return said(pause) if pause else None


def _endpoints(scope: Scope, decision: Decision) -> Iterator[EndpointUse]:
    for endpoint in dict.fromkeys(endpoint for route in scope.routes for endpoint in route.endpoints):
        streak = decision.streaks.get(endpoint)
        yield EndpointUse(
            endpoint=endpoint,
            shown=with_id(endpoint, scope.endpoint_names),
            health=decision.health.get(endpoint),
            streak=streak,
            probe_at=probe_at(streak, scope.timing),
        )

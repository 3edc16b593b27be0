"""Whether the routes get the jobs that they are meant for."""

import difflib
from collections.abc import Iterable, Sequence

from bridge.commands.doctor.asking import Failure, asked, unanswered
from bridge.commands.doctor.check import Check, failed, ok, warning
from bridge.commands.doctor.context import Context
from bridge.concurrency import each
from bridge.core.model import JobStatus, Repository, WorkflowJob
from bridge.core.routing import Unmatched, contained, match
from bridge.core.scope import IMPLIED_LABELS, Route
from bridge.telemetry import plain

SCANNED = 20
"""Repositories whose queued jobs are read: each costs two calls or more."""

SHOWN = 5
"""Jobs that are shown."""

LONGEST = 60
"""Characters of a job's name or label that are shown."""


async def checks(context: Context) -> list[Check]:
    """The checks of the routes themselves."""
    return route_checks(context.settings.scope.routes)


def route_checks(routes: Sequence[Route]) -> list[Check]:
    """One check for each route."""
    larger = {large.name: small.name for small, large in contained(routes)}
    return [
        _route_check(route, _first_equal(number, routes), larger.get(route.name)) for number, route in enumerate(routes)
    ]


def _first_equal(number: int, routes: Sequence[Route]) -> str | None:
    """The earlier route that takes every job of this one."""
    route = routes[number]
    return next((other.name for other in routes[:number] if _takes_all(other, route)), None)


def _takes_all(first: Route, second: Route) -> bool:
    covers = not first.repositories or (bool(second.repositories) and second.repositories <= first.repositories)
    generic = first.generic_jobs or not second.generic_jobs
    unlabelled = first.unlabelled or not second.unlabelled
    return first.labels == second.labels and covers and generic and unlabelled


def _route_check(route: Route, shadow: str | None, contained_route: str | None) -> Check:
    if shadow:
        return failed(
            "route",
            f"it never gets a job: route {shadow} has the same labels and comes first",
            "give it a label that the other does not have, or remove it",
            subject=route.name,
        )
    if contained_route:
        return warning(
            "route",
            f"it has all labels of route {contained_route}: GitHub may give jobs of that route to its runners",
            "give each route a label that the other does not have",
            subject=route.name,
        )
    return ok("route", f"serves runs-on: [{', '.join(['self-hosted', *sorted(route.labels)])}]", subject=route.name)


async def job_checks(context: Context, found: Sequence[Repository]) -> list[Check]:
    """Whether queued jobs have labels that are nearly those of a route.

    Args:
        context: of the run.
        found: the repositories that are served.
    """
    names = [repository.full_name for repository in found[:SCANNED]]
    read = await asked(each(names, context.github.open_jobs))
    if isinstance(read, Failure):
        return [unanswered("route.jobs", read)]
    queued = [job for jobs in read.values() for job in jobs if job.status is JobStatus.QUEUED]
    where = f"{len(names)} of {len(found)} repositories" if len(found) > SCANNED else "the repositories"
    return label_checks(queued, context.settings.scope.routes, where)


def label_checks(queued: Iterable[WorkflowJob], routes: Sequence[Route], where: str) -> list[Check]:
    """One check for each queued job whose labels are probably wrong.

    Args:
        queued: the jobs.
        routes: of the configuration.
        where: the repositories that were read, in words.
    """
    jobs = list(queued)
    wrong = [check for job in jobs if (check := label_check(job, routes))]
    return wrong[:SHOWN] or [ok("route.jobs", f"{len(jobs)} queued jobs in {where}, none with a misspelt label")]


def label_check(job: WorkflowJob, routes: Sequence[Route]) -> Check | None:
    """What is wrong with a job's labels; None if a route serves it, or if it is meant for other runners."""
    found = match(job.labels, job.repository, routes)
    if isinstance(found, Route):
        return None
    meant = _meant(job.labels, routes)
    if not (found.nearest or meant):
        return None
    who = f'job "{_short(job.name)}" (id {job.id}) waits: {plain(found.reason)}'
    return warning("route.jobs", who, _fix(found, job.labels, meant), subject=plain(job.repository))


def _fix(found: Unmatched, labels: Iterable[str], meant: tuple[str, str] | None) -> str:
    if frozenset(label.lower() for label in labels) <= frozenset(IMPLIED_LABELS):
        return "nothing, if other runners serve it"
    if meant:
        return f'write "{meant[1]}" instead of "{_short(meant[0])}" in runs-on'
    return f"correct runs-on, or add the label to route {found.nearest}"


def _meant(labels: Iterable[str], routes: Sequence[Route]) -> tuple[str, str] | None:
    """The first label that is not one of a route's but similar to one, and that one."""
    known = sorted({label for route in routes for label in route.label_set})
    for label in labels:
        similar = difflib.get_close_matches(label.lower(), known, n=1, cutoff=0.75)
        if label.lower() not in known and similar:
            return label, similar[0]
    return None


def _short(text: str) -> str:
    return plain(text)[:LONGEST]

"""Which queued jobs should get a runner now, and why the others wait. Pure."""

from collections.abc import Mapping
from functools import cache

from bridge.core.actions import Cause, Skip, SkipKind
from bridge.core.evidence import Evidence
from bridge.core.model import JobStatus, WorkflowJob
from bridge.core.routing import Unmatched, match
from bridge.core.scope import Route
from bridge.core.snapshot import Snapshot
from bridge.core.submissions import Pool
from bridge.core.supply import Count, Waiting


def sort_into_pools(snapshot: Snapshot, counts: dict[Pool, Count]) -> list[Skip]:
    """Add each queued job to its pool's `Count.queued`; return the reasons for jobs that no pool takes now."""
    skips = []
    # Many jobs share their labels and their repository.
    matched = cache(lambda labels, repository: match(labels, repository, snapshot.routes))
    for job in sorted(snapshot.jobs, key=lambda j: (j.created_at, j.id)):
        if job.status is not JobStatus.QUEUED:
            continue
        route = matched(job.labels, job.repository)
        if isinstance(route, Unmatched):
            skips.append(Skip(job_id=job.id, kind=route.kind, why=route.reason, nearest=route.nearest))
        elif cause := _not_allowed(job, route) or _runners_unknown(snapshot, job):
            skips.append(cause.skip(job.id, route.name))
        else:
            counts[Pool(route.name, snapshot.target_of(job))].queued.append(job)
    return skips


def demand_of(snapshot: Snapshot, counts: Mapping[Pool, Count], waiting: Waiting, evidence: Evidence) -> list[Skip]:
    """Add the jobs that should get a runner now to `Count.demand`; return why the others wait.

    A job stays demand while the runner that was requested for it waits.
    """
    skips = []
    for pool, count in counts.items():
        for job in count.queued:
            cause = None if (pool, job.id) in waiting else _just_ended(snapshot, job) or evidence.of(job).cause
            if cause:
                skips.append(cause.skip(job.id, pool.route))
            else:
                count.demand.append(job)
    return skips


def _not_allowed(job: WorkflowJob, route: Route) -> Cause | None:
    """Cost guard: refuse jobs of public repositories and forks.

    It does not control access: GitHub's runner group decides which jobs may take an idle runner.
    """
    if job.public and not route.allow_public_repositories:
        why = f"its repository is public, and route {route.name} does not set allow_public_repositories"
        return Cause(kind=SkipKind.NOT_ALLOWED, why=why)
    if route.allow_forks or job.fork is False:
        return None
    if job.fork is None:
        return Cause(kind=SkipKind.ORIGIN_UNKNOWN, why="it is not known yet whether its run comes from a fork")
    why = f"its run comes from a fork, and route {route.name} does not set allow_forks"
    return Cause(kind=SkipKind.NOT_ALLOWED, why=why)


def _runners_unknown(snapshot: Snapshot, job: WorkflowJob) -> Cause | None:
    target = snapshot.target_of(job)
    if target in snapshot.runners:
        return None
    why = f"the runners of {target} have not been read from GitHub recently"
    return Cause(kind=SkipKind.RUNNERS_UNKNOWN, why=why)


def _just_ended(snapshot: Snapshot, job: WorkflowJob) -> Cause | None:
    """Whether GitHub must be asked first. If a refusal ended its runner, `Gate.explain` shows the refusal instead."""
    history = snapshot.history.get(job.id)
    if history and history.last_end > snapshot.seen_at.get(job.id, snapshot.runners_read_at):
        why = "its last runner ended, and GitHub has not been asked about the job since"
        return Cause(kind=SkipKind.ENDED_UNSEEN, why=why)
    return None

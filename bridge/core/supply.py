"""Each pool's runners: those that can still take a job, and those that count against max_workers. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from bridge.core.model import WorkflowJob
from bridge.core.ownership import UnexplainedRunner, explain, requests_beyond_rows, with_worker
from bridge.core.snapshot import Snapshot
from bridge.core.submissions import OPEN_STATES, WAITING_STATES, Pool, State, Submission
from bridge.core.unknown import doubtful
from bridge.core.worker import Credentials, Reason

MAY_HAVE_TAKEN_A_JOB = frozenset({State.BUSY, State.FINISHED, State.FAILED, State.CANCELLED})
"""States of a submission whose runner may have taken a job that is not known yet."""

Waiting = Mapping[tuple[Pool, int], Submission]
"""By pool and job, the newest runner that was requested for the job and holds none yet."""


@dataclass
class Count:
    """The figures of a pool.

    Args:
        supply: runners that can still take a job.
        live: runners that count against the route's max_workers.
        queued: all jobs that the route serves.
        demand: those of them that should get a runner now.
    """

    supply: int = 0
    live: int = 0
    queued: list[WorkflowJob] = field(default_factory=list)
    demand: list[WorkflowJob] = field(default_factory=list)


def waiting_runners(submissions: Iterable[Submission]) -> Waiting:
    """By pool and job, the newest runner that was requested for the job and holds none yet."""
    waiting = sorted((s for s in submissions if s.state in WAITING_STATES), key=lambda s: (s.generation, s.id))
    return {(s.pool, s.job_id): s for s in waiting}


def supply_of(
    snapshot: Snapshot, submissions: Sequence[Submission], unexplained: Sequence[UnexplainedRunner], now: float
) -> dict[Pool, Count]:
    """Count, by pool, the runners that can still take a job and those that count against max_workers."""
    counts: dict[Pool, Count] = defaultdict(Count)
    doubted = doubtful(snapshot, submissions)
    for s in submissions:
        counts[s.pool].supply += s.state in WAITING_STATES and s.id not in doubted
        counts[s.pool].live += s.state in OPEN_STATES
    alive = with_worker(snapshot, submissions, unexplained, now)
    for each in alive:
        counts[each.pool].supply += not each.runner.busy
        counts[each.pool].live += 1
    for pool in _busy_after_end(snapshot, submissions):
        counts[pool].live += 1
    for pool, requests in _unregistered_requests(snapshot, submissions, alive, now):
        counts[pool].supply += requests
        counts[pool].live += requests
    return counts


def _busy_after_end(snapshot: Snapshot, submissions: Iterable[Submission]) -> Iterator[Pool]:
    """Pools of runners that GitHub lists as busy after their submission has ended: RunPod reported the end early."""
    busy = {(target, r.name) for target, runners in snapshot.runners.items() for r in runners if r.busy}
    for s in submissions:
        listed_since = snapshot.runners_at.get(s.pool.target, 0.0) > s.since
        if s.state not in OPEN_STATES and listed_since and (s.pool.target, s.name) in busy:
            yield s.pool


def _unregistered_requests(
    snapshot: Snapshot, submissions: Sequence[Submission], alive: Sequence[UnexplainedRunner], now: float
) -> Iterator[tuple[Pool, int]]:
    """Requests of token modes that a lost ledger may have left. GitHub does not show them until they register.

    A request that has not registered after the time that takes belongs to another system.
    """
    if now > snapshot.knows_since + snapshot.timing.boot_allowance:
        return
    left = requests_beyond_rows(snapshot, submissions)
    explain(left, alive)
    for route in snapshot.routes:
        if route.credentials is Credentials.JIT:
            continue
        # Their target is unknown, and so is their route if several use the endpoint: they count at each.
        requests = sum(max(0, left[endpoint]) for endpoint in route.endpoints if endpoint in left)
        for target in {snapshot.target_of(j) for j in snapshot.jobs}:
            yield Pool(route.name, target), requests


def possibly_taken(snapshot: Snapshot, submissions: Iterable[Submission], demand: Iterable[WorkflowJob]) -> int:
    """How many jobs may no longer be queued: a runner that left after they were last seen may have taken them.

    A runner whose request left a starved endpoint took none: GitHub deleted its registration, which proves that.
    """
    seen = sorted(snapshot.seen_at.get(job.id, snapshot.runners_read_at) for job in demand)
    open_jobs = {job.id for job in demand}
    left = sorted(
        s.since
        for s in submissions
        if s.state in MAY_HAVE_TAKEN_A_JOB and s.reason is not Reason.STARVED
        if s.held_job_id is None or s.held_job_id in open_jobs
    )
    taken = 0
    for since in left:
        taken += taken < len(seen) and seen[taken] < since
    return taken

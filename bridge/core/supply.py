"""Where each pool stands: its runners that hold no job yet, and those that count against the cap. Pure."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from bridge.core.model import WorkflowJob
from bridge.core.snapshot import Snapshot
from bridge.core.strangers import Stranger, alive, requests_beyond
from bridge.core.submissions import OPEN_STATES, WAITING_STATES, Pool, State, Submission
from bridge.core.unknown import doubtful
from bridge.core.worker import BOOT_ALLOWANCE, Credentials

MAY_HAVE_TAKEN = frozenset({State.BUSY, State.FINISHED, State.FAILED, State.CANCELLED})
"""States of a submission whose runner may have taken a job that nobody has named."""

Waiting = Mapping[tuple[Pool, int], Submission]
"""By pool and job, the newest runner asked for on the job's behalf that holds none yet."""


@dataclass
class Count:
    """Where a pool stands; `queued` are all jobs that its route serves, `demand` those that are to get a runner now."""

    supply: int = 0
    live: int = 0
    queued: list[WorkflowJob] = field(default_factory=list)
    demand: list[WorkflowJob] = field(default_factory=list)


def waiting_runners(submissions: Iterable[Submission]) -> Waiting:
    """The newest runner asked for on a job's behalf that holds none yet."""
    waiting = sorted((s for s in submissions if s.state in WAITING_STATES), key=lambda s: (s.generation, s.id))
    return {(s.pool, s.job_id): s for s in waiting}


def supply_of(
    snapshot: Snapshot, submissions: Sequence[Submission], strangers: Sequence[Stranger], now: float
) -> dict[Pool, Count]:
    """Count, by pool, the runners that can still take a job and those that count against `max_workers`."""
    counts: dict[Pool, Count] = defaultdict(Count)
    doubted = doubtful(snapshot, submissions)
    for s in submissions:
        counts[s.pool].supply += s.state in WAITING_STATES and s.id not in doubted
        counts[s.pool].live += s.state in OPEN_STATES
    living = alive(snapshot, submissions, strangers, now)
    for stranger in living:
        counts[stranger.pool].supply += not stranger.runner.busy
        counts[stranger.pool].live += 1
    for pool in _outliving(snapshot, submissions):
        counts[pool].live += 1
    for pool, requests in _unseen_requests(snapshot, submissions, living, now):
        counts[pool].supply += requests
        counts[pool].live += requests
    return counts


def _outliving(snapshot: Snapshot, submissions: Iterable[Submission]) -> Iterator[Pool]:
    """Pools of runners that GitHub lists as busy after their submission has ended: RunPod told its end too early."""
    busy = {(target, r.name) for target, runners in snapshot.runners.items() for r in runners if r.busy}
    for s in submissions:
        listed_since = snapshot.runners_at.get(s.pool.target, 0.0) > s.since
        if s.state not in OPEN_STATES and listed_since and (s.pool.target, s.name) in busy:
            yield s.pool


def _unseen_requests(
    snapshot: Snapshot, submissions: Sequence[Submission], strangers: Sequence[Stranger], now: float
) -> Iterator[tuple[Pool, int]]:
    """Requests of token modes that a lost ledger may have left: GitHub shows nothing of them until they register.

    What has not registered when that takes no longer is another system's.
    """
    left = requests_beyond(snapshot, submissions)
    strange = Counter(stranger.pool.route for stranger in strangers)
    for route in snapshot.routes:
        late = now > snapshot.knows_since + BOOT_ALLOWANCE
        if route.credentials is Credentials.JIT or route.endpoint not in left or late:
            continue
        unseen = left[route.endpoint] - strange[route.name]
        # Which target they are for cannot be seen, so each is held to have them.
        for target in {snapshot.target_of(j) for j in snapshot.jobs}:
            yield Pool(route.name, target), max(0, unseen)


def taken_unseen(snapshot: Snapshot, submissions: Iterable[Submission], demand: Iterable[WorkflowJob]) -> int:
    """How many jobs may only look queued: a runner that left after they were last seen may have taken them."""
    queued = sorted(snapshot.seen_at.get(job.id, snapshot.looked_at) for job in demand)
    open_jobs = {job.id for job in demand}
    left = sorted(
        s.since
        for s in submissions
        if s.state in MAY_HAVE_TAKEN and (s.held_job_id is None or s.held_job_id in open_jobs)
    )
    taken = 0
    for since in left:
        taken += taken < len(queued) and queued[taken] < since
    return taken

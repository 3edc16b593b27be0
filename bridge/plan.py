"""The one decision: what to ask for, what to record, what to give back, and why each other job waits. Pure.

Demand is counted, not paired: GitHub gives any eligible job to any eligible runner. So the plan compares, per
pool, queued jobs (demand) with runners that hold no job yet (supply), and asks for what is missing.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from heapq import heapify, heappop, heapreplace
from typing import NamedTuple

from bridge.breaker import NO_ANSWER, probe_at
from bridge.decision import (
    OPEN_STATES,
    WAITING_STATES,
    Claim,
    JobHistory,
    Move,
    Plan,
    Pool,
    Skip,
    Snapshot,
    State,
    Submission,
    Sweep,
    Withdraw,
)
from bridge.evidence import Evidence, judge
from bridge.idle import idle_withdrawals
from bridge.model import (
    BOOT_ALLOWANCE,
    Credentials,
    EndpointHealth,
    JobStatus,
    RequestStatus,
    Route,
    WorkflowJob,
)
from bridge.naming import runner_name
from bridge.refusals import ENDED_UNSEEN, Gate
from bridge.routing import Unmatched, match
from bridge.settle import Sight, settle
from bridge.strangers import (
    Own,
    Stranger,
    alive,
    explaining,
    is_of,
    own_runners,
    requests_beyond,
    row_of,
    strangers_among,
    warnings,
)
from bridge.unknown import doubtful, told, unexplained

MAY_HAVE_TAKEN = frozenset({State.BUSY, State.FINISHED, State.FAILED, State.CANCELLED})
"""States of a submission whose runner may have taken a job that nobody has named."""

MOST_HELD = 20
"""Requests of token modes that are taken back at a time: each takes a registration, and GitHub allows 80 a minute."""

_NO_HISTORY = JobHistory(generation=0, attempts=0, last_claim=0.0, last_end=0.0)


_Waiting = Mapping[tuple[Pool, int], Submission]


@dataclass
class _Count:
    """Where a pool stands; `queued` are all jobs that its route serves, `demand` those that are to get a runner now."""

    supply: int = 0
    live: int = 0
    queued: list[WorkflowJob] = field(default_factory=list)
    demand: list[WorkflowJob] = field(default_factory=list)


class _Limit(NamedTuple):
    """How many more requests are allowed, and what stands in the way of others."""

    room: int
    why: str


class _Asked(NamedTuple):
    """Jobs to ask a runner for, and those for which only the route's max_workers leaves no room."""

    jobs: list[tuple[Pool, WorkflowJob]]
    blocked: list[tuple[Pool, WorkflowJob]]


class _Settled(NamedTuple):
    moves: list[Move]
    withdrawals: list[Withdraw]


def plan(snapshot: Snapshot, now: float) -> Plan:
    """Decide what to do.

    Args:
        snapshot: what was seen, outside and in the ledger.
        now: Unix seconds.

    Returns:
        The actions, and for every queued job without a new submission the reason. The same snapshot in
        another order gives the same plan.
    """
    settled = _settle(snapshot, now)
    submissions = _after(snapshot, settled.moves)
    own = list(own_runners(snapshot))
    strangers = list(strangers_among(own, submissions))
    waiting = _waiting(submissions)
    counts = _supply(snapshot, submissions, strangers, now)
    skips = _serve(snapshot, counts)
    evidence = judge(snapshot, {pool: count.queued for pool, count in counts.items()}, now)
    skips += _demand(snapshot, counts, waiting, evidence)
    for pool, count in counts.items():
        count.supply += _taken_unseen(snapshot, [s for s in submissions if s.pool == pool], count.demand)
    gate = Gate(snapshot, now)
    asked, supplied = _ask(snapshot, counts, waiting, evidence, gate, now)
    leaving = {w.submission.id for w in settled.withdrawals}
    staying = [s for s in submissions if s.id not in leaving]
    idle = idle_withdrawals(snapshot, {p: c.queued for p, c in counts.items()}, staying, evidence, asked.blocked, now)
    leaving |= {w.submission.id for w in idle}
    surplus = _surplus(snapshot, counts, [s for s in submissions if s.id not in leaving])
    return Plan(
        claims=tuple(_claims(snapshot, asked.jobs, own)),
        moves=tuple(sorted(settled.moves, key=lambda m: m.submission.id)),
        withdrawals=tuple(_paced([*settled.withdrawals, *idle, *surplus])),
        sweeps=tuple(_sweeps(snapshot, own, strangers, submissions, now)),
        skips=tuple(sorted(gate.explain([*skips, *supplied], snapshot), key=lambda s: s.job_id)),
        given_up=tuple(sorted(job_id for job_id, verdict in evidence.verdicts.items() if verdict.given_up)),
        warnings=tuple(warnings(snapshot.prefix, own, submissions)),
    )


def _settle(snapshot: Snapshot, now: float) -> _Settled:
    held: dict[str, list[WorkflowJob]] = defaultdict(list)
    for job in sorted(snapshot.jobs, key=lambda j: j.id):
        held[job.runner_name or ""].append(job)
    listed = {(target, r.name): r for target, runners in snapshot.runners.items() for r in runners}
    routes = {r.name: r for r in snapshot.routes}
    beyond = unexplained(snapshot)
    settled = _Settled([], [])
    for submission in snapshot.submissions:
        if submission.state not in OPEN_STATES:
            continue
        target = submission.pool.target
        runner = listed.get((target, submission.name))
        counted = told(submission, snapshot, beyond)
        sight = Sight(
            job=next((job for job in reversed(held[submission.name]) if is_of(submission, job.runner_id)), None),
            runner=runner if runner and is_of(submission, runner.id) else None,
            runners_known=snapshot.runners_at.get(target, 0.0) >= max(submission.since, snapshot.began),
            request=snapshot.requests.get(submission.id),
            route=routes.get(submission.pool.route),
            unexplained=counted.total if counted else None,
            missing_since=snapshot.missing_since.get(submission.id),
        )
        match settle(submission, sight, now):
            case Move() as move:
                settled.moves.append(move)
            case Withdraw() as withdraw:
                settled.withdrawals.append(withdraw)
    return settled


def _after(snapshot: Snapshot, moves: Iterable[Move]) -> tuple[Submission, ...]:
    """The submissions as they will be. One to be withdrawn stays supply until GitHub has agreed."""
    to = {m.submission.id: m.to for m in moves}
    moved = (replace(s, state=to[s.id], since=snapshot.at) if s.id in to else s for s in snapshot.submissions)
    ids = {runner.id for runners in snapshot.runners.values() for runner in runners}
    # As good as busy: it takes no further job, and may have taken one.
    return tuple(
        replace(s, state=State.BUSY, since=snapshot.runners_at[s.pool.target]) if _is_gone(snapshot, s, ids) else s
        for s in moved
    )


def _is_gone(snapshot: Snapshot, submission: Submission, listed: Collection[int]) -> bool:
    """Whether its registration, made before its request was sent, is no longer there."""
    read_at = snapshot.runners_at.get(submission.pool.target)
    sent = submission.state in (State.UNKNOWN, State.SUBMITTED, State.STARTED) and submission.runner_id is not None
    return sent and read_at is not None and read_at >= submission.since and submission.runner_id not in listed


def _waiting(submissions: Iterable[Submission]) -> _Waiting:
    """The newest runner asked for on a job's behalf that holds none yet."""
    waiting = sorted((s for s in submissions if s.state in WAITING_STATES), key=lambda s: (s.generation, s.id))
    return {(s.pool, s.job_id): s for s in waiting}


def _supply(
    snapshot: Snapshot, submissions: Sequence[Submission], strangers: Sequence[Stranger], now: float
) -> dict[Pool, _Count]:
    counts: dict[Pool, _Count] = defaultdict(_Count)
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


def _serve(snapshot: Snapshot, counts: dict[Pool, _Count]) -> list[Skip]:
    """Put each queued job into its pool, or say why its route does not serve it now."""
    skips = []
    for job in sorted(snapshot.jobs, key=lambda j: (j.created_at, j.id)):
        if job.status is not JobStatus.QUEUED:
            continue
        route = match(job.labels, job.repository, snapshot.routes)
        if isinstance(route, Unmatched):
            skips.append(Skip(job_id=job.id, why=route.reason, nearest=route.nearest))
        elif why := _refused(job, route) or _unreadable(snapshot, job):
            skips.append(Skip(job_id=job.id, why=why, route=route.name))
        else:
            counts[Pool(route.name, snapshot.target_of(job))].queued.append(job)
    return skips


def _demand(snapshot: Snapshot, counts: Mapping[Pool, _Count], waiting: _Waiting, evidence: Evidence) -> list[Skip]:
    """The jobs that are to get a runner now, and why others wait. One whose runner waits already stays demand."""
    skips = []
    for pool, count in counts.items():
        for job in count.queued:
            why = None if (pool, job.id) in waiting else _just_ended(snapshot, job) or evidence.of(job).why
            if why:
                skips.append(Skip(job_id=job.id, why=why, route=pool.route))
            else:
                count.demand.append(job)
    return skips


def _refused(job: WorkflowJob, route: Route) -> str | None:
    """What it may not cost, whoever asks: who may take an idle runner is GitHub's runner group's to say."""
    if job.public and not route.allow_public_repositories:
        return f"its repository is public, and route {route.name} has no allow_public_repositories"
    if route.allow_forks or job.fork is False:
        return None
    if job.fork is None:
        return "whether its run comes from a fork is not known yet"
    return f"its run comes from a fork, and route {route.name} has no allow_forks"


def _taken_unseen(snapshot: Snapshot, submissions: Iterable[Submission], demand: Iterable[WorkflowJob]) -> int:
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


def _unreadable(snapshot: Snapshot, job: WorkflowJob) -> str | None:
    target = snapshot.target_of(job)
    return None if target in snapshot.runners else f"GitHub's runners of {target} have not been read lately"


def _just_ended(snapshot: Snapshot, job: WorkflowJob) -> str | None:
    history = snapshot.history.get(job.id, _NO_HISTORY)
    if history.last_end > snapshot.seen_at.get(job.id, snapshot.looked_at):
        return ENDED_UNSEEN
    return None


def _ask(  # noqa: PLR0913, PLR0917 - the parts of one decision
    snapshot: Snapshot, counts: Mapping[Pool, _Count], waiting: _Waiting, evidence: Evidence, gate: Gate, now: float
) -> tuple["_Asked", list[Skip]]:
    """The jobs to ask a runner for, up to each route's limits, and why others wait."""
    asked, skips = _Asked([], []), []
    endpoints = {route.name: route.endpoint for route in snapshot.routes}
    for route in snapshot.routes:
        pools = {pool: count for pool, count in counts.items() if pool.route == route.name}
        missing: dict[Pool, list[WorkflowJob]] = {}
        for pool, count in pools.items():
            own = {job_id: s for (of, job_id), s in waiting.items() if of == pool}
            without, supplied = _split(count, own, evidence)
            without, refused = gate.admit(pool, without)
            missing[pool], probes = _probed(pool, count, without, evidence)
            skips += refused + probes
            skips += [_supplied(snapshot, pool, job, own.get(job.id), count) for job in supplied]
        live = sum(count.live for count in pools.values())
        limits = _Limit(route.max_workers - live, f"route {route.name} is at its max_workers of {route.max_workers}")
        ahead = sum(endpoints[pool.route] == route.endpoint for pool, _ in asked.jobs)
        limit = min(limits, _breaker(snapshot, route, ahead, now), key=lambda each: each.room)
        order = list(_shared({pool: count.live for pool, count in pools.items()}, missing, evidence))
        room = max(0, limit.room)
        asked.jobs.extend(order[:room])
        if limit is limits:
            asked.blocked.extend(order[room:])
        skips += [Skip(job_id=job.id, why=limit.why, route=route.name) for _, job in order[room:]]
    return asked, skips


def _probed(
    pool: Pool, count: _Count, missing: list[WorkflowJob], evidence: Evidence
) -> tuple[list[WorkflowJob], list[Skip]]:
    """What a pool may ask for while GitHub gives its runners nothing: one runner at a time."""
    why = evidence.probing.get(pool)
    room = max(0, 1 - count.supply) if why else len(missing)
    return missing[:room], [Skip(job_id=job.id, why=why or "", route=pool.route) for job in missing[room:]]


def _shared(
    live: Mapping[Pool, int], missing: Mapping[Pool, Sequence[WorkflowJob]], evidence: Evidence
) -> Iterator[tuple[Pool, WorkflowJob]]:
    """Jobs of several pools in the order in which they get a route's free places.

    Jobs with less evidence come first, then those of the pool with the fewest runners, then the oldest.
    """

    def entry(pool: Pool, place: int) -> tuple[int, int, float, int, Pool, int]:
        job = missing[pool][place]
        return evidence.of(job).rounds, live[pool] + place, job.created_at, job.id, pool, place

    heap = [entry(pool, 0) for pool, jobs in missing.items() if jobs]
    heapify(heap)
    while heap:
        *_, pool, place = heap[0]
        yield pool, missing[pool][place]
        if place + 1 < len(missing[pool]):
            heapreplace(heap, entry(pool, place + 1))
        else:
            heappop(heap)


def _breaker(snapshot: Snapshot, route: Route, ahead: int, now: float) -> _Limit:
    """How many requests an endpoint may have whose workers may be broken, with those `ahead` of this route's."""
    streak = snapshot.streaks.get(route.endpoint)
    at = probe_at(streak)
    if streak is None or at is None:
        return _Limit(route.max_workers, "")
    probes = ahead + sum(
        s.endpoint == route.endpoint and s.state in OPEN_STATES and s.created_at > streak.last
        for s in snapshot.submissions
    )
    due = f"one is tried in {at - now:.0f} s" if now < at else "one is being tried"
    failed = f"requests failed ({NO_ANSWER})" if streak.reason == NO_ANSWER else f"workers broke down ({streak.reason})"
    why = f"endpoint {route.endpoint}: its last {streak.failures} {failed}; {due}"
    return _Limit(1 - probes if now >= at else 0, why)


def _split(
    count: _Count, own: Mapping[int, Submission], evidence: Evidence
) -> tuple[list[WorkflowJob], list[WorkflowJob]]:
    """Which jobs of a pool to ask for, first those without a runner of their own, and which are supplied."""
    missing = max(0, len(count.demand) - count.supply)
    order = sorted(count.demand, key=lambda j: (j.id in own, evidence.of(j).rounds, j.created_at, j.id))
    return order[:missing], order[missing:]


def _supplied(snapshot: Snapshot, pool: Pool, job: WorkflowJob, own: Submission | None, count: _Count) -> Skip:
    which = f"runner {own.name} is {own.state}" if own else f"{count.supply} waiting runners can take it"
    delay = _capacity(snapshot.health.get(own.endpoint)) if own and own.state is State.SUBMITTED else ""
    return Skip(job_id=job.id, why=f"already asked for: {which}{delay}", route=pool.route)


def _capacity(health: EndpointHealth | None) -> str:
    """Why a request waits: its status alone does not tell a lack of capacity from a crash loop."""
    if not health or any(health.workers.get(state) for state in ("running", "ready", "idle")):
        return ""
    words = {
        "throttled": "RunPod has no capacity for its workers",
        "unhealthy": "its workers are unhealthy: see the endpoint's logs",
        "initializing": "its worker is starting",
    }
    return next((f"; {said} ({state} {n})" for state, said in words.items() if (n := health.workers.get(state))), "")


def _claims(snapshot: Snapshot, asked: Iterable[tuple[Pool, WorkflowJob]], own: Iterable[Own]) -> Iterator[Claim]:
    highest = {job_id: history.generation for job_id, history in snapshot.history.items()}
    for each in own:
        highest[each.job_id] = max(each.generation, highest.get(each.job_id, 0))
    for pool, job in asked:
        generation = highest.get(job.id, 0) + 1
        name = runner_name(snapshot.prefix, job.id, generation)
        yield Claim(pool=pool, job_id=job.id, name=name, generation=generation)


def _surplus(
    snapshot: Snapshot, counts: Mapping[Pool, _Count], submissions: Sequence[Submission]
) -> Iterator[Withdraw]:
    """Give back requests that wait for a worker with no job to wait for, newest first."""
    doubted = doubtful(snapshot, submissions)
    listed = {(target, r.name): r.id for target, runners in snapshot.runners.items() for r in runners}
    queued: dict[Pool, list[Submission]] = defaultdict(list)
    supply: Counter[Pool] = Counter()
    for s in submissions:
        request = snapshot.requests.get(s.id)
        waits = request is not None and request.status is RequestStatus.IN_QUEUE
        supply[s.pool] += s.state in WAITING_STATES and s.id not in doubted
        if waits and s.state is State.SUBMITTED:
            queued[s.pool].append(s)
    for pool, candidates in queued.items():
        readable = pool.target in snapshot.runners
        excess = max(0, supply[pool] - len(counts[pool].demand)) * readable
        newest = sorted(candidates, key=lambda s: (-s.created_at, s.name))
        for s in newest[:excess]:
            runner_id = s.runner_id or listed.get((s.pool.target, s.name))
            yield Withdraw(submission=s, to=State.CANCELLED, runner_id=runner_id, detail="no queued job needs it")


def _paced(withdrawals: Iterable[Withdraw]) -> Iterator[Withdraw]:
    """What can be taken back at a time; the next look plans the rest again."""
    held = 0
    for withdraw in sorted(withdrawals, key=lambda w: w.submission.id):
        s = withdraw.submission
        held += s.credentials is not Credentials.JIT and s.request_id is not None
        if s.credentials is Credentials.JIT or s.request_id is None or held <= MOST_HELD:
            yield withdraw


def _sweeps(
    snapshot: Snapshot,
    own: Iterable[Own],
    strangers: Iterable[Stranger],
    submissions: Iterable[Submission],
    now: float,
) -> Iterator[Sweep]:
    """Registrations of ours that nothing needs: their row has ended, or nobody answers for them any more.

    Only of runners listed in this very look: between looks the same ones would be deleted again by every pass.
    """
    rows = explaining(submissions)
    stale = {s.runner.id for s in strangers if now >= s.lease_end}
    for each in sorted(own, key=lambda o: (o.target, o.runner.id)):
        listed = snapshot.runners_at.get(each.target, 0.0) >= snapshot.began
        row = row_of(each, rows)
        ended = row is not None and row.state not in OPEN_STATES
        if listed and not each.runner.busy and (ended or each.runner.id in stale):
            yield Sweep(target=each.target, runner=each.runner)

"""The decision: what to request, what to record, what to give back, and why each other job waits. Pure.

Demand is counted, not paired: GitHub gives any eligible job to any eligible runner. So the plan compares, per
pool, queued jobs (demand) with runners that hold no job yet (supply), and requests what is missing.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from bridge.core.actions import Claim, Plan, Transition, Withdrawal
from bridge.core.allocation import Placed, allocate
from bridge.core.budget import warnings_of
from bridge.core.demand import demand_of, sort_into_pools
from bridge.core.evidence import judge
from bridge.core.idle import idle_withdrawals
from bridge.core.model import WorkflowJob
from bridge.core.naming import runner_name
from bridge.core.ownership import PrefixedRunner, may_own, prefixed_runners, unexplained_runners, warnings
from bridge.core.placement import Placement
from bridge.core.refusals import Gate
from bridge.core.rerun import decide as decide_reruns
from bridge.core.settle import Observation, settle
from bridge.core.snapshot import Snapshot
from bridge.core.spill import spill
from bridge.core.submissions import OPEN_STATES, Pool, State, Submission
from bridge.core.supply import Count, possibly_taken, supply_of, waiting_runners
from bridge.core.surplus import garbage, limited, surplus
from bridge.core.unknown import unexplained_at, unexplained_requests


class _Settled(NamedTuple):
    transitions: list[Transition]
    withdrawals: list[Withdrawal]


def plan(snapshot: Snapshot, now: float) -> Plan:
    """Decide what to do.

    Args:
        snapshot: what was seen, outside and in the ledger.
        now: Unix seconds.

    Returns:
        The actions, and the reason for every queued job that gets no new submission. The order of the snapshot's
        parts does not matter.
    """
    settled = _settle(snapshot, now)
    submissions = _after(snapshot, settled.transitions)
    prefixed = list(prefixed_runners(snapshot))
    unexplained = list(unexplained_runners(prefixed, submissions))
    waiting = waiting_runners(submissions)
    counts = supply_of(snapshot, submissions, unexplained, now)
    skips = sort_into_pools(snapshot, counts)
    evidence = judge(snapshot, {pool: count.queued for pool, count in counts.items()}, now)
    skips += demand_of(snapshot, counts, waiting, evidence)
    _add_possibly_taken(snapshot, counts, submissions)
    gate = Gate(snapshot, now)
    placement = Placement(snapshot, submissions, gate, now)
    allocated = allocate(snapshot, counts, waiting, evidence, gate, placement, now)
    leaving = {w.submission.id for w in settled.withdrawals}
    staying = [s for s in submissions if s.id not in leaving]
    queued = {pool: count.queued for pool, count in counts.items()}
    idle = idle_withdrawals(snapshot, queued, staying, evidence, allocated.blocked, now)
    leaving |= {w.submission.id for w in idle}
    unneeded = list(surplus(snapshot, counts, [s for s in submissions if s.id not in leaving]))
    leaving |= {w.submission.id for w in unneeded}
    moving = spill(snapshot, [s for s in submissions if s.id not in leaving], placement, gate, now)
    return Plan(
        claims=tuple(_claims(snapshot, allocated.jobs, prefixed)),
        transitions=tuple(sorted(settled.transitions, key=lambda t: t.submission.id)),
        withdrawals=tuple(limited([*settled.withdrawals, *idle, *unneeded, *moving])),
        garbage=tuple(garbage(snapshot, prefixed, unexplained, submissions, now)),
        skips=tuple(sorted(gate.explain([*skips, *allocated.skips], snapshot), key=lambda s: s.job_id)),
        given_up=tuple(sorted(job_id for job_id, verdict in evidence.verdicts.items() if verdict.given_up)),
        warnings=(*warnings(snapshot.prefix, prefixed, submissions), *warnings_of(snapshot.budgets)),
        reruns=decide_reruns(snapshot, now),
    )


def _add_possibly_taken(snapshot: Snapshot, counts: Mapping[Pool, Count], submissions: Iterable[Submission]) -> None:
    """Count a runner that may have taken a queued job as that job's supply."""
    of_pool: dict[Pool, list[Submission]] = defaultdict(list)
    for s in submissions:
        of_pool[s.pool].append(s)
    for pool, count in counts.items():
        count.supply += possibly_taken(snapshot, of_pool.get(pool, ()), count.demand)


def _settle(snapshot: Snapshot, now: float) -> _Settled:
    held: dict[str, list[WorkflowJob]] = defaultdict(list)
    for job in sorted(snapshot.jobs, key=lambda j: j.id):
        if job.runner_name:
            held[job.runner_name].append(job)
    listed = {(target, r.name): r for target, runners in snapshot.runners.items() for r in runners}
    routes = {r.name: r for r in snapshot.routes}
    unexplained = unexplained_requests(snapshot)
    settled = _Settled([], [])
    for submission in snapshot.submissions:
        if submission.state not in OPEN_STATES:
            continue
        target = submission.pool.target
        runner = listed.get((target, submission.name))
        beyond = unexplained_at(submission, snapshot, unexplained)
        observation = Observation(
            job=next((job for job in reversed(held[submission.name]) if may_own(submission, job.runner_id)), None),
            runner=runner if runner and may_own(submission, runner.id) else None,
            runners_known=snapshot.runners_at.get(target, 0.0) >= max(submission.since, snapshot.began),
            request=snapshot.requests.get(submission.id),
            route=routes.get(submission.pool.route),
            unexplained=beyond.total if beyond else None,
            missing_since=snapshot.missing_since.get(submission.id),
        )
        match settle(submission, observation, snapshot.timing, now):
            case Transition() as transition:
                settled.transitions.append(transition)
            case Withdrawal() as withdrawal:
                settled.withdrawals.append(withdrawal)
    return settled


def _after(snapshot: Snapshot, transitions: Iterable[Transition]) -> tuple[Submission, ...]:
    """The submissions after the transitions. One that is being withdrawn stays supply until GitHub has agreed."""
    to = {t.submission.id: t.to for t in transitions}
    moved = (replace(s, state=to[s.id], since=snapshot.at) if s.id in to else s for s in snapshot.submissions)
    ids = {runner.id for runners in snapshot.runners.values() for runner in runners}
    # Such a runner can take no further job, and may have taken one: it counts as busy.
    return tuple(
        replace(s, state=State.BUSY, since=snapshot.runners_at[s.pool.target]) if _is_gone(snapshot, s, ids) else s
        for s in moved
    )


def _is_gone(snapshot: Snapshot, submission: Submission, listed: Collection[int]) -> bool:
    """Whether a registration that was made before its request was sent is no longer listed."""
    read_at = snapshot.runners_at.get(submission.pool.target)
    sent = submission.state in (State.UNKNOWN, State.SUBMITTED, State.STARTED) and submission.runner_id is not None
    return sent and read_at is not None and read_at > submission.since and submission.runner_id not in listed


def _claims(snapshot: Snapshot, jobs: Iterable[Placed], prefixed: Iterable[PrefixedRunner]) -> Iterator[Claim]:
    highest = defaultdict(int, {job_id: history.generation for job_id, history in snapshot.history.items()})
    for each in prefixed:
        highest[each.job_id] = max(each.generation, highest[each.job_id])
    for pool, job, endpoint, placed in jobs:
        generation = highest[job.id] + 1
        name = runner_name(snapshot.prefix, job.id, generation)
        yield Claim(pool=pool, job_id=job.id, name=name, generation=generation, endpoint=endpoint, placed=placed)

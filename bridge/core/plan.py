"""The one decision: what to ask for, what to record, what to give back, and why each other job waits. Pure.

Demand is counted, not paired: GitHub gives any eligible job to any eligible runner. So the plan compares, per
pool, queued jobs (demand) with runners that hold no job yet (supply), and asks for what is missing.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

from bridge.core.actions import Claim, Plan, Transition, Withdrawal
from bridge.core.allocation import ask
from bridge.core.demand import demand_of, sort_into_pools
from bridge.core.evidence import judge
from bridge.core.idle import idle_withdrawals
from bridge.core.model import WorkflowJob
from bridge.core.naming import runner_name
from bridge.core.refusals import Gate
from bridge.core.settle import Observation, settle
from bridge.core.snapshot import Snapshot
from bridge.core.strangers import (
    Own,
    is_of,
    own_runners,
    strangers_among,
    warnings,
)
from bridge.core.submissions import OPEN_STATES, Pool, State, Submission
from bridge.core.supply import supply_of, taken_unseen, waiting_runners
from bridge.core.surplus import garbage, paced, surplus
from bridge.core.unknown import told, unexplained


class _Settled(NamedTuple):
    transitions: list[Transition]
    withdrawals: list[Withdrawal]


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
    submissions = _after(snapshot, settled.transitions)
    own = list(own_runners(snapshot))
    strangers = list(strangers_among(own, submissions))
    waiting = waiting_runners(submissions)
    counts = supply_of(snapshot, submissions, strangers, now)
    skips = sort_into_pools(snapshot, counts)
    evidence = judge(snapshot, {pool: count.queued for pool, count in counts.items()}, now)
    skips += demand_of(snapshot, counts, waiting, evidence)
    of_pool: dict[Pool, list[Submission]] = defaultdict(list)
    for s in submissions:
        of_pool[s.pool].append(s)
    for pool, count in counts.items():
        count.supply += taken_unseen(snapshot, of_pool.get(pool, ()), count.demand)
    gate = Gate(snapshot, now)
    asked, supplied = ask(snapshot, counts, waiting, evidence, gate, now)
    leaving = {w.submission.id for w in settled.withdrawals}
    staying = [s for s in submissions if s.id not in leaving]
    idle = idle_withdrawals(snapshot, {p: c.queued for p, c in counts.items()}, staying, evidence, asked.blocked, now)
    leaving |= {w.submission.id for w in idle}
    unneeded = surplus(snapshot, counts, [s for s in submissions if s.id not in leaving])
    return Plan(
        claims=tuple(_claims(snapshot, asked.jobs, own)),
        transitions=tuple(sorted(settled.transitions, key=lambda m: m.submission.id)),
        withdrawals=tuple(paced([*settled.withdrawals, *idle, *unneeded])),
        garbage=tuple(garbage(snapshot, own, strangers, submissions, now)),
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
        observation = Observation(
            job=next((job for job in reversed(held[submission.name]) if is_of(submission, job.runner_id)), None),
            runner=runner if runner and is_of(submission, runner.id) else None,
            runners_known=snapshot.runners_at.get(target, 0.0) >= max(submission.since, snapshot.began),
            request=snapshot.requests.get(submission.id),
            route=routes.get(submission.pool.route),
            unexplained=counted.total if counted else None,
            missing_since=snapshot.missing_since.get(submission.id),
        )
        match settle(submission, observation, now):
            case Transition() as transition:
                settled.transitions.append(transition)
            case Withdrawal() as withdraw:
                settled.withdrawals.append(withdraw)
    return settled


def _after(snapshot: Snapshot, transitions: Iterable[Transition]) -> tuple[Submission, ...]:
    """The submissions as they will be. One to be withdrawn stays supply until GitHub has agreed."""
    to = {m.submission.id: m.to for m in transitions}
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
    return sent and read_at is not None and read_at > submission.since and submission.runner_id not in listed


def _claims(snapshot: Snapshot, asked: Iterable[tuple[Pool, WorkflowJob]], own: Iterable[Own]) -> Iterator[Claim]:
    highest = {job_id: history.generation for job_id, history in snapshot.history.items()}
    for each in own:
        highest[each.job_id] = max(each.generation, highest.get(each.job_id, 0))
    for pool, job in asked:
        generation = highest.get(job.id, 0) + 1
        name = runner_name(snapshot.prefix, job.id, generation)
        yield Claim(pool=pool, job_id=job.id, name=name, generation=generation)

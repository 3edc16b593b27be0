"""Which idle runners to withdraw before their idle timeout: GitHub gives them no jobs, and they cost money. Pure."""

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from bridge.core.actions import Withdrawal
from bridge.core.evidence import Evidence, queued_since
from bridge.core.model import Runner, WorkflowJob
from bridge.core.snapshot import Snapshot
from bridge.core.submissions import Pool, State, Submission
from bridge.core.timing import Timing


class _Idle(NamedTuple):
    """A runner that listens.

    Args:
        seconds: since when neither this runner nor another of its pool took a job.
    """

    seconds: float
    submission: Submission


def idle_withdrawals(  # noqa: PLR0913, PLR0917 - the parts of one decision
    snapshot: Snapshot,
    queued: Mapping[Pool, Sequence[WorkflowJob]],
    submissions: Sequence[Submission],
    evidence: Evidence,
    blocked: Collection[tuple[Pool, WorkflowJob]],
    now: float,
) -> list[Withdrawal]:
    """Choose idle runners to withdraw. GitHub refuses to delete a runner that has just got a job.

    Args:
        snapshot: what was seen.
        queued: by pool, the queued jobs that its route serves.
        submissions: as they will be after this plan's transitions.
        evidence: what earlier idle runners show.
        blocked: jobs that wait only because their route has reached max_workers.
        now: Unix seconds.
    """
    listed = {(target, runner.name): runner for target, found in snapshot.runners.items() for runner in found}
    listening = {s.id: runner for s in submissions if (runner := _listening(s, listed))}
    idle = _idle(snapshot, [s for s in submissions if s.id in listening], now)
    chosen: dict[str, Submission] = {}
    for pool, runners in idle.items():
        since = [queued_since(snapshot, job) for job in queued.get(pool, ())]
        if since:
            suspect = pool in evidence.suspect
            chosen |= {s.id: s for s in _without_jobs(runners, since, suspect, snapshot.timing, now)}
    chosen |= {s.id: s for s in _for_blocked_jobs(idle, blocked, evidence, snapshot.timing)}
    detail = "it listened, and GitHub gave it no job"
    return [
        Withdrawal(submission=s, to=State.NO_JOB, runner_id=listening[s.id].id, detail=detail) for s in chosen.values()
    ]


def _listening(submission: Submission, listed: Mapping[tuple[str, str], Runner]) -> Runner | None:
    runner = listed.get((submission.pool.target, submission.name))
    if submission.state is not State.STARTED or runner is None or submission.runner_id not in (None, runner.id):
        return None
    return runner if runner.online and not runner.busy else None


def _idle(snapshot: Snapshot, listening: Iterable[Submission], now: float) -> dict[Pool, list[_Idle]]:
    """The listening runners by pool, those that have been idle longest first."""
    found: dict[Pool, list[_Idle]] = defaultdict(list)
    for s in listening:
        found[s.pool].append(_Idle(now - max(s.since, snapshot.last_taken.get(s.pool, 0.0)), s))
    return {pool: _longest_first(each) for pool, each in found.items()}


def _longest_first(idle: Iterable[_Idle]) -> list[_Idle]:
    return sorted(idle, key=lambda each: (-each.seconds, each.submission.id))


def _without_jobs(
    runners: Sequence[_Idle], queued: Collection[float], suspect: bool, timing: Timing, now: float
) -> list[Submission]:
    """All but one of the runners of a pool that get no job although jobs are queued.

    The last one is withdrawn too if the pool's runner before was idle as well. A job that was queued just now may
    still go to one of them, so each such job keeps a runner.

    Args:
        runners: of the pool, those that have been idle longest first.
        queued: Unix seconds since when each of its jobs is queued.
        suspect: see `Evidence.suspect`.
    """
    age = now - min(queued)
    fresh = sum(now - since < timing.min_listening for since in queued)
    idle = [each for each in runners if min(each.seconds, age) >= timing.quiet]
    if idle and min(idle[-1].seconds, age) < (timing.probe if suspect else math.inf):
        idle.pop()
    return [each.submission for each in idle[: max(0, len(runners) - fresh)]]


def _for_blocked_jobs(
    idle: Mapping[Pool, Sequence[_Idle]],
    blocked: Collection[tuple[Pool, WorkflowJob]],
    evidence: Evidence,
    timing: Timing,
) -> list[Submission]:
    """Idle runners of a full route whose place a job of another pool needs, if nothing is held against that job."""
    listening = {pool: [r for r in runners if r.seconds >= timing.min_listening] for pool, runners in idle.items()}
    needed = Counter(
        pool.route for pool, job in blocked if not (evidence.of(job).rounds or listening.get(pool))
    )  # an idle runner of its own pool would get the job
    chosen: list[Submission] = []
    for route, places in needed.items():
        of_route = (each for pool, found in listening.items() if pool.route == route for each in found)
        chosen += [each.submission for each in _longest_first(of_route)[:places]]
    return chosen

"""Which runners to withdraw before their idle timeout: they cost money, and GitHub gives them nothing. Pure."""

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from bridge.core.actions import Withdrawal
from bridge.core.evidence import LISTENED, Evidence, known_since
from bridge.core.model import Runner, WorkflowJob
from bridge.core.snapshot import Snapshot
from bridge.core.submissions import Pool, State, Submission

QUIET = 90.0
"""s in which several runners of a pool listen beside queued jobs and none gets one, until only one is kept."""

PROBE = 120.0
"""s that a runner of a pool may listen whose last runner was idle beside a queued job."""


def idle_withdrawals(  # noqa: PLR0913, PLR0917 - the parts of one decision
    snapshot: Snapshot,
    queued: Mapping[Pool, Sequence[WorkflowJob]],
    submissions: Sequence[Submission],
    evidence: Evidence,
    blocked: Collection[tuple[Pool, WorkflowJob]],
    now: float,
) -> list[Withdrawal]:
    """Choose idle runners to withdraw. GitHub refuses it for a runner that has just got a job.

    Args:
        snapshot: what was seen.
        queued: by pool, the queued jobs that its route serves.
        submissions: as they will be.
        evidence: what earlier idle runners tell.
        blocked: jobs for which only their route's max_workers leaves no room.
        now: Unix seconds.
    """
    listed = {(target, runner.name): runner for target, found in snapshot.runners.items() for runner in found}
    listening = {s.id: runner for s in submissions if (runner := _listening(s, listed))}
    quiet = _quiet(snapshot, [s for s in submissions if s.id in listening], now)
    chosen: dict[str, Submission] = {}
    for pool, runners in quiet.items():
        since = [known_since(snapshot, job) for job in queued.get(pool, ())]
        if since:
            chosen |= {s.id: s for s in _pointless(runners, since, pool in evidence.suspect, now)}
    chosen |= {s.id: s for s in _in_the_way(quiet, blocked, evidence)}
    return [
        Withdrawal(
            submission=s,
            to=State.NO_JOB,
            runner_id=listening[s.id].id,
            detail="it listened, and GitHub gave it no job",
        )
        for s in chosen.values()
    ]


def _listening(submission: Submission, listed: Mapping[tuple[str, str], Runner]) -> Runner | None:
    runner = listed.get((submission.pool.target, submission.name))
    if submission.state is not State.STARTED or runner is None or submission.runner_id not in (None, runner.id):
        return None
    return runner if runner.online and not runner.busy else None


def _quiet(
    snapshot: Snapshot, listening: Iterable[Submission], now: float
) -> dict[Pool, list[tuple[float, Submission]]]:
    """By pool, for how many s nothing was taken in it while a runner listened, the longest first."""
    found: dict[Pool, list[tuple[float, Submission]]] = defaultdict(list)
    for s in listening:
        found[s.pool].append((now - max(s.since, snapshot.last_taken.get(s.pool, 0.0)), s))
    return {pool: sorted(each, key=lambda e: (-e[0], e[1].id)) for pool, each in found.items()}


def _pointless(
    runners: Sequence[tuple[float, Submission]], queued_since: Collection[float], suspect: bool, now: float
) -> list[Submission]:
    """All but one of several that GitHub gives nothing; that one too where the last one was idle already.

    Jobs that were queued just now may still get one.
    """
    age = now - min(queued_since)
    fresh = sum(now - since < LISTENED for since in queued_since)
    silent = [(seconds, s) for seconds, s in runners if min(seconds, age) >= QUIET]
    if silent and min(silent[-1][0], age) < (PROBE if suspect else math.inf):
        silent.pop()
    return [s for _, s in silent[: max(0, len(runners) - fresh)]]


def _in_the_way(
    quiet: Mapping[Pool, Sequence[tuple[float, Submission]]],
    blocked: Collection[tuple[Pool, WorkflowJob]],
    evidence: Evidence,
) -> list[Submission]:
    """Idle runners of a route's other pools, whose place a job without evidence needs."""
    listening = {pool: [each for each in found if each[0] >= LISTENED] for pool, found in quiet.items()}
    needed = Counter(
        pool.route for pool, job in blocked if not (evidence.of(job).rounds or listening.get(pool))
    )  # a pool's own idle runner would get the job
    chosen: list[Submission] = []
    for route, places in needed.items():
        of_route = [each for pool, found in listening.items() if pool.route == route for each in found]
        longest_first = sorted(of_route, key=lambda each: (-each[0], each[1].id))
        chosen += [s for _, s in longest_first[:places]]
    return chosen

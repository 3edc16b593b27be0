"""What to give back: requests that no job needs, and registrations that no submission needs. Pure."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from bridge.core.actions import Garbage, Withdrawal
from bridge.core.model import RequestStatus
from bridge.core.ownership import PrefixedRunner, UnexplainedRunner, row_of, rows_by_name
from bridge.core.snapshot import Snapshot
from bridge.core.submissions import OPEN_STATES, WAITING_STATES, Pool, State, Submission
from bridge.core.supply import Count
from bridge.core.unknown import doubtful
from bridge.core.worker import Credentials

MAX_HELD_NAMES = 20
"""Requests of token modes that a pass withdraws: each needs a registration that holds its name, and GitHub allows 80
a minute."""


def surplus(
    snapshot: Snapshot, counts: Mapping[Pool, Count], submissions: Sequence[Submission]
) -> Iterator[Withdrawal]:
    """Withdraw requests that wait for a worker although no job needs them, newest first."""
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
        if pool.target not in snapshot.runners:
            continue  # its jobs do not count as demand while its runners cannot be read
        excess = max(0, supply[pool] - len(counts[pool].demand))
        newest = sorted(candidates, key=lambda s: (-s.created_at, s.name))
        for s in newest[:excess]:
            runner_id = s.runner_id or listed.get((s.pool.target, s.name))
            yield Withdrawal(submission=s, to=State.CANCELLED, runner_id=runner_id, detail="no queued job needs it")


def limited(withdrawals: Iterable[Withdrawal]) -> Iterator[Withdrawal]:
    """Limit how many requests of token modes are withdrawn in one pass; the next pass plans the rest again."""
    held = 0
    for withdrawal in sorted(withdrawals, key=lambda w: w.submission.id):
        s = withdrawal.submission
        holds_name = s.credentials is not Credentials.JIT and s.request_id is not None
        held += holds_name
        if not holds_name or held <= MAX_HELD_NAMES:
            yield withdrawal


def garbage(
    snapshot: Snapshot,
    prefixed: Iterable[PrefixedRunner],
    unexplained: Iterable[UnexplainedRunner],
    submissions: Iterable[Submission],
    now: float,
) -> Iterator[Garbage]:
    """Delete registrations of ours that are not needed: their submission has ended, or their lease has.

    Only runners that were listed in this very pass: otherwise each pass on events would delete the same ones again.
    """
    rows = rows_by_name(submissions)
    stale = {each.runner.id for each in unexplained if now >= each.lease_end}
    for each in sorted(prefixed, key=lambda p: (p.target, p.runner.id)):
        listed = snapshot.runners_at[each.target] >= snapshot.began
        row = row_of(each, rows)
        ended = row is not None and row.state not in OPEN_STATES
        if listed and not each.runner.busy and (ended or each.runner.id in stale):
            yield Garbage(target=each.target, runner=each.runner)

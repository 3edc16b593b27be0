"""What is given back: requests that no job needs, and registrations that nothing needs. Pure."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from bridge.core.actions import Garbage, Withdrawal
from bridge.core.model import RequestStatus
from bridge.core.snapshot import Snapshot
from bridge.core.strangers import Own, Stranger, explaining, row_of
from bridge.core.submissions import OPEN_STATES, WAITING_STATES, Pool, State, Submission
from bridge.core.supply import Count
from bridge.core.unknown import doubtful
from bridge.core.worker import Credentials

MOST_HELD = 20
"""Requests of token modes that are taken back at a time: each takes a registration, and GitHub allows 80 a minute."""


def surplus(
    snapshot: Snapshot, counts: Mapping[Pool, Count], submissions: Sequence[Submission]
) -> Iterator[Withdrawal]:
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
            yield Withdrawal(submission=s, to=State.CANCELLED, runner_id=runner_id, detail="no queued job needs it")


def paced(withdrawals: Iterable[Withdrawal]) -> Iterator[Withdrawal]:
    """What can be taken back at a time; the next look plans the rest again."""
    held = 0
    for withdraw in sorted(withdrawals, key=lambda w: w.submission.id):
        s = withdraw.submission
        held += s.credentials is not Credentials.JIT and s.request_id is not None
        if s.credentials is Credentials.JIT or s.request_id is None or held <= MOST_HELD:
            yield withdraw


def garbage(
    snapshot: Snapshot,
    own: Iterable[Own],
    strangers: Iterable[Stranger],
    submissions: Iterable[Submission],
    now: float,
) -> Iterator[Garbage]:
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
            yield Garbage(target=each.target, runner=each.runner)

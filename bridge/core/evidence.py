"""Which queued jobs GitHub would give to a new runner, from what became of earlier runners. Pure.

GitHub may keep a job queued and give it to nobody: `max-parallel`, a runner group that does not admit its repository,
an archived repository, an incident. No call tells. But GitHub gives any eligible job to any eligible runner, so a
runner that listened and got nothing is evidence against every job of its pool that was queued meanwhile.
"""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from bridge.core.model import JobStatus, WorkflowJob
from bridge.core.routing import match
from bridge.core.scope import Route
from bridge.core.snapshot import Snapshot
from bridge.core.submissions import IdleRunner, JobHistory, Pool, RunnerUse

LISTENED = 60.0
"""s that a runner must listen beside a queued job, to be evidence: GitHub assigns a job within seconds."""

REMEMBERED = 25 * 3600.0
"""s that evidence is kept in mind: as long as a job may be asked for, and an hour."""

FIRST_PAUSE, LONGEST_PAUSE = 300.0, 4 * 3600.0
"""s from an idle runner's end to the next try for a single job; each pause is twice the last."""

FIRST_PROBE, LONGEST_PROBE = 150.0, 1800.0
"""s from an idle runner's end to the next try for a pool in which several jobs are stuck."""

FRESH_PROBE = 120.0
"""s in such a pool until a job without evidence is tried whose repository has a job with evidence."""

HELD_PAUSE = 1800.0
"""s from an idle runner's end until one more runner is tried for a run that was held back; each pause is twice the
last, up to LONGEST_PAUSE."""

TURN = 3600.0
"""s after its pause until a job that a full route has no place for goes before jobs without evidence."""

MAX_FAILURES, FAILED_PAUSE = 5, 900.0
"""Failed runners for one job, after which there is a pause in s before each further try; each is twice the last."""

GIVEN_UP = 86_400.0
"""s from a job's first claim until it is given up: GitHub fails a self-hosted job that was queued for a day."""

YOUNG = 600.0
"""s in which a ledger is new: it may be that each pass has a new one, and none knows of the others' tries."""

UNTRIED, SLOT, SLOTS = 3600.0, 300.0, 48
"""A new ledger serves jobs that are queued for less than UNTRIED s; an older one in one of SLOTS slots of SLOT s."""

_NO_HISTORY = JobHistory(generation=0, attempts=0, last_claim=0.0, last_end=0.0)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the evidence says of one queued job.

    Args:
        rounds: how many times in a row a runner listened beside it for nothing.
        why: the reason to leave it alone now, None to serve it.
        rank: its place in the order of a full route: `rounds`, and 0 once it has waited for TURN.
        given_up: it gets no more runners until it is retried by hand.
    """

    rounds: int = 0
    rank: int = 0
    why: str | None = None
    given_up: bool = False


@dataclass
class Evidence:
    """The evidence of one snapshot, by pool.

    Args:
        verdicts: by job id.
        probing: pools in which only one runner at a time may wait for a job, with the reason for the others.
        suspect: pools whose last runner was idle beside a queued job, or where a run is tried with one runner more.
    """

    verdicts: dict[int, Verdict] = field(default_factory=dict)
    probing: dict[Pool, str] = field(default_factory=dict)
    suspect: set[Pool] = field(default_factory=set)

    def of(self, job: WorkflowJob) -> Verdict:
        """What is said of a job."""
        return self.verdicts.get(job.id, Verdict())


class Rounds:
    """Runners that ended without a job, and how many of them listened after each other.

    Args:
        idle: runners of one pool.
    """

    def __init__(self, idle: Iterable[IdleRunner]) -> None:
        self._ends = sorted(each.ended for each in idle if each.ended - each.began >= LISTENED)
        self._found: dict[int, list[float]] = {}  # many jobs share what they begin with

    def after(self, since: float) -> list[float]:
        """When runners ended, of which each began to listen after the one before had ended.

        Args:
            since: Unix seconds; a runner counts that listened for LISTENED after it.
        """
        first = bisect_left(self._ends, since + LISTENED)
        if first not in self._found:
            ends: list[float] = []
            at = first
            while at < len(self._ends):
                ends.append(self._ends[at])
                at = bisect_left(self._ends, self._ends[at] + LISTENED)
            self._found[first] = ends
        return self._found[first]


class _Runners:
    """What became of a pool's runners.

    Args:
        idle: those that got no job.
        uses: by run, those that its jobs took.
        running: by run, how many of its jobs are in progress.
    """

    def __init__(
        self, idle: Collection[IdleRunner], uses: Mapping[int, Sequence[RunnerUse]], running: Mapping[int, int]
    ) -> None:
        self.uses, self.running = uses, running
        self.unrefuted = [each for each in idle if not each.refuted]
        self._unexplained = Rounds(self.unrefuted)
        self._of_runs = {run_id: self._split(idle, spans) for run_id, spans in uses.items()} if idle else {}

    def unexplained(self, job: WorkflowJob, since: float) -> list[float]:
        """Rounds that neither a job that ran later, nor another job of the run explains (`max-parallel`)."""
        return (self._of_runs[job.run_id][0] if job.run_id in self._of_runs else self._unexplained).after(since)

    def beside(self, job: WorkflowJob, since: float) -> list[float]:
        """Rounds of runners that were idle while other jobs of the run were in progress."""
        return self._of_runs[job.run_id][1].after(since) if job.run_id in self._of_runs else []

    def _split(self, idle: Collection[IdleRunner], uses: Sequence[RunnerUse]) -> tuple[Rounds, Rounds]:
        beside = [each for each in idle if _beside(each, uses)]
        ids = set(map(id, beside))
        return Rounds(each for each in self.unrefuted if id(each) not in ids), Rounds(beside)


def judge(snapshot: Snapshot, queued: Mapping[Pool, Sequence[WorkflowJob]], now: float) -> Evidence:
    """Judge every queued job.

    Args:
        snapshot: what was seen.
        queued: by pool, the queued jobs that its route serves.
        now: Unix seconds.
    """
    idle: dict[Pool, list[IdleRunner]] = defaultdict(list)
    for each in snapshot.idle:
        idle[each.pool].append(each)
    uses: dict[Pool, dict[int, list[RunnerUse]]] = defaultdict(lambda: defaultdict(list))
    for use in snapshot.uses:
        uses[use.pool][use.run_id].append(use)
    running = _running(snapshot)
    evidence = Evidence()
    for pool, jobs in queued.items():
        runners = _Runners(idle.get(pool, ()), uses.get(pool, {}), running.get(pool, {}))
        _judge_pool(snapshot, pool, jobs, runners, evidence, now)
    return evidence


def _running(snapshot: Snapshot) -> Mapping[Pool, Counter[int]]:
    """By pool and run, how many of its jobs are in progress; those of other pools are of another matrix."""
    runs = {use.run_id for use in snapshot.uses}
    found: dict[Pool, Counter[int]] = defaultdict(Counter)
    for job in snapshot.jobs:
        if job.status is JobStatus.IN_PROGRESS and job.run_id in runs:
            route = match(job.labels, job.repository, snapshot.routes)
            if isinstance(route, Route):
                found[Pool(route.name, snapshot.target_of(job))][job.run_id] += 1
    return found


def _judge_pool(  # noqa: PLR0913, PLR0917 - one pool's part of `judge`
    snapshot: Snapshot, pool: Pool, jobs: Sequence[WorkflowJob], runners: _Runners, evidence: Evidence, now: float
) -> None:
    held, tried = _held(snapshot, jobs, runners, now)
    counted = {job.id: runners.unexplained(job, known_since(snapshot, job)) for job in jobs}
    taken = snapshot.last_taken.get(pool, 0.0)
    stuck = [job for job in jobs if counted[job.id] and counted[job.id][-1] > taken and job.id not in held]
    since_taken = Rounds(runners.unrefuted).after(taken)
    if tried or (stuck and since_taken):
        evidence.suspect.add(pool)
    several = len(stuck) > 1 and bool(since_taken)
    if several:
        evidence.probing[pool] = _probing(pool, len(stuck))
    repositories = {job.repository.lower() for job in stuck}
    for job in jobs:
        ends = counted[job.id]
        history = snapshot.history.get(job.id, _NO_HISTORY)
        given_up = _given_up(snapshot, job, history, now)
        why = given_up or _untold(snapshot, job, now) or held.get(job.id) or _failed(history, now)
        told, pause = ends, _doubling(FIRST_PAUSE, LONGEST_PAUSE, len(ends))
        if several:
            familiar = job.repository.lower() in repositories
            told, pause = since_taken, _probe_pause(ends, since_taken, familiar=familiar)
        why = why or _paused(told, pause, now)
        rank = len(ends) if ends and now < told[-1] + pause + TURN else 0
        evidence.verdicts[job.id] = Verdict(rounds=len(ends), rank=rank, why=why, given_up=given_up is not None)


def known_since(snapshot: Snapshot, job: WorkflowJob) -> float:
    """Unix seconds since when a job is queued, by the bridge's clock where the ledger tells."""
    return snapshot.queued_since.get(job.id, job.created_at)


def _beside(idle: IdleRunner, uses: Iterable[RunnerUse]) -> bool:
    """Whether a job of the run ran while this runner was idle, which `max-parallel` explains."""
    return any(use.began < idle.ended and (use.ended is None or use.ended > idle.began) for use in uses)


def _held(
    snapshot: Snapshot, jobs: Iterable[WorkflowJob], runners: _Runners, now: float
) -> tuple[dict[int, str], bool]:
    """Jobs of runs that used fewer runners than they had jobs queued, beyond what they ever used at a time.

    It may have been an incident: after a pause, one more is tried. Also whether that is so for any of the runs.
    """
    limited: dict[int, list[WorkflowJob]] = defaultdict(list)
    ends: dict[int, list[float]] = {}
    for job in jobs:
        if found := runners.beside(job, known_since(snapshot, job)):
            limited[job.run_id].append(job)
            ends[job.run_id] = max(found, ends.get(job.run_id, []), key=len)
    held: dict[int, str] = {}
    tried = False
    for run_id, of_run in limited.items():
        most, running = _most_at_once(runners.uses[run_id]), runners.running.get(run_id, 0)
        why = f"{running} jobs of its run are in progress, and it never used more than {most} runners at a time"
        oldest_first = sorted(of_run, key=lambda job: (job.created_at, job.id))
        over = now >= ends[run_id][-1] + _doubling(HELD_PAUSE, LONGEST_PAUSE, len(ends[run_id]))
        held |= {job.id: why for job in oldest_first[max(over, most - running) :]}
        tried = tried or (over and running >= most)
    return held, tried


def _most_at_once(uses: Iterable[RunnerUse]) -> int:
    steps = [(use.began, 1) for use in uses] + [(use.ended, -1) for use in uses if use.ended is not None]
    most = now = 0
    for _, step in sorted(steps):
        now += step
        most = max(most, now)
    return most


def _probe_pause(ends: Sequence[float], since_taken: Sequence[float], *, familiar: bool) -> float:
    """Seconds until a pool's next probe: at once for a job of a repository that nothing is known of."""
    if ends:
        return _doubling(FIRST_PROBE, LONGEST_PROBE, len(since_taken))
    return FRESH_PROBE if familiar else 0.0


def _probing(pool: Pool, stuck: int) -> str:
    return f"GitHub gives no runner of route {pool.route} a job: {stuck} jobs are stuck; one runner at a time tries"


def _paused(ends: Sequence[float], pause: float, now: float) -> str | None:
    until = ends[-1] + pause if ends else now
    if now >= until:
        return None
    who, them = (f"{len(ends)} runners", "them") if len(ends) > 1 else ("a runner", "it")
    return f"stuck: {who} listened, and GitHub gave {them} no job; the next try is in {_span(until - now)}"


def _failed(history: JobHistory, now: float) -> str | None:
    if history.attempts < MAX_FAILURES:
        return None
    pause = _doubling(FAILED_PAUSE, LONGEST_PAUSE, history.attempts - MAX_FAILURES + 1)
    until = history.last_claim + pause
    if now >= until:
        return None
    return f"stuck: {history.attempts} runners failed before they took a job; the next try is in {_span(until - now)}"


def _given_up(snapshot: Snapshot, job: WorkflowJob, history: JobHistory, now: float) -> str | None:
    if history.first_claim > 0.0 and now >= history.first_claim + GIVEN_UP:
        return f"given up: {history.generation} runners in a day did not get it; `retry {job.id}` tries again"
    if _is_new_to(snapshot, job, now) and now - _queued_at(job) > GIVEN_UP:
        return "given up: it is queued for over a day, and this ledger is new"
    return None


def _is_new_to(snapshot: Snapshot, job: WorkflowJob, now: float) -> bool:
    """Whether a ledger is too young to know what was tried for a job: each pass may have a new one."""
    return job.id not in snapshot.history and now <= snapshot.ledger_born + YOUNG


def _queued_at(job: WorkflowJob) -> float:
    return max(job.created_at, job.started_at or 0.0)


def _untold(snapshot: Snapshot, job: WorkflowJob, now: float) -> str | None:
    """With a new ledger only a job's age tells how often it may have been tried."""
    age = now - _queued_at(job)
    if age < UNTRIED or not _is_new_to(snapshot, job, now):
        return None
    if age // SLOT % SLOTS == 0:
        return None
    every = f"one try every {SLOT * SLOTS / 3600:.0f} h until it is {YOUNG / 60:.0f} min old"
    return f"queued for {_span(age)}, and this ledger is new: {every}"


def _doubling(first: float, longest: float, times: int) -> float:
    return min(first * 2.0 ** min(times - 1, 16), longest)


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"

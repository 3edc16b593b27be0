"""Which queued jobs GitHub would give to a new runner, judged by what happened to earlier runners. Pure.

GitHub may keep a job queued and give it to no runner: `max-parallel`, a runner group that does not admit its
repository, an archived repository, an incident. No API call shows this. But GitHub gives any eligible job to any
eligible runner, so a runner that listened and got nothing is evidence against every job of its pool that was queued
meanwhile.
"""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from bridge.core.actions import Cause, SkipKind
from bridge.core.model import JobStatus, WorkflowJob
from bridge.core.routing import match
from bridge.core.scope import Route
from bridge.core.snapshot import Snapshot
from bridge.core.submissions import IdleRunner, JobHistory, Pool, RunnerUse
from bridge.core.timing import Timing

MAX_FAILURES = 5
"""Failed runners for one job, after which there is a pause before each further try."""

SLOTS = 48
"""A new ledger serves a job that may have been tried before in one slot out of so many."""

_NO_HISTORY = JobHistory(generation=0, attempts=0, last_claim=0.0, last_end=0.0)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the evidence says about one queued job.

    Args:
        rounds: how many runners in a row listened while it was queued, and got no job.
        cause: the reason not to serve it now, None to serve it.
        rank: its place in the order of a full route: `rounds`, and 0 after it has waited for its turn.
        given_up: it gets no more runners until it is retried by hand.
    """

    rounds: int = 0
    rank: int = 0
    cause: Cause | None = None
    given_up: bool = False


@dataclass
class Evidence:
    """The evidence of one snapshot.

    Args:
        verdicts: by job id.
        probing: pools in which only one runner at a time may wait for a job, with the reason for the other jobs.
        suspect: pools whose last runner got no job although one was queued, or where a run is tried with one more
            runner.
    """

    verdicts: dict[int, Verdict] = field(default_factory=dict)
    probing: dict[Pool, Cause] = field(default_factory=dict)
    suspect: set[Pool] = field(default_factory=set)

    def of(self, job: WorkflowJob) -> Verdict:
        """The verdict on a job."""
        return self.verdicts.get(job.id, Verdict())


class Rounds:
    """Idle runners of one pool, counted in rounds: runners that listened at the same time are one round.

    Args:
        idle: runners that ended without a job.
        min_listening: s that a runner must have listened while a job was queued.
    """

    def __init__(self, idle: Iterable[IdleRunner], min_listening: float) -> None:
        self._min_listening = min_listening
        self._ends = sorted(each.ended for each in idle if each.ended - each.began >= min_listening)
        self._found: dict[int, list[float]] = {}  # by the first end: many jobs share it

    def after(self, since: float) -> list[float]:
        """Unix seconds when each round ended.

        Args:
            since: Unix seconds when a job was queued; a runner counts if it listened long enough after that.
        """
        first = bisect_left(self._ends, since + self._min_listening)
        if first not in self._found:
            ends: list[float] = []
            at = first
            while at < len(self._ends):
                ends.append(self._ends[at])
                at = bisect_left(self._ends, self._ends[at] + self._min_listening)
            self._found[first] = ends
        return self._found[first]


class _PoolRunners:
    """What happened to a pool's runners.

    Args:
        idle: those that got no job.
        uses: by run, those that its jobs took.
        running: by run, how many of its jobs are in progress.
        timing: how long a runner must have listened.
    """

    def __init__(
        self,
        idle: Collection[IdleRunner],
        uses: Mapping[int, Sequence[RunnerUse]],
        running: Mapping[int, int],
        timing: Timing,
    ) -> None:
        self.uses, self.running = uses, running
        self._min_listening = timing.min_listening
        self.unrefuted = [each for each in idle if not each.refuted]
        self._unexplained = self._rounds(self.unrefuted)
        self._of_runs = {run_id: self._split(idle, spans) for run_id, spans in uses.items()} if idle else {}

    def unexplained(self, job: WorkflowJob, since: float) -> list[float]:
        """Rounds that neither a job that ran later explains, nor another job of the run (`max-parallel`)."""
        return (self._of_runs[job.run_id][0] if job.run_id in self._of_runs else self._unexplained).after(since)

    def explained_by_run(self, job: WorkflowJob, since: float) -> list[float]:
        """Rounds of runners that were idle while other jobs of the job's run were in progress."""
        return self._of_runs[job.run_id][1].after(since) if job.run_id in self._of_runs else []

    def since(self, taken: float) -> list[float]:
        """Rounds after a job of the pool was taken at this time, in Unix seconds."""
        return self._rounds(self.unrefuted).after(taken)

    def _rounds(self, idle: Iterable[IdleRunner]) -> Rounds:
        return Rounds(idle, self._min_listening)

    def _split(self, idle: Collection[IdleRunner], uses: Sequence[RunnerUse]) -> tuple[Rounds, Rounds]:
        """Rounds that a run's jobs do not explain, and those that they explain."""
        explained = [each for each in idle if _ran_meanwhile(each, uses)]
        ids = set(map(id, explained))
        return self._rounds(each for each in self.unrefuted if id(each) not in ids), self._rounds(explained)


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
        runners = _PoolRunners(idle.get(pool, ()), uses.get(pool, {}), running.get(pool, {}), snapshot.timing)
        _judge_pool(snapshot, pool, jobs, runners, evidence, now)
    return evidence


def queued_since(snapshot: Snapshot, job: WorkflowJob) -> float:
    """Unix seconds since when a job is queued, by the bridge's clock if the ledger has it."""
    return snapshot.queued_since.get(job.id, job.created_at)


def _running(snapshot: Snapshot) -> Mapping[Pool, Counter[int]]:
    """By pool and run, how many of its jobs are in progress. Jobs of another pool belong to another matrix."""
    runs = {use.run_id for use in snapshot.uses}
    found: dict[Pool, Counter[int]] = defaultdict(Counter)
    for job in snapshot.jobs:
        if job.status is JobStatus.IN_PROGRESS and job.run_id in runs:
            route = match(job.labels, job.repository, snapshot.routes)
            if isinstance(route, Route):
                found[Pool(route.name, snapshot.target_of(job))][job.run_id] += 1
    return found


def _judge_pool(  # noqa: PLR0913, PLR0917 - one pool's part of `judge`
    snapshot: Snapshot, pool: Pool, jobs: Sequence[WorkflowJob], runners: _PoolRunners, evidence: Evidence, now: float
) -> None:
    timing = snapshot.timing
    limited, tried = _limited_runs(snapshot, jobs, runners, now)
    counted = {job.id: runners.unexplained(job, queued_since(snapshot, job)) for job in jobs}
    taken = snapshot.last_taken.get(pool, 0.0)
    stuck = [job for job in jobs if counted[job.id] and counted[job.id][-1] > taken and job.id not in limited]
    since_taken = runners.since(taken)
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
        cause = given_up or _maybe_tried(snapshot, job, now) or limited.get(job.id) or _failing(history, timing, now)
        rounds, pause = ends, timing.stuck_job.pause(len(ends))
        if several:
            familiar = job.repository.lower() in repositories
            rounds, pause = since_taken, _probe_pause(timing, ends, since_taken, familiar=familiar)
        cause = cause or _paused(rounds, pause, now)
        rank = len(ends) if ends and now < rounds[-1] + pause + timing.turn else 0
        evidence.verdicts[job.id] = Verdict(rounds=len(ends), rank=rank, cause=cause, given_up=given_up is not None)


def _ran_meanwhile(idle: IdleRunner, uses: Iterable[RunnerUse]) -> bool:
    """Whether a job of the run ran while this runner was idle. Then `max-parallel` explains it."""
    return any(use.began < idle.ended and (use.ended is None or use.ended > idle.began) for use in uses)


def _limited_runs(
    snapshot: Snapshot, jobs: Iterable[WorkflowJob], runners: _PoolRunners, now: float
) -> tuple[dict[int, Cause], bool]:
    """Find jobs beyond the most runners that their run has ever used at a time, if runners were idle while it ran.

    The cause may be an incident instead of `max-parallel`: after a pause, one more runner is tried.

    Returns:
        By job id the reason to wait, and whether one more runner is tried for any of the runs.
    """
    limited: dict[int, list[WorkflowJob]] = defaultdict(list)
    ends: dict[int, list[float]] = {}
    for job in jobs:
        if found := runners.explained_by_run(job, queued_since(snapshot, job)):
            limited[job.run_id].append(job)
            ends[job.run_id] = max(found, ends.get(job.run_id, []), key=len)
    reasons: dict[int, Cause] = {}
    tried = False
    for run_id, of_run in limited.items():
        most, running = _most_at_once(runners.uses[run_id]), runners.running.get(run_id, 0)
        why = (
            f"{running} jobs of its run are in progress, and the run has never used more than {most} runners at a time"
        )
        cause = Cause(kind=SkipKind.MAX_PARALLEL, why=why)
        oldest_first = sorted(of_run, key=lambda job: (job.created_at, job.id))
        over = now >= ends[run_id][-1] + snapshot.timing.held_run.pause(len(ends[run_id]))
        reasons |= {job.id: cause for job in oldest_first[max(over, most - running) :]}
        tried = tried or (over and running >= most)
    return reasons, tried


def _most_at_once(uses: Iterable[RunnerUse]) -> int:
    steps = [(use.began, 1) for use in uses] + [(use.ended, -1) for use in uses if use.ended is not None]
    most = now = 0
    for _, step in sorted(steps):
        now += step
        most = max(most, now)
    return most


def _probe_pause(timing: Timing, ends: Sequence[float], since_taken: Sequence[float], *, familiar: bool) -> float:
    """Seconds until a pool with stuck jobs is tried again; 0 for a job of a repository without evidence."""
    if ends:
        return timing.stuck_pool.pause(len(since_taken))
    return timing.fresh_job if familiar else 0.0


def _probing(pool: Pool, stuck: int) -> Cause:
    why = f"GitHub gives no job to runners of route {pool.route}: {stuck} jobs are stuck; one runner at a time is tried"
    return Cause(kind=SkipKind.NOT_DISPATCHED, why=why)


def _paused(ends: Sequence[float], pause: float, now: float) -> Cause | None:
    until = ends[-1] + pause if ends else now
    if now >= until:
        return None
    who, them = (f"{len(ends)} runners", "them") if len(ends) > 1 else ("a runner", "it")
    why = f"stuck: {who} listened, and GitHub gave {them} no job"
    return Cause(kind=SkipKind.NOT_DISPATCHED, why=why, due=f"next try in {_span(until - now)}")


def _failing(history: JobHistory, timing: Timing, now: float) -> Cause | None:
    if history.attempts < MAX_FAILURES:
        return None
    until = history.last_claim + timing.failing_job.pause(history.attempts - MAX_FAILURES + 1)
    if now >= until:
        return None
    why = f"stuck: {history.attempts} runners failed before they took a job"
    return Cause(kind=SkipKind.FAILING, why=why, due=f"next try in {_span(until - now)}")


def _given_up(snapshot: Snapshot, job: WorkflowJob, history: JobHistory, now: float) -> Cause | None:
    given_up = snapshot.timing.given_up
    if history.first_claim > 0.0 and now >= history.first_claim + given_up:
        runners = f"{history.generation} runners in a day did not get this job"
        why = f"given up: {runners}; fix the cause, then use `retry {job.id}`"
        return Cause(kind=SkipKind.GIVEN_UP, why=why)
    if _is_new_to(snapshot, job, now) and now - _queued_at(job) > given_up:
        why = "given up: it has been queued for more than a day, and this ledger is new; re-run the job in GitHub"
        return Cause(kind=SkipKind.GIVEN_UP, why=why)
    return None


def _is_new_to(snapshot: Snapshot, job: WorkflowJob, now: float) -> bool:
    """Whether the ledger is too young to know what was tried for a job: each pass may have a new one."""
    return job.id not in snapshot.history and now <= snapshot.ledger_born + snapshot.timing.new_ledger


def _queued_at(job: WorkflowJob) -> float:
    return max(job.created_at, job.started_at or 0.0)


def _maybe_tried(snapshot: Snapshot, job: WorkflowJob, now: float) -> Cause | None:
    """Serve an old job rarely with a new ledger: only its age shows how often it may have been tried."""
    age, timing = now - _queued_at(job), snapshot.timing
    if age < timing.untried or not _is_new_to(snapshot, job, now):
        return None
    if age // timing.try_slot % SLOTS == 0:
        return None
    every = f"one try every {timing.try_slot * SLOTS / 3600:.0f} h"
    until = f"until the ledger is {timing.new_ledger / 60:.0f} min old"
    return Cause(kind=SkipKind.NEW_LEDGER, why=f"queued for {_span(age)}, and this ledger is new: {every} {until}")


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"

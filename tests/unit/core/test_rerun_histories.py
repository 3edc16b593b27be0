"""Whatever happens to calls, workers and people: a lost job is never re-run more often than its route allows."""

from dataclasses import dataclass, field, replace

from hypothesis import given
from hypothesis import strategies as some

from bridge.core.lost import OPEN_RERUNS, LostJob, Rerun, RerunRecord, RerunState, SeenJob, SeenRun
from bridge.core.model import JobStatus
from bridge.core.rerun import decide
from bridge.core.submissions import State
from tests.support.values import NOW, a_job, a_route, a_snapshot, a_submission

LEASE = 60.0
STEPS = some.sampled_from(
    ["lost", "ends", "done", "unanswered", "not done", "dies", "later", "refused", "by hand", "wait"]
)


@dataclass
class World:
    """One run with one job, in GitHub and in the ledger.

    Args:
        limit: `rerun_lost_jobs`.
        attempt: of the run.
        ended: how the job of this attempt has ended; None while it runs.
        made: attempts that the bridge made.
        by_hand: attempts that a person made.
    """

    limit: int
    now: float = NOW
    attempt: int = 1
    ended: str | None = None
    made: int = 0
    by_hand: int = 0
    lost: dict[int, LostJob] = field(default_factory=dict)
    records: dict[int, RerunRecord] = field(default_factory=dict)

    def end(self, conclusion: str) -> None:
        """End the job of the newest attempt, if it runs."""
        if self.ended is not None:
            return
        self.ended = conclusion
        if conclusion == "failure":
            job = a_job(
                self.attempt,
                name="build",
                status=JobStatus.COMPLETED,
                conclusion="failure",
                completed_at=self.now,
                run_attempt=self.attempt,
            )
            self.lost[job.id] = LostJob(job=job, submission=a_submission(job.id, State.FINISHED), error="exited")

    def seen(self) -> SeenRun:
        """The run as GitHub shows it now. The id of its job is the number of the attempt."""
        job = SeenJob(id=self.attempt, name="build", run_attempt=self.attempt, conclusion=self.ended)
        completed = self.ended is not None
        return SeenRun(at=self.now, attempt=self.attempt, completed=completed, created_at=NOW, fork=False, jobs=(job,))

    def rerun(self) -> bool:
        """Make a new attempt, as GitHub does only when the run has ended."""
        if self.ended is None:
            return False
        self.attempt, self.ended = self.attempt + 1, None
        return True

    def run_pass(self, answer: str) -> None:
        """Decide, write down, and ask GitHub, which answers in one way or another."""
        undecided = [each for job_id, each in self.lost.items() if self.is_open(job_id)]
        snapshot = a_snapshot(
            routes=(a_route(rerun_lost_jobs=self.limit),),
            lost=tuple(undecided),
            reruns=tuple(self.records.values()),
            runs={1: self.seen()},
        )
        for each in decide(snapshot, self.now):
            if each.state is None:
                continue
            self.write(each, each.state)
            if each.state is RerunState.ASKED:
                self.ask(each, answer)

    def is_open(self, job_id: int) -> bool:
        return job_id not in self.records or self.records[job_id].state in OPEN_RERUNS

    def write(self, each: Rerun, state: RerunState) -> None:
        self.records[each.job.id] = RerunRecord(
            job_id=each.job.id,
            run_id=1,
            name="build",
            route="gpu",
            run_attempt=each.run_attempt,
            state=state,
            at=self.now,
            until=self.now + LEASE,
            tries=each.tries,
            why=each.why,
        )

    def ask(self, each: Rerun, answer: str) -> None:
        """GitHub does it or not, and the answer comes or not."""
        assert each.job_id == self.attempt, "only jobs of the newest attempt are re-run"
        if answer in ("done", "unanswered"):
            own = sum(r.state is RerunState.RERUN for r in self.records.values())
            assert self.attempt <= 1 + own + self.by_hand
            self.made += self.rerun()
        if answer == "done":
            self.write(each, RerunState.RERUN)
        elif answer == "refused":
            self.write(each, RerunState.REFUSED)
        elif answer == "later":
            self.write(replace(each, tries=each.tries - 1), RerunState.POSTPONED)


@given(limit=some.integers(1, 3), steps=some.lists(STEPS, min_size=4, max_size=40))
def test_a_job_is_never_run_more_often_than_its_route_and_people_want(limit: int, steps: list[str]) -> None:
    world = World(limit=limit)
    for step in steps:
        world.now += 1
        if step == "lost":
            world.end("failure")
        elif step == "ends":
            world.end("success")
        elif step == "wait":
            world.now += LEASE
        elif step == "by hand":
            world.by_hand += world.rerun()
        else:
            world.run_pass(step)
        assert world.made <= limit
        assert world.attempt == 1 + world.made + world.by_hand


@given(limit=some.integers(1, 3), answers=some.lists(some.sampled_from(["unanswered", "not done", "dies"]), max_size=2))
def test_a_lost_job_is_re_run_in_the_end_although_calls_fail(limit: int, answers: list[str]) -> None:
    world = World(limit=limit)
    for lives in range(limit):
        world.end("failure")
        for answer in [*answers, "done", "done"]:
            world.run_pass(answer)
            world.now += LEASE + 1
        assert world.made == lives + 1
    world.end("failure")
    world.run_pass("done")
    assert world.made == limit
    assert world.records[world.attempt].state is RerunState.SKIPPED

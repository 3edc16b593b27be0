"""Which jobs that lost their worker are re-run, and why each other one is not."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from bridge.core.lost import LostJob, Rerun, RerunRecord, RerunState, SeenJob, SeenRun
from bridge.core.model import JobStatus, Request, RequestStatus, WorkflowJob
from bridge.core.plan import plan
from bridge.core.rerun import LATEST, MOST_TRIES, OLDEST_RUN, decide
from bridge.core.submissions import State
from bridge.core.worker import Reason
from tests.support.values import NOW, TIMING, a_job, a_route, a_snapshot, a_submission

CRASHED = "worker exited unexpectedly"
ONCE = a_route(rerun_lost_jobs=1)
LEASE = 60.0


def a_failed_job(job_id: int = 1, **given: Any) -> WorkflowJob:
    defaults = {"status": JobStatus.COMPLETED, "conclusion": "failure", "completed_at": NOW - 60, "run_attempt": 1}
    return a_job(job_id, **{**defaults, "runner_name": f"runpod-{job_id}-1", **given})


def a_lost_job(job_id: int = 1, *, error: str | None = CRASHED, state: State = State.FINISHED, **given: Any) -> LostJob:
    submission = a_submission(job_id, state, held_job_id=job_id, reason=Reason.COMPLETED)
    return LostJob(job=a_failed_job(job_id, **given), submission=submission, error=error)


def a_seen_job(job_id: int = 1, **given: Any) -> SeenJob:
    return SeenJob(**{"id": job_id, "name": f"job {job_id}", "run_attempt": 1, "conclusion": "failure", **given})


def a_seen_run(*jobs: SeenJob, **given: Any) -> SeenRun:
    defaults: dict[str, Any] = {"at": NOW, "attempt": 1, "completed": True, "created_at": NOW - 900, "fork": False}
    return SeenRun(**{**defaults, "jobs": jobs or (a_seen_job(),), **given})


def a_record(job_id: int = 1, state: RerunState = RerunState.ASKED, **given: Any) -> RerunRecord:
    defaults: dict[str, Any] = {"run_id": 1, "name": f"job {job_id}", "route": "gpu", "run_attempt": 1, "at": NOW - 90}
    return RerunRecord(
        **{"job_id": job_id, "state": state, "tries": 1, "why": "it lost its worker", **defaults, **given}
    )


def decided(*lost: LostJob, run: SeenRun | bool | None = False, **given: Any) -> tuple[Rerun, ...]:
    """What is decided; `run` False: GitHub was not asked."""
    runs = {} if run is False else {1: run}
    return decide(a_snapshot(**{"routes": (ONCE,), "lost": lost, "runs": runs, **given}), NOW)


def only(*lost: LostJob, **given: Any) -> Rerun:
    (found,) = decided(*(lost or (a_lost_job(),)), **given)
    return found


def answered(status: RequestStatus, **given: Any) -> dict[str, Request]:
    return {"s1-1": Request(id="r1", status=status, **given)}


def test_a_job_whose_request_failed_is_asked_for_once_its_run_has_ended() -> None:
    found = only(run=a_seen_run())
    assert (found.state, found.job_id, found.run_attempt, found.tries) == (RerunState.ASKED, 1, 1, 1)
    assert CRASHED in found.why


def test_the_decision_is_part_of_the_plan() -> None:
    snapshot = a_snapshot(routes=(ONCE,), lost=(a_lost_job(),), runs={1: a_seen_run()})
    assert [each.state for each in plan(snapshot, NOW).reruns] == [RerunState.ASKED]


def test_nothing_is_decided_before_github_was_asked_about_the_run() -> None:
    assert only().state is None


def test_a_run_with_jobs_in_progress_is_waited_for() -> None:
    found = only(run=a_seen_run(completed=False))
    assert found.state is None
    assert "have not ended" in found.why


def test_the_jobs_of_a_run_that_has_not_ended_are_not_known_and_decide_nothing() -> None:
    running = replace(a_seen_run(completed=False), jobs=())
    gone = answered(RequestStatus.MISSING)
    assert only(a_lost_job(error=None), run=running, requests=gone).state is None


@pytest.mark.parametrize(
    ("request_", "state"),
    [
        (answered(RequestStatus.TIMED_OUT), RerunState.ASKED),
        (answered(RequestStatus.FAILED, error=CRASHED), RerunState.ASKED),
        (answered(RequestStatus.COMPLETED, output={"outcome": "completed", "result": "Failed"}), RerunState.NOT_LOST),
        (answered(RequestStatus.FAILED, error="timed_out: the job ran for longer"), RerunState.SKIPPED),
        (answered(RequestStatus.CANCELLED), RerunState.SKIPPED),
        (answered(RequestStatus.COMPLETED, output={"outcome": "no_job"}), RerunState.SKIPPED),
        (answered(RequestStatus.FAILED, error="session_conflict: first worker"), RerunState.SKIPPED),
        (answered(RequestStatus.MISSING), RerunState.SKIPPED),
        (answered(RequestStatus.IN_PROGRESS), None),
        ({}, None),
    ],
)
def test_only_what_runpod_says_of_the_request_shows_that_a_worker_was_lost(
    request_: dict[str, Request], state: RerunState | None
) -> None:
    assert only(a_lost_job(error=None), run=a_seen_run(), requests=request_).state is state


def test_a_submission_that_failed_while_its_job_ran_is_proof() -> None:
    assert only(a_lost_job(error=None, state=State.FAILED), run=a_seen_run()).state is RerunState.ASKED


def test_a_worker_that_died_after_a_step_had_failed_is_no_reason_for_a_re_run() -> None:
    run = a_seen_run(a_seen_job(step_failed=True))
    assert only(run=run).state is RerunState.NOT_LOST


@pytest.mark.parametrize(("step_open", "state"), [(True, RerunState.ASKED), (False, RerunState.SKIPPED)])
def test_a_request_whose_id_is_not_known_is_judged_by_the_jobs_steps(step_open: bool, state: RerunState) -> None:
    lost = a_lost_job(error=None, state=State.LOST)
    lost = replace(lost, submission=replace(lost.submission, request_id=None))
    assert only(lost, run=a_seen_run(a_seen_job(step_open=step_open))).state is state


def test_a_request_that_a_person_cancelled_on_runpod_is_not_replaced() -> None:
    assert only(a_lost_job(error=None, state=State.CANCELLED), run=a_seen_run()).state is RerunState.SKIPPED


@pytest.mark.parametrize(
    ("steps", "state"),
    [
        ({"step_open": True}, RerunState.ASKED),
        ({"step_open": True, "step_failed": True}, RerunState.NOT_LOST),
        ({"step_failed": True}, RerunState.NOT_LOST),
        ({}, RerunState.SKIPPED),
    ],
)
def test_where_runpod_cannot_tell_a_step_that_never_ended_can(steps: dict[str, bool], state: RerunState) -> None:
    run = a_seen_run(a_seen_job(**steps))
    assert only(a_lost_job(error=None), run=run, requests=answered(RequestStatus.MISSING)).state is state


def test_a_request_that_seems_to_run_for_ever_does_not_delay_the_decision_for_ever() -> None:
    lost = a_lost_job(error=None, completed_at=NOW - TIMING.last_answer)
    run = a_seen_run(a_seen_job(step_open=True))
    assert only(lost, run=run, requests=answered(RequestStatus.IN_PROGRESS)).state is RerunState.ASKED


@pytest.mark.parametrize(
    ("run", "said"),
    [
        (a_seen_run(attempt=2), "by hand"),
        (a_seen_run(fork=True), "fork"),
        (a_seen_run(cancelled=True), "cancelled"),
        (a_seen_run(created_at=NOW - OLDEST_RUN - 1), "30 days"),
        (None, "no longer exists"),
    ],
)
def test_a_run_that_must_not_be_touched_is_not(run: SeenRun | None, said: str) -> None:
    found = only(run=run)
    assert found.state is RerunState.SKIPPED
    assert said in found.why


def test_a_fork_is_re_run_where_its_route_allows_forks() -> None:
    routes = (replace(ONCE, allow_forks=True),)
    assert only(run=a_seen_run(fork=True), routes=routes).state is RerunState.ASKED


@pytest.mark.parametrize(("age", "state"), [(LATEST, RerunState.ASKED), (LATEST + 1, RerunState.SKIPPED)])
def test_a_job_that_ended_long_ago_is_left_alone(age: float, state: RerunState) -> None:
    assert only(a_lost_job(completed_at=NOW - age), run=a_seen_run()).state is state


def test_a_job_of_an_unknown_attempt_is_left_alone() -> None:
    assert only(a_lost_job(run_attempt=None), run=a_seen_run()).state is RerunState.SKIPPED


def test_the_limit_follows_the_run_and_the_name_because_a_re_run_has_a_new_id() -> None:
    again = a_lost_job(9, name="job 1", run_attempt=2)
    before = a_record(1, RerunState.RERUN)
    run = a_seen_run(a_seen_job(9, name="job 1", run_attempt=2), attempt=2)
    assert only(again, run=run, reruns=(before,)).state is RerunState.SKIPPED
    twice = (replace(ONCE, rerun_lost_jobs=2),)
    assert only(again, run=run, reruns=(before,), routes=twice).state is RerunState.ASKED
    other = a_lost_job(9, name="job 9", run_attempt=2)
    assert (
        only(other, run=a_seen_run(a_seen_job(9, run_attempt=2), attempt=2), reruns=(before,)).state is RerunState.ASKED
    )


def test_two_lost_jobs_of_a_run_are_re_run_one_after_the_other() -> None:
    both, run = (a_lost_job(1), a_lost_job(2)), a_seen_run(a_seen_job(1), a_seen_job(2))
    first = decided(*both, run=run)
    assert [each.state for each in first] == [RerunState.ASKED, None]
    after = a_seen_run(a_seen_job(9, name="job 1", run_attempt=2, conclusion="success"), a_seen_job(2), attempt=2)
    second = only(a_lost_job(2), run=after, reruns=(a_record(1, RerunState.RERUN),))
    assert (second.state, second.run_attempt) == (RerunState.ASKED, 2)


def test_a_run_that_was_read_before_the_last_re_run_decides_nothing_about_its_other_job() -> None:
    """Another dispatcher has re-run a job since, or GitHub still shows the old attempt: nobody did it by hand."""
    early = a_seen_run(a_seen_job(1), a_seen_job(2), attempt=1)
    assert only(a_lost_job(2), run=early, reruns=(a_record(1, RerunState.RERUN),)).state is None


def test_a_copy_of_the_job_in_the_newest_attempt_is_re_run() -> None:
    """If GitHub gives a job that was not re-run a new id, only its name finds it."""
    after = a_seen_run(a_seen_job(20, name="job 2"), attempt=2)
    found = only(a_lost_job(2), run=after, reruns=(a_record(1, RerunState.RERUN),))
    assert (found.state, found.job_id) == (RerunState.ASKED, 20)


def test_a_job_that_ran_again_because_it_needs_another_is_not_re_run() -> None:
    after = a_seen_run(a_seen_job(20, name="job 2", run_attempt=2, conclusion="success"), attempt=2)
    found = only(a_lost_job(2), run=after, reruns=(a_record(1, RerunState.RERUN),))
    assert found.state is RerunState.SKIPPED
    assert "attempt 2" in found.why


# --- an answer that did not come ---


def test_a_call_under_way_is_left_to_its_dispatcher() -> None:
    assert only(run=a_seen_run(), reruns=(a_record(until=NOW + 1),)).state is None


def test_a_run_that_was_read_before_the_lease_ended_proves_nothing() -> None:
    early = a_seen_run(at=NOW - 2, attempt=1)
    assert only(run=early, reruns=(a_record(until=NOW - 1),)).state is None


def test_a_new_attempt_shows_that_an_unanswered_call_was_accepted() -> None:
    found = only(run=a_seen_run(attempt=2, completed=False), reruns=(a_record(until=NOW - 1),))
    assert found.state is RerunState.RERUN


def test_an_unanswered_call_is_repeated_only_if_the_run_has_no_new_attempt() -> None:
    found = only(run=a_seen_run(), reruns=(a_record(until=NOW - 1),))
    assert (found.state, found.tries) == (RerunState.ASKED, 2)


def test_calls_that_are_never_answered_end() -> None:
    found = only(run=a_seen_run(), reruns=(a_record(until=NOW - 1, tries=MOST_TRIES),))
    assert found.state is RerunState.REFUSED


def test_what_github_postponed_is_decided_again_after_its_pause() -> None:
    postponed = a_record(1, RerunState.POSTPONED, until=NOW + 1, why="the run has not ended")
    assert only(run=a_seen_run(), reruns=(postponed,)).state is None
    again = only(run=a_seen_run(), reruns=(replace(postponed, until=NOW),))
    assert (again.state, again.tries) == (RerunState.ASKED, 2)
    by_hand = only(run=a_seen_run(attempt=2), reruns=(replace(postponed, until=NOW),))
    assert by_hand.state is RerunState.SKIPPED


def test_another_job_of_the_run_waits_while_an_answer_is_missing() -> None:
    found = only(a_lost_job(2), run=a_seen_run(a_seen_job(2)), reruns=(a_record(1),))
    assert found.state is None


# --- rules that always hold ---

_STATES = some.sampled_from(RerunState)
_RECORDS = some.lists(
    some.builds(
        RerunRecord,
        job_id=some.integers(1, 4),
        run_id=some.just(1),
        name=some.sampled_from(["job 1", "job 2"]),
        route=some.just("gpu"),
        run_attempt=some.integers(1, 3),
        state=_STATES,
        at=some.just(NOW - 90),
        until=some.sampled_from([NOW - 60, NOW + 60]),
        tries=some.integers(0, 4),
        why=some.just("it lost its worker"),
    ).filter(lambda record: record.state is not RerunState.ASKED or record.tries > 0),
    max_size=4,
    unique_by=lambda record: record.job_id,
)


@given(
    records=_RECORDS,
    limit=some.integers(1, 3),
    attempt=some.integers(1, 4),
    own=some.integers(1, 4),
    run=some.none()
    | some.builds(
        a_seen_run,
        some.just(a_seen_job(1)),
        some.just(a_seen_job(2)),
        attempt=some.integers(1, 4),
        completed=some.booleans(),
        fork=some.booleans(),
        at=some.sampled_from([NOW - 90, NOW]),
    ),
)
def test_no_history_leads_to_more_calls_than_allowed(
    records: list[RerunRecord], limit: int, attempt: int, own: int, run: SeenRun | None
) -> None:
    lost = [a_lost_job(job_id, name="job 1", run_attempt=own) for job_id in (1, 2)]
    made = decided(*lost, run=run, reruns=tuple(records), routes=(a_route(rerun_lost_jobs=limit),))
    asked = [each for each in made if each.state is RerunState.ASKED]
    assert len(asked) <= 1, "GitHub re-runs one job of a run at a time"
    for each in asked:
        assert run is not None
        assert run.completed
        assert not run.fork or each.tries > 1
        assert each.tries <= MOST_TRIES
        done = [r for r in records if r.name == "job 1" and r.state is RerunState.RERUN and r.job_id != each.job.id]
        assert len(done) < limit or each.tries > 1
    assert all(each.why for each in made)

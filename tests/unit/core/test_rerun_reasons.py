"""What a person reads of a job that may have lost its worker, and what the ledger keeps of the decision."""

from dataclasses import replace

import pytest

from bridge.core.lost import LostJob, Rerun, RerunRecord, RerunState, SeenRun
from bridge.core.model import Request, RequestStatus
from bridge.core.rerun import LATEST, OLDEST_RUN, to_look_up
from bridge.core.submissions import State
from tests.support.values import NOW, TIMING
from tests.unit.core.test_rerun import (
    CRASHED,
    ONCE,
    a_lost_job,
    a_record,
    a_seen_job,
    a_seen_run,
    answered,
    decided,
    only,
)

ASKED, SKIPPED, NOT_LOST, RERUN = RerunState.ASKED, RerunState.SKIPPED, RerunState.NOT_LOST, RerunState.RERUN
LOST = "it lost its worker: "
UNCLEAR = "it is not clear whether it lost its worker or failed by itself: "
UNTOLD = a_lost_job(error=None)
LATE = a_lost_job(error=None, completed_at=NOW - TIMING.last_answer)
WITHOUT_ID = replace(UNTOLD, submission=replace(UNTOLD.submission, request_id=None))


@pytest.mark.parametrize(
    ("lost", "answer", "state", "why"),
    [
        (
            a_lost_job(error="timed_out: a step: too long"),
            {},
            SKIPPED,
            "it ran for longer than the job_timeout of its route",
        ),
        (
            UNTOLD,
            answered(RequestStatus.COMPLETED, output={"outcome": "completed"}),
            NOT_LOST,
            "its worker saw the job's end",
        ),
        (UNTOLD, answered(RequestStatus.COMPLETED), SKIPPED, f"{UNCLEAR}a second worker of its request got no job"),
        (
            UNTOLD,
            answered(RequestStatus.FAILED, error="session_conflict: the first: worker"),
            SKIPPED,
            f"{UNCLEAR}a second worker got its request",
        ),
        (UNTOLD, answered(RequestStatus.FAILED), ASKED, f"{LOST}its request failed"),
        (
            UNTOLD,
            answered(RequestStatus.TIMED_OUT),
            ASKED,
            f"{LOST}RunPod ended the request at its executionTimeout",
        ),
        (UNTOLD, answered(RequestStatus.CANCELLED), SKIPPED, "its request was cancelled on RunPod"),
        (UNTOLD, answered(RequestStatus.MISSING), SKIPPED, f"{UNCLEAR}RunPod no longer knows its request"),
        (UNTOLD, answered(RequestStatus.IN_PROGRESS), None, "RunPod has not said yet how its request ended"),
        (
            LATE,
            answered(RequestStatus.IN_PROGRESS),
            SKIPPED,
            f"{UNCLEAR}RunPod still shows its request as running",
        ),
        (UNTOLD, {}, None, "RunPod has not said yet how its request ended"),
        (a_lost_job(error=None, state=State.CANCELLED), {}, SKIPPED, "its request was cancelled on RunPod"),
        (WITHOUT_ID, {}, SKIPPED, f"{UNCLEAR}RunPod never returned the id of its request"),
    ],
)
def test_the_reason_says_how_the_request_ended(
    lost: LostJob, answer: dict[str, Request], state: RerunState | None, why: str
) -> None:
    found = only(lost, run=a_seen_run(), requests=answer)
    assert (found.state, found.why) == (state, why)


def shown(found: Rerun) -> tuple[RerunState | None, str, int, int]:
    return found.state, found.why, found.run_attempt, found.tries


BEFORE = a_record(8, RERUN, name="job 1")
UNANSWERED = a_record(until=NOW, tries=2)
POSTPONED = a_record(1, RerunState.POSTPONED, until=NOW, tries=2)
NO_RUN = "its run no longer exists in GitHub"
UNFINISHED = "its run has other jobs that have not ended, and GitHub re-runs no job before that"
BY_HAND = "its run was re-run by hand meanwhile: it is at attempt 3"


@pytest.mark.parametrize(
    ("run", "records", "expected"),
    [
        (False, (), (None, "GitHub has not been asked about its run yet", 0, 0)),
        (None, (), (SKIPPED, NO_RUN, 0, 0)),
        (a_seen_run(completed=False), (), (None, UNFINISHED, 0, 0)),
        (a_seen_run(attempt=3), (), (SKIPPED, BY_HAND, 3, 0)),
        (a_seen_run(attempt=3), (POSTPONED,), (SKIPPED, BY_HAND, 3, 2)),
        (a_seen_run(a_seen_job(step_failed=True)), (), (NOT_LOST, "one of its steps failed", 1, 0)),
        (a_seen_run(created_at=NOW - OLDEST_RUN), (), (ASKED, f"{LOST}{CRASHED}", 1, 1)),
        (
            a_seen_run(created_at=NOW - OLDEST_RUN - 1),
            (),
            (SKIPPED, "its run is older than 30 days, and GitHub re-runs no older one", 1, 0),
        ),
        (
            a_seen_run(fork=True),
            (),
            (SKIPPED, "its run comes from a fork, and its route does not allow forks", 1, 0),
        ),
        (
            a_seen_run(),
            (BEFORE,),
            (SKIPPED, "it was re-run once already, and rerun_lost_jobs of route gpu allows no more", 0, 0),
        ),
        (
            a_seen_run(),
            (BEFORE, replace(BEFORE, job_id=9)),
            (SKIPPED, "it was re-run 2 times already, and rerun_lost_jobs of route gpu allows no more", 0, 0),
        ),
        (a_seen_run(), (a_record(until=NOW + 1),), (None, "GitHub is being asked to re-run it", 0, 0)),
        (
            a_seen_run(at=NOW - 1),
            (UNANSWERED,),
            (None, "GitHub did not answer; its run is looked up before anything is repeated", 0, 0),
        ),
        (a_seen_run(at=NOW), (UNANSWERED,), (ASKED, "it lost its worker", 1, 3)),
        (None, (UNANSWERED,), (SKIPPED, NO_RUN, 0, 2)),
        (a_seen_run(attempt=2), (UNANSWERED,), (RERUN, "it lost its worker", 1, 2)),
    ],
)
def test_the_decision_says_why_with_the_attempt_and_the_calls(
    run: SeenRun | bool | None, records: tuple[RerunRecord, ...], expected: tuple[RerunState | None, str, int, int]
) -> None:
    assert shown(only(run=run, reruns=records)) == expected


@pytest.mark.parametrize(
    ("lost", "why"),
    [
        (a_lost_job(completed_at=NOW - LATEST - 1), "it ended more than a day ago"),
        (a_lost_job(run_attempt=None), "the ledger does not know which attempt of its run it belongs to"),
    ],
)
def test_a_job_that_is_left_alone_says_why(lost: LostJob, why: str) -> None:
    assert shown(only(lost, run=a_seen_run())) == (SKIPPED, why, 0, 0)


def test_a_job_that_ran_again_says_in_which_attempt() -> None:
    run = a_seen_run(a_seen_job(20, name="job 2", run_attempt=2), attempt=2)
    found = only(a_lost_job(2), run=run, reruns=(a_record(1, RERUN),))
    assert shown(found) == (SKIPPED, "it ran again in attempt 2 of its run", 2, 0)


def test_a_job_that_waits_for_another_of_its_run_says_so() -> None:
    _, second = decided(a_lost_job(1), a_lost_job(2), run=a_seen_run(a_seen_job(1), a_seen_job(2)))
    assert shown(second) == (None, "another job of its run is being re-run first", 0, 0)


def test_of_two_jobs_with_the_same_name_the_one_with_its_id_counts() -> None:
    run = a_seen_run(a_seen_job(1, step_failed=True), a_seen_job(2, name="job 1"))
    assert only(run=run, routes=(ONCE,)).state is NOT_LOST


def test_only_runs_of_jobs_that_may_be_re_run_are_looked_up() -> None:
    untold = [a_lost_job(number, error=None) for number in range(2, 5)]
    missing, completed = (
        Request(id="r", status=status, output={"outcome": "completed"})
        for status in (RequestStatus.MISSING, RequestStatus.COMPLETED)
    )
    found = to_look_up([a_lost_job(1), *untold], {"s2-1": missing, "s3-1": completed}, TIMING, NOW)
    assert [lost.job.id for lost in found] == [1, 2]

"""What is said of each decision about a lost job, and what is written down with it."""

from dataclasses import replace
from typing import Any

import pytest

from bridge.core.lost import LostJob, RerunState
from bridge.core.model import Request, RequestStatus
from bridge.core.rerun import LATEST, MOST_TRIES, OLDEST_RUN, Ending, ending, to_look_up
from bridge.core.submissions import State
from tests.support.values import NOW, TIMING, a_route
from tests.unit.core.test_rerun import (
    a_failed_job,
    a_lost_job,
    a_record,
    a_seen_job,
    a_seen_run,
    only,
)

OWN = {"outcome": "completed"}
NO_WORD = "RunPod has not said yet how its request ended"
EXITED = "it lost its worker: worker exited unexpectedly"
RUNS = "its run has other jobs that have not ended, and GitHub re-runs no job before that"
TWICE = a_route(rerun_lost_jobs=2)
RERUN, SKIPPED, ASKED, REFUSED = RerunState.RERUN, RerunState.SKIPPED, RerunState.ASKED, RerunState.REFUSED


def a_request(status: RequestStatus, **given: Any) -> Request:
    return Request(id="r1", status=status, **given)


def without_id(lost: LostJob) -> LostJob:
    return replace(lost, submission=replace(lost.submission, request_id=None))


@pytest.mark.parametrize(
    ("request_", "how", "why"),
    [
        (None, Ending.OPEN, NO_WORD),
        (a_request(RequestStatus.IN_QUEUE), Ending.OPEN, NO_WORD),
        (a_request(RequestStatus.IN_PROGRESS), Ending.OPEN, NO_WORD),
        (
            a_request(RequestStatus.COMPLETED, output=OWN),
            Ending.OWN,
            "its worker saw the job's end",
        ),
        (a_request(RequestStatus.COMPLETED), Ending.UNCLEAR, "a second worker of its request got no job"),
        (a_request(RequestStatus.FAILED, error="name_taken: a: b"), Ending.UNCLEAR, "a second worker got its request"),
        (a_request(RequestStatus.FAILED, error="crashed: a: b"), Ending.LOST, "crashed: a: b"),
        (a_request(RequestStatus.FAILED), Ending.LOST, "its request failed"),
        (a_request(RequestStatus.TIMED_OUT), Ending.LOST, "RunPod ended the request at its executionTimeout"),
        (a_request(RequestStatus.CANCELLED), Ending.CANCELLED, "its request was cancelled on RunPod"),
        (a_request(RequestStatus.MISSING), Ending.UNCLEAR, "RunPod no longer knows its request"),
        (
            a_request(RequestStatus.FAILED, error="timed_out: a: b"),
            Ending.TOO_LONG,
            "it ran for longer than the job_timeout of its route",
        ),
    ],
)
def test_how_a_request_ended(request_: Request | None, how: Ending, why: str) -> None:
    lost = a_lost_job(error=None)
    assert ending(lost, request_, TIMING, NOW) == (how, why)
    looked_up = to_look_up([lost], {"s1-1": request_} if request_ else {}, TIMING, NOW)
    assert list(looked_up) == ([lost] if how in (Ending.LOST, Ending.UNCLEAR) else [])


def test_how_a_request_ended_that_the_ledger_knows() -> None:
    failed = a_lost_job(error=None, state=State.FAILED)
    assert ending(failed, None, TIMING, NOW) == (Ending.LOST, "its request ended as completed")
    detailed = replace(failed, submission=replace(failed.submission, detail="out of memory"))
    assert ending(detailed, None, TIMING, NOW) == (Ending.LOST, "out of memory")
    cancelled = a_lost_job(error=None, state=State.CANCELLED)
    assert ending(cancelled, None, TIMING, NOW) == (Ending.CANCELLED, "its request was cancelled on RunPod")
    unknown = without_id(a_lost_job(error=None))
    assert ending(unknown, None, TIMING, NOW) == (Ending.UNCLEAR, "RunPod never returned the id of its request")


def test_a_request_is_waited_for_until_a_time() -> None:
    late = a_lost_job(error=None, completed_at=NOW - TIMING.last_answer)
    runs = a_request(RequestStatus.IN_PROGRESS)
    assert ending(late, runs, TIMING, NOW) == (Ending.UNCLEAR, "RunPod still shows its request as running")
    assert ending(late, runs, TIMING, NOW - 1).how is Ending.OPEN
    assert list(to_look_up([late], {"s1-1": runs}, TIMING, NOW)) == [late]
    assert list(to_look_up([late], {"s1-1": runs}, TIMING, NOW - 1)) == []
    untimed = replace(late, job=a_failed_job(1, completed_at=None))  # then the submission's end counts
    assert ending(untimed, runs, TIMING, NOW).how is Ending.OPEN
    assert ending(untimed, runs, TIMING, untimed.submission.since + TIMING.last_answer).how is Ending.UNCLEAR


AGAIN = a_record(5, RERUN, name="job 1")
LEASED, OVER = a_record(until=NOW + 1), a_record(until=NOW, tries=2)


@pytest.mark.parametrize(
    ("given", "state", "why"),
    [
        ({}, None, "GitHub has not been asked about its run yet"),
        ({"run": None}, SKIPPED, "its run no longer exists in GitHub"),
        ({"run": a_seen_run(completed=False)}, None, RUNS),
        ({"run": a_seen_run(fork=True)}, SKIPPED, "its run comes from a fork, and its route does not allow forks"),
        (
            {"run": a_seen_run(cancelled=True)},
            SKIPPED,
            "its run was cancelled, by a person or by a newer run of its concurrency group",
        ),
        (
            {"reruns": (a_record(2, RERUN),), "run": a_seen_run()},
            None,
            "GitHub does not show the last re-run of its run yet",
        ),
        ({"run": a_seen_run(attempt=3)}, SKIPPED, "its run was re-run by hand meanwhile: it is at attempt 3"),
        (
            {"run": a_seen_run(created_at=NOW - OLDEST_RUN - 1)},
            SKIPPED,
            "its run is older than 30 days, and GitHub re-runs no older one",
        ),
        ({"run": a_seen_run(created_at=NOW - OLDEST_RUN)}, ASKED, EXITED),
        ({"run": a_seen_run(a_seen_job(step_failed=True))}, RerunState.NOT_LOST, "one of its steps failed"),
        ({"run": a_seen_run(a_seen_job(7), a_seen_job(1))}, ASKED, EXITED),
        ({"reruns": (a_record(2),)}, None, "another job of its run is being re-run first"),
        ({"reruns": (LEASED,), "run": a_seen_run()}, None, "GitHub is being asked to re-run it"),
        (
            {"reruns": (OVER,), "run": a_seen_run(at=NOW - 1)},
            None,
            "GitHub did not answer; its run is looked up before anything is repeated",
        ),
        ({"reruns": (OVER,), "run": None}, SKIPPED, "its run no longer exists in GitHub"),
        ({"reruns": (OVER,), "run": a_seen_run(completed=False)}, None, RUNS),
        (
            {"reruns": (replace(OVER, tries=MOST_TRIES),), "run": a_seen_run()},
            REFUSED,
            "GitHub did not do it in 3 calls; re-run it by hand",
        ),
        (
            {"reruns": (AGAIN,)},
            SKIPPED,
            "it was re-run once already, and rerun_lost_jobs of route gpu allows no more",
        ),
        (
            {"reruns": (AGAIN, replace(AGAIN, job_id=6)), "routes": (TWICE,)},
            SKIPPED,
            "it was re-run 2 times already, and rerun_lost_jobs of route gpu allows no more",
        ),
    ],
)
def test_what_is_said_of_a_decision(given: dict[str, Any], state: RerunState | None, why: str) -> None:
    found = only(**given)
    assert (found.state, found.why) == (state, why)


@pytest.mark.parametrize(
    ("job", "why"),
    [
        ({"completed_at": NOW - LATEST - 1}, "it ended more than a day ago"),
        ({"run_attempt": None}, "the ledger does not know which attempt of its run it belongs to"),
    ],
)
def test_what_is_said_of_a_job_that_is_not_re_run(job: dict[str, Any], why: str) -> None:
    found = only(a_lost_job(**job), run=a_seen_run())
    assert (found.state, found.why, found.run_attempt, found.tries) == (SKIPPED, why, 0, 0)


def test_the_attempt_and_the_calls_are_written_down() -> None:
    later = only()
    assert (later.run_attempt, later.tries, later.job_id, later.route) == (0, 0, 1, "gpu")
    skipped = only(run=a_seen_run(attempt=4))
    assert (skipped.run_attempt, skipped.tries) == (4, 0)
    failed = only(run=a_seen_run(a_seen_job(step_failed=True)))
    assert (failed.run_attempt, failed.tries) == (1, 0)
    accepted = only(run=a_seen_run(attempt=2), reruns=(OVER,))
    assert (accepted.state, accepted.run_attempt, accepted.tries) == (RERUN, 1, 2)
    ended = only(run=a_seen_run(), reruns=(replace(OVER, tries=MOST_TRIES),))
    assert (ended.state, ended.tries) == (REFUSED, MOST_TRIES)
    postponed = a_record(1, RerunState.POSTPONED, until=NOW, tries=2)
    assert only(run=a_seen_run(attempt=9), reruns=(postponed,)).tries == 2


def test_a_lease_is_over_when_its_time_has_come() -> None:
    assert only(run=a_seen_run(at=NOW), reruns=(OVER,)).state is ASKED


def test_of_jobs_that_share_a_name_the_one_with_the_id_is_meant() -> None:
    both = a_seen_run(a_seen_job(7, name="job 1", step_failed=True), a_seen_job(1))
    assert only(run=both).state is ASKED
    failed = a_seen_run(a_seen_job(7, name="job 1"), a_seen_job(1, step_failed=True))
    assert only(run=failed).state is RerunState.NOT_LOST


def test_a_job_that_is_unclear_is_written_down_with_the_attempt_of_its_run() -> None:
    gone = {"s1-1": a_request(RequestStatus.MISSING)}
    found = only(a_lost_job(error=None), run=a_seen_run(), requests=gone)
    assert (found.state, found.run_attempt) == (SKIPPED, 1)
    assert found.why == (
        "it is not clear whether it lost its worker or failed by itself: RunPod no longer knows its request"
    )

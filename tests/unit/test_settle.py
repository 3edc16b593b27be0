"""What becomes of a submission, for everything that can be seen of it."""

from typing import Any

import pytest

from bridge.decision import PROOF_STATES, Move, State, Submission, Withdraw
from bridge.model import Credentials, JobStatus, Reason, Request, RequestStatus, Runner, WorkflowJob
from bridge.settle import UNKNOWN_LEASE, Sight, settle
from tests.values import NOW, a_job, a_route, a_runner, a_submission

IDLE, BUSY = a_runner("runpod-1-1"), a_runner("runpod-1-1", busy=True)
QUEUED, RUNS = RequestStatus.IN_QUEUE, RequestStatus.IN_PROGRESS


def seen(**given: Any) -> Sight:
    return Sight(**{"job": None, "runner": None, "runners_known": True, "request": None, "route": a_route(), **given})


def a_request(status: RequestStatus, **given: Any) -> Request:
    return Request(id="r1", status=status, **given)


def answered(**output: object) -> Request:
    return a_request(RequestStatus.COMPLETED, output=output)


def failed(error: str) -> Request:
    return a_request(RequestStatus.FAILED, error=error)


def held(status: JobStatus, conclusion: str | None = None) -> WorkflowJob:
    return a_job(9, status=status, conclusion=conclusion, runner_name="runpod-1-1")


def step(submission: Submission, **given: Any) -> tuple[State, Reason | None] | State | None:
    """The state it comes to, with the reason for a Move that gives one."""
    action = settle(submission, seen(**given), NOW)
    if isinstance(action, Move):
        return (action.to, action.reason) if action.reason else action.to
    return action.to if action else None


@pytest.mark.parametrize(
    ("given", "becomes"),
    [
        ({}, None),
        ({"request": a_request(QUEUED)}, None),
        ({"request": a_request(RUNS)}, State.STARTED),
        ({"runner": IDLE, "request": a_request(QUEUED)}, State.STARTED),
        ({"runner": BUSY, "request": a_request(RUNS)}, State.BUSY),
        ({"job": held(JobStatus.IN_PROGRESS)}, State.BUSY),
        ({"job": held(JobStatus.COMPLETED, "failure")}, (State.FINISHED, Reason.COMPLETED)),
        ({"request": answered(outcome="completed", result="Failed")}, (State.FINISHED, Reason.COMPLETED)),
        ({"request": answered(outcome="no_job")}, (State.NO_JOB, Reason.NO_JOB)),
        ({"request": answered(surprise=1)}, (State.FAILED, Reason.CRASHED)),
        ({"request": failed("registration_lost: gone")}, (State.FAILED, Reason.REGISTRATION_LOST)),
        ({"request": failed("Traceback ...")}, (State.FAILED, Reason.CRASHED)),
        ({"request": a_request(RequestStatus.TIMED_OUT)}, (State.FAILED, Reason.TIMED_OUT)),
        ({"request": a_request(RequestStatus.CANCELLED)}, (State.CANCELLED, Reason.STOPPED)),
        ({"request": a_request(RequestStatus.MISSING)}, State.EXPIRED),
    ],
)
def test_a_submitted_request_follows_what_is_seen(given: dict[str, Any], becomes: object) -> None:
    assert step(a_submission(), **given) == becomes


@pytest.mark.parametrize(
    "given",
    [
        {"runner": BUSY, "request": failed("session_conflict: twin")},
        {"job": held(JobStatus.IN_PROGRESS), "request": failed("session_conflict: twin")},
        {"runner": BUSY, "request": a_request(RequestStatus.MISSING)},
    ],
)
def test_github_saying_busy_outranks_a_request_that_ended(given: dict[str, Any]) -> None:
    assert step(a_submission(), **given) == State.BUSY


def test_a_worker_that_died_under_its_job_frees_its_place() -> None:
    dead = step(a_submission(state=State.BUSY), job=held(JobStatus.IN_PROGRESS), request=failed("crashed: oom"))
    assert dead == (State.FAILED, Reason.CRASHED)


def test_a_job_taken_by_another_runner_binds_the_submission_that_took_it() -> None:
    action = settle(a_submission(job_id=1), seen(job=held(JobStatus.IN_PROGRESS)), NOW)
    assert isinstance(action, Move)
    assert action.held_job_id == 9


@pytest.mark.parametrize("state", [State.CLAIMED, State.MINTED])
def test_a_claim_whose_dispatcher_died_is_released_with_its_runner(state: State) -> None:
    at_work = a_submission(state=state, lease_until=NOW + 1)
    assert settle(at_work, seen(runner=IDLE), NOW) is None
    dead = a_submission(state=state, runner_id=None, request_id=None)
    action = settle(dead, seen(runner=IDLE), NOW)
    assert isinstance(action, Withdraw)
    assert (action.to, action.runner_id) == (State.RELEASED, IDLE.id)
    assert settle(dead, seen(runners_known=False), NOW) is None


def test_a_request_whose_answer_was_never_recorded_is_unknown_then_lost_but_never_sent_again() -> None:
    assert step(a_submission(state=State.SUBMITTING, request_id=None)) == State.UNKNOWN
    unknown = {"state": State.UNKNOWN, "request_id": None, "since": NOW - UNKNOWN_LEASE / 2}
    assert step(a_submission(**unknown)) is None
    assert step(a_submission(**unknown), runner=IDLE) == State.STARTED
    assert step(a_submission(**unknown), runner=BUSY) == State.BUSY
    old = a_submission(**{**unknown, "since": NOW - UNKNOWN_LEASE - 1})
    assert step(old, runner=a_runner("runpod-1-1", online=False)) == State.LOST


def test_in_token_modes_an_unseen_request_is_given_up_only_when_no_worker_may_start_it() -> None:
    unknown = {"state": State.UNKNOWN, "request_id": None, "runner_id": None}
    old = a_submission(**unknown, credentials=Credentials.REGISTRATION, since=NOW - UNKNOWN_LEASE - 1)
    assert step(old) is None
    late = a_submission(**unknown, credentials=Credentials.REGISTRATION, not_after=NOW - 1000)
    assert step(late) == State.LOST


def test_a_request_that_found_no_worker_in_time_is_taken_back() -> None:
    late = {"not_after": NOW - 1}
    offline = a_runner("runpod-1-1", online=False)
    assert step(a_submission(**late), runner=offline, request=a_request(QUEUED)) == State.EXPIRED
    assert step(a_submission(**late), runners_known=False, request=a_request(QUEUED)) == State.EXPIRED
    assert step(a_submission(**late), request=a_request(QUEUED)) is None, "no registration is left to prove it"
    token = a_submission(**late, credentials=Credentials.REGISTRATION, runner_id=None)
    assert step(token, request=a_request(QUEUED)) is None


def test_an_idle_runner_is_ended_after_its_routes_limit() -> None:
    route = a_route(idle_timeout=30.0)
    started = a_submission(state=State.STARTED, since=NOW - 31)
    assert step(started, runner=IDLE, request=a_request(RUNS), route=route) == State.NO_JOB
    assert step(started, runner=IDLE, request=a_request(RUNS)) is None
    invisible = a_submission(state=State.STARTED, since=NOW - 31, credentials=Credentials.APP, runner_id=None)
    assert step(invisible, request=a_request(RUNS), route=route) is None


def test_a_runner_that_never_came_online_does_not_prove_that_its_endpoint_works() -> None:
    """RunPod says that its worker runs, GitHub that nobody listens."""
    started = a_submission(state=State.STARTED, since=NOW - 301)
    offline = a_runner("runpod-1-1", online=False)
    action = settle(started, seen(runner=offline, request=a_request(RUNS)), NOW)
    assert action
    assert action.to not in PROOF_STATES


def test_a_request_whose_registration_was_deleted_is_cancelled_until_runpod_says_that_it_has_ended() -> None:
    withdrawn = a_submission(state=State.WITHDRAWN)
    assert step(withdrawn) is None
    for status in (QUEUED, RUNS):
        action = settle(withdrawn, seen(request=a_request(status)), NOW)
        assert isinstance(action, Withdraw)
        assert (action.to, action.runner_id) == (State.CANCELLED, None)
    for status in (RequestStatus.CANCELLED, RequestStatus.MISSING):
        assert step(withdrawn, request=a_request(status)) == (State.CANCELLED, Reason.STOPPED)
    assert step(withdrawn, request=failed("registration_lost: gone")) == (State.FAILED, Reason.REGISTRATION_LOST)


def test_a_runner_whose_job_github_took_back_waits_again() -> None:
    robbed = a_submission(state=State.BUSY, held_job_id=9)
    assert step(robbed, runner=IDLE, request=a_request(RUNS)) == State.STARTED
    assert step(robbed, runner=None, request=a_request(RUNS)) is None


def test_what_was_listed_before_does_not_outrank_what_was_recorded_since() -> None:
    """GitHub refused to delete a runner: it is busy, whatever an older listing says of it."""
    assert step(a_submission(1, State.BUSY), runner=IDLE, runners_known=False) is None


def test_in_token_modes_a_forgotten_request_is_closed_only_when_the_runners_were_listed_since() -> None:
    """Its worker may have registered meanwhile; nothing is cancelled that GitHub was not asked about."""
    submission = a_submission(1, State.SUBMITTED, credentials=Credentials.REGISTRATION, runner_id=None)
    forgotten = a_request(RequestStatus.MISSING)
    assert step(submission, request=forgotten, runners_known=False) is None
    closed = settle(submission, seen(request=forgotten), NOW)
    assert isinstance(closed, Move)
    assert closed.to is State.EXPIRED
    given_back = settle(submission, seen(request=forgotten, runner=IDLE), NOW)
    assert isinstance(given_back, Withdraw)
    assert given_back.runner_id == IDLE.id


def test_a_runner_that_left_and_has_no_request_to_ask_about_is_closed() -> None:
    gone: Runner | None = None
    assert step(a_submission(state=State.BUSY, request_id=None), runner=gone) == (
        State.FINISHED,
        Reason.COMPLETED,
    )
    assert step(a_submission(state=State.STARTED, request_id=None), runner=gone) == State.LOST
    assert step(a_submission(state=State.BUSY, request_id=None), runner=gone, runners_known=False) is None

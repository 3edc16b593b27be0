"""What becomes of a submission, for everything that can be seen of it."""

from dataclasses import replace
from typing import Any

import pytest

from bridge.core.actions import Transition, Withdrawal
from bridge.core.model import JobStatus, Request, RequestStatus, Runner, WorkflowJob
from bridge.core.settle import MISSING_LASTS, Observation, settle
from bridge.core.submissions import BREAKER_REASONS, PROOF_STATES, State, Submission
from bridge.core.worker import BOOT_ALLOWANCE, JIT_LIFETIME, Credentials, Reason
from tests.support.values import NOW, a_job, a_route, a_runner, a_submission

IDLE, BUSY = a_runner("runpod-1-1"), a_runner("runpod-1-1", busy=True)
QUEUED, RUNS = RequestStatus.IN_QUEUE, RequestStatus.IN_PROGRESS


def seen(**given: Any) -> Observation:
    return Observation(
        **{"job": None, "runner": None, "runners_known": True, "request": None, "route": a_route(), **given}
    )


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
    if isinstance(action, Transition):
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
        ({"request": a_request(RequestStatus.MISSING)}, None),
        ({"request": a_request(RequestStatus.MISSING), "missing_since": NOW - MISSING_LASTS}, State.EXPIRED),
    ],
)
def test_a_submitted_request_follows_what_is_seen(given: dict[str, Any], becomes: object) -> None:
    assert step(a_submission(), **given) == becomes


MISSING_FOR_DAYS: dict[str, Any] = {"request": a_request(RequestStatus.MISSING), "missing_since": NOW - 10 * 86_400}


@pytest.mark.parametrize(
    ("submission", "given", "becomes"),
    [
        (a_submission(1, State.CLAIMED, runner_id=None, request_id=None), {}, State.RELEASED),
        (a_submission(1, State.MINTED, request_id=None), {}, State.RELEASED),
        (a_submission(1), MISSING_FOR_DAYS, State.EXPIRED),
        (a_submission(1, State.STARTED), MISSING_FOR_DAYS, State.EXPIRED),
        (a_submission(1, State.STARTED, request_id=None), {}, State.LOST),
        (a_submission(1, State.BUSY, request_id=None), {}, (State.FINISHED, Reason.COMPLETED)),
        (a_submission(1, State.BUSY), MISSING_FOR_DAYS, (State.FINISHED, Reason.COMPLETED)),
        (
            a_submission(1, State.BUSY, held_job_id=9),
            {**MISSING_FOR_DAYS, "job": held(JobStatus.IN_PROGRESS)},
            (State.FINISHED, Reason.COMPLETED),
        ),
    ],
)
def test_nothing_stays_open_for_ever_at_a_target_that_is_read_no_more(
    submission: Submission, given: dict[str, Any], becomes: object
) -> None:
    """A repository that is gone, or was taken out of the configuration: its row would take a place of max_workers."""
    lasts = a_route().execution_timeout + JIT_LIFETIME
    late = replace(submission, not_after=NOW - lasts)
    assert step(late, runners_known=False, **given) == becomes
    early = settle(replace(submission, not_after=NOW - lasts + 1), seen(runners_known=False, **given), NOW)
    assert not isinstance(early, Transition)


@pytest.mark.parametrize(
    "given",
    [
        {"runner": BUSY, "request": failed("session_conflict: twin")},
        {"job": held(JobStatus.IN_PROGRESS), "request": failed("session_conflict: twin")},
        {"runner": BUSY, "request": a_request(RequestStatus.MISSING)},
        {"runner": BUSY, "request": a_request(RequestStatus.MISSING), "missing_since": NOW - 2 * MISSING_LASTS},
    ],
)
def test_github_saying_busy_outranks_a_request_that_ended(given: dict[str, Any]) -> None:
    assert step(a_submission(), **given) == State.BUSY


FALSE_ENDS = [
    a_request(RequestStatus.MISSING),
    a_request(RequestStatus.TIMED_OUT),
    a_request(RequestStatus.CANCELLED),
    a_request(RequestStatus.FAILED),
    a_request(RequestStatus.COMPLETED),
    failed("crashed: told by a second delivery"),
    failed("name_taken: told by a second delivery"),
]


@pytest.mark.parametrize("request_", FALSE_ENDS, ids=lambda r: f"{r.status} {r.error or ''}".strip())
def test_a_runner_with_a_job_stays_busy_whatever_runpod_tells_of_its_request(request_: Request) -> None:
    """As long as GitHub lists the runner as busy, or has not been asked for it since."""
    works = a_submission(state=State.BUSY, held_job_id=9)
    job = held(JobStatus.IN_PROGRESS)
    assert step(works, job=job, runner=BUSY, request=request_, missing_since=NOW - 2 * MISSING_LASTS) is None
    assert step(works, job=job, request=request_, runners_known=False) is None
    assert step(works, runner=BUSY, request=request_) is None


@pytest.mark.parametrize("request_", [*FALSE_ENDS[:5], FALSE_ENDS[6]], ids=lambda r: str(r.status))
def test_an_end_that_runpod_alone_tells_waits_while_the_runner_is_online(request_: Request) -> None:
    listens = a_submission(state=State.STARTED, since=NOW - 5)
    late: dict[str, Any] = {"request": request_, "missing_since": NOW - 2 * MISSING_LASTS}
    assert step(listens, runner=IDLE, **late) is None
    assert step(listens, runner=a_runner("runpod-1-1", online=False), **late) is not None


def test_a_404_counts_only_when_it_lasts() -> None:
    listens = a_submission(state=State.STARTED, since=NOW - 5)
    gone = {"request": a_request(RequestStatus.MISSING)}
    assert step(listens, **gone) is None
    assert step(listens, **gone, missing_since=NOW - MISSING_LASTS + 1) is None
    assert step(listens, **gone, missing_since=NOW - MISSING_LASTS) == State.EXPIRED


def test_a_runner_that_left_its_job_with_a_request_that_runpod_has_forgotten_is_no_crash() -> None:
    works = a_submission(state=State.BUSY, held_job_id=9)
    gone = {"request": a_request(RequestStatus.MISSING), "missing_since": NOW - MISSING_LASTS}
    assert step(works, job=held(JobStatus.IN_PROGRESS), **gone) == (State.FINISHED, Reason.COMPLETED)
    assert step(works, **gone) == (State.FINISHED, Reason.COMPLETED)


def test_a_worker_that_died_under_its_job_frees_its_place_once_github_has_given_its_runner_up() -> None:
    works = a_submission(state=State.BUSY)
    job, oom = held(JobStatus.IN_PROGRESS), failed("crashed: oom")
    assert step(works, job=job, runner=BUSY, request=oom) == State.BUSY
    assert step(works, job=job, request=oom) == (State.FAILED, Reason.CRASHED)
    offline = a_runner("runpod-1-1", online=False)
    assert step(works, job=job, runner=offline, request=oom) == (State.FAILED, Reason.CRASHED)


def test_a_job_taken_by_another_runner_binds_the_submission_that_took_it() -> None:
    action = settle(a_submission(job_id=1), seen(job=held(JobStatus.IN_PROGRESS)), NOW)
    assert isinstance(action, Transition)
    assert action.held_job_id == 9


@pytest.mark.parametrize("state", [State.CLAIMED, State.MINTED])
def test_a_claim_whose_dispatcher_died_is_released_with_its_runner(state: State) -> None:
    at_work = a_submission(state=state, lease_until=NOW + 1)
    assert settle(at_work, seen(runner=IDLE), NOW) is None
    dead = a_submission(state=state, runner_id=None, request_id=None)
    action = settle(dead, seen(runner=IDLE), NOW)
    assert isinstance(action, Withdrawal)
    assert (action.to, action.runner_id) == (State.RELEASED, IDLE.id)
    assert settle(dead, seen(runners_known=False), NOW) is None


def test_a_request_whose_answer_was_never_recorded_is_unknown_then_lost_but_never_sent_again() -> None:
    assert step(a_submission(state=State.SUBMITTING, request_id=None)) == State.UNKNOWN
    unknown: dict[str, Any] = {"state": State.UNKNOWN, "request_id": None}
    assert step(a_submission(**unknown)) is None
    assert step(a_submission(**unknown), runner=IDLE) == State.STARTED
    assert step(a_submission(**unknown), runner=BUSY) == State.BUSY


@pytest.mark.parametrize("mode", Credentials)
def test_whether_an_unanswered_request_exists_is_told_by_what_its_endpoint_has(mode: Credentials) -> None:
    """A registration is deleted only when there is no request that it could be for."""
    registered = mode is Credentials.JIT
    unknown = a_submission(
        state=State.UNKNOWN, request_id=None, credentials=mode, runner_id=101 if registered else None
    )
    given: dict[str, Any] = {"runner": a_runner("runpod-1-1", online=False) if registered else None}
    assert step(unknown, **given) is None, "the endpoint's health has not been read since"
    assert step(unknown, **given, unexplained=1) is None
    assert step(unknown, **given, unexplained=0) == State.LOST
    over = a_submission(**{f: getattr(unknown, f) for f in ("state", "credentials", "runner_id", "request_id")},
                        not_after=NOW - BOOT_ALLOWANCE)  # fmt: skip
    assert step(over, **given, unexplained=1) == State.LOST, "no worker may start it any more"


def test_a_request_that_found_no_worker_in_time_is_taken_back() -> None:
    late: dict[str, Any] = {"not_after": NOW - 1}
    offline = a_runner("runpod-1-1", online=False)
    assert step(a_submission(**late), runner=offline, request=a_request(QUEUED)) == State.EXPIRED
    assert step(a_submission(**late), runners_known=False, request=a_request(QUEUED)) == State.EXPIRED
    assert step(a_submission(**late), request=a_request(QUEUED)) is None, "no registration is left to prove it"


@pytest.mark.parametrize("mode", [Credentials.REGISTRATION, Credentials.APP, Credentials.PAT])
def test_in_token_modes_so_is_one_that_waits_without_a_runner(mode: Credentials) -> None:
    token: dict[str, Any] = {"credentials": mode, "runner_id": None}
    late = a_submission(**token, not_after=NOW - 1)
    waits = {"request": a_request(QUEUED)}
    assert step(late, **waits) == State.EXPIRED
    assert step(late, **waits, runners_known=False) is None, "its runner may have registered"
    assert step(late, request=a_request(RUNS)) == State.STARTED
    assert step(late) is None, "whether it waits is not known"
    assert step(a_submission(**token), **waits) is None, "a worker may still start it"
    delivered_again = a_submission(**token, state=State.STARTED, not_after=NOW - 1)
    assert step(delivered_again, **waits) == State.EXPIRED
    assert step(delivered_again, request=a_request(RUNS)) is None


def test_an_idle_runner_is_ended_after_its_routes_limit() -> None:
    route = a_route(idle_timeout=30.0)
    started = a_submission(state=State.STARTED, since=NOW - 31)
    assert step(started, runner=IDLE, request=a_request(RUNS), route=route) == State.NO_JOB
    assert step(started, runner=IDLE, request=a_request(RUNS)) is None
    invisible = a_submission(state=State.STARTED, since=NOW - 31, credentials=Credentials.APP, runner_id=None)
    assert step(invisible, request=a_request(RUNS), route=route) is None


def test_a_runner_that_was_never_online_tells_of_its_endpoint_not_of_the_job() -> None:
    """RunPod runs its request, but the runner does not reach GitHub: the breaker must learn it."""
    started = a_submission(state=State.STARTED, since=NOW - a_route().idle_timeout)
    offline = a_runner("runpod-1-1", online=False)
    action = settle(started, seen(runner=offline, request=a_request(RUNS)), NOW)
    assert isinstance(action, Withdrawal)
    assert (action.to, action.reason) == (State.FAILED, Reason.GITHUB_UNREACHABLE)
    assert action.reason in BREAKER_REASONS


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
        assert isinstance(action, Withdrawal)
        assert (action.to, action.runner_id) == (State.CANCELLED, None)
    for status in (RequestStatus.CANCELLED, RequestStatus.MISSING):
        seen_long_ago = {"request": a_request(status), "missing_since": NOW - MISSING_LASTS}
        assert step(withdrawn, **seen_long_ago) == (State.CANCELLED, Reason.STOPPED)
    assert step(withdrawn, request=failed("registration_lost: gone")) == (State.FAILED, Reason.REGISTRATION_LOST)


def test_a_runner_whose_job_github_took_back_waits_again() -> None:
    robbed = a_submission(state=State.BUSY, held_job_id=9)
    assert step(robbed, runner=IDLE, request=a_request(RUNS)) == State.STARTED
    assert step(robbed, runner=None, request=a_request(RUNS)) is None
    dead = a_runner("runpod-1-1", online=False)
    assert step(robbed, runner=dead, request=a_request(RUNS)) is None, "RunPod tells how it ends"
    unasked = a_submission(state=State.BUSY, held_job_id=9, request_id=None)
    assert step(unasked, runner=dead) == State.STARTED, "nobody else tells, and it holds a place of max_workers"


def test_what_was_listed_before_does_not_outrank_what_was_recorded_since() -> None:
    """GitHub refused to delete a runner: it is busy, whatever an older listing says of it."""
    assert step(a_submission(1, State.BUSY), runner=IDLE, runners_known=False) is None


def test_in_token_modes_a_forgotten_request_is_closed_only_when_the_runners_were_listed_since() -> None:
    """Its worker may have registered meanwhile; nothing is cancelled that GitHub was not asked about."""
    submission = a_submission(1, State.SUBMITTED, credentials=Credentials.REGISTRATION, runner_id=None)
    forgotten = {"request": a_request(RequestStatus.MISSING), "missing_since": NOW - MISSING_LASTS}
    assert step(submission, **forgotten, runners_known=False) is None
    closed = settle(submission, seen(**forgotten), NOW)
    assert isinstance(closed, Transition)
    assert closed.to is State.EXPIRED
    offline = a_runner("runpod-1-1", online=False)
    given_back = settle(submission, seen(**forgotten, runner=offline), NOW)
    assert isinstance(given_back, Withdrawal)
    assert given_back.runner_id == offline.id


def test_a_runner_that_left_and_has_no_request_to_ask_about_is_closed() -> None:
    gone: Runner | None = None
    assert step(a_submission(state=State.BUSY, request_id=None), runner=gone) == (
        State.FINISHED,
        Reason.COMPLETED,
    )
    assert step(a_submission(state=State.STARTED, request_id=None), runner=gone) == State.LOST
    assert step(a_submission(state=State.BUSY, request_id=None), runner=gone, runners_known=False) is None

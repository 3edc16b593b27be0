"""The next state of a submission, for everything that can be seen of it."""

from dataclasses import replace
from typing import Any

import pytest

from bridge.core.actions import Transition, Withdrawal
from bridge.core.model import JobStatus, Request, RequestStatus, Runner, WorkflowJob
from bridge.core.settle import Observation, settle
from bridge.core.submissions import BREAKER_REASONS, PROOF_STATES, State, Submission
from bridge.core.worker import JIT_LIFETIME, Credentials, Reason
from tests.support.values import NOW, TIMING, a_job, a_route, a_runner, a_submission

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
    """The next state, with the reason if the transition has one."""
    action = settle(submission, seen(**given), TIMING, NOW)
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
        ({"request": answered(outcome=["completed"])}, (State.FAILED, Reason.CRASHED)),
        ({"request": answered(outcome={"completed": 1}, result=[])}, (State.FAILED, Reason.CRASHED)),
        ({"request": failed("registration_lost: gone")}, (State.FAILED, Reason.REGISTRATION_LOST)),
        ({"request": failed("Traceback ...")}, (State.FAILED, Reason.CRASHED)),
        ({"request": a_request(RequestStatus.TIMED_OUT)}, (State.FAILED, Reason.TIMED_OUT)),
        ({"request": a_request(RequestStatus.CANCELLED)}, (State.CANCELLED, Reason.STOPPED)),
        ({"request": a_request(RequestStatus.MISSING)}, None),
        ({"request": a_request(RequestStatus.MISSING), "missing_since": NOW - TIMING.gone_after}, State.EXPIRED),
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
def test_nothing_stays_open_for_ever_at_a_target_that_is_no_longer_read(
    submission: Submission, given: dict[str, Any], becomes: object
) -> None:
    """The repository was deleted or removed from the configuration. The row would count against max_workers."""
    lasts = a_route().execution_timeout + JIT_LIFETIME
    late = replace(submission, not_after=NOW - lasts)
    assert step(late, runners_known=False, **given) == becomes
    early = settle(replace(submission, not_after=NOW - lasts + 1), seen(runners_known=False, **given), TIMING, NOW)
    assert not isinstance(early, Transition)


@pytest.mark.parametrize(
    "given",
    [
        {"runner": BUSY, "request": failed("session_conflict: twin")},
        {"job": held(JobStatus.IN_PROGRESS), "request": failed("session_conflict: twin")},
        {"runner": BUSY, "request": a_request(RequestStatus.MISSING)},
        {"runner": BUSY, "request": a_request(RequestStatus.MISSING), "missing_since": NOW - 2 * TIMING.gone_after},
    ],
)
def test_a_busy_runner_on_github_has_precedence_over_a_request_that_ended(given: dict[str, Any]) -> None:
    assert step(a_submission(), **given) == State.BUSY


FALSE_ENDS = [
    a_request(RequestStatus.MISSING),
    a_request(RequestStatus.TIMED_OUT),
    a_request(RequestStatus.CANCELLED),
    a_request(RequestStatus.FAILED),
    a_request(RequestStatus.COMPLETED),
    failed("crashed: reported by a second delivery"),
    failed("name_taken: reported by a second delivery"),
]


@pytest.mark.parametrize("request_", FALSE_ENDS, ids=lambda r: f"{r.status} {r.error or ''}".strip())
def test_a_runner_with_a_job_stays_busy_whatever_runpod_says_about_its_request(request_: Request) -> None:
    """As long as GitHub lists the runner as busy, or its list has not been read since."""
    works = a_submission(state=State.BUSY, held_job_id=9)
    job = held(JobStatus.IN_PROGRESS)
    assert step(works, job=job, runner=BUSY, request=request_, missing_since=NOW - 2 * TIMING.gone_after) is None
    assert step(works, job=job, request=request_, runners_known=False) is None
    assert step(works, runner=BUSY, request=request_) is None


@pytest.mark.parametrize("request_", [*FALSE_ENDS[:5], FALSE_ENDS[6]], ids=lambda r: str(r.status))
def test_an_end_that_only_runpod_reports_does_not_count_while_the_runner_is_online(request_: Request) -> None:
    listens = a_submission(state=State.STARTED, since=NOW - 5)
    late = {"request": request_, "missing_since": NOW - 2 * TIMING.gone_after}
    assert step(listens, runner=IDLE, **late) is None
    assert step(listens, runner=a_runner("runpod-1-1", online=False), **late) is not None


@pytest.mark.parametrize(
    ("request_", "becomes"),
    [
        (answered(outcome="no_job"), (State.NO_JOB, Reason.NO_JOB)),
        (failed("registration_lost: GitHub: gone"), (State.FAILED, Reason.REGISTRATION_LOST)),
    ],
)
def test_the_workers_own_answer_counts_while_the_list_still_has_its_runner_online(
    request_: Request, becomes: object
) -> None:
    listens = a_submission(state=State.STARTED, since=NOW - 5)
    assert step(listens, runner=IDLE, request=request_) == becomes


def test_a_404_counts_only_if_it_lasts() -> None:
    listens = a_submission(state=State.STARTED, since=NOW - 5)
    gone = {"request": a_request(RequestStatus.MISSING)}
    assert step(listens, **gone) is None
    assert step(listens, **gone, missing_since=NOW - TIMING.gone_after + 1) is None
    assert step(listens, **gone, missing_since=NOW - TIMING.gone_after) == State.EXPIRED


def test_a_runner_that_left_its_job_has_not_crashed_if_runpod_has_forgotten_its_request() -> None:
    works = a_submission(state=State.BUSY, held_job_id=9)
    gone = {"request": a_request(RequestStatus.MISSING), "missing_since": NOW - TIMING.gone_after}
    assert step(works, job=held(JobStatus.IN_PROGRESS), **gone) == (State.FINISHED, Reason.COMPLETED)
    assert step(works, **gone) == (State.FINISHED, Reason.COMPLETED)


def test_a_worker_that_died_under_its_job_frees_its_place_when_github_no_longer_lists_its_runner_as_online() -> None:
    works = a_submission(state=State.BUSY)
    job, oom = held(JobStatus.IN_PROGRESS), failed("crashed: oom")
    assert step(works, job=job, runner=BUSY, request=oom) == State.BUSY
    assert step(works, job=job, request=oom) == (State.FAILED, Reason.CRASHED)
    offline = a_runner("runpod-1-1", online=False)
    assert step(works, job=job, runner=offline, request=oom) == (State.FAILED, Reason.CRASHED)


@pytest.mark.parametrize("outcome", [Reason.NO_JOB, Reason.EXPIRED])
def test_a_worker_that_says_it_had_no_job_failed_if_github_gave_its_runner_one(outcome: Reason) -> None:
    """GitHub gave it the job as it left, or its request was delivered twice and the first worker died."""
    works = a_submission(state=State.BUSY)
    answer = answered(outcome=outcome)
    assert step(works, job=held(JobStatus.IN_PROGRESS), request=answer) == (State.FAILED, outcome)
    assert step(works, job=held(JobStatus.IN_PROGRESS), runner=BUSY, request=answer) == State.BUSY


def test_the_job_that_a_runner_takes_is_recorded_for_its_submission() -> None:
    action = settle(a_submission(job_id=1), seen(job=held(JobStatus.IN_PROGRESS)), TIMING, NOW)
    assert isinstance(action, Transition)
    assert action.held_job_id == 9


@pytest.mark.parametrize("state", [State.CLAIMED, State.MINTED])
def test_a_claim_whose_dispatcher_died_is_released_with_its_runner(state: State) -> None:
    at_work = a_submission(state=state, lease_until=NOW + 1)
    assert settle(at_work, seen(runner=IDLE), TIMING, NOW) is None
    dead = a_submission(state=state, runner_id=None, request_id=None)
    action = settle(dead, seen(runner=IDLE), TIMING, NOW)
    assert isinstance(action, Withdrawal)
    assert (action.to, action.runner_id) == (State.RELEASED, IDLE.id)
    assert settle(dead, seen(runners_known=False), TIMING, NOW) is None


def test_a_request_whose_answer_was_not_recorded_is_unknown_and_never_sent_again() -> None:
    assert step(a_submission(state=State.SUBMITTING, request_id=None)) == State.UNKNOWN
    unknown: dict[str, Any] = {"state": State.UNKNOWN, "request_id": None}
    assert step(a_submission(**unknown)) is None
    assert step(a_submission(**unknown), runner=IDLE) == State.STARTED
    assert step(a_submission(**unknown), runner=BUSY) == State.BUSY


@pytest.mark.parametrize("mode", Credentials)
def test_the_endpoints_health_shows_whether_an_unanswered_request_exists(mode: Credentials) -> None:
    """A registration is deleted only if there is no request that could use it."""
    registered = mode is Credentials.JIT
    unknown = a_submission(
        state=State.UNKNOWN, request_id=None, credentials=mode, runner_id=101 if registered else None
    )
    given: dict[str, Any] = {"runner": a_runner("runpod-1-1", online=False) if registered else None}
    assert step(unknown, **given) is None, "the endpoint's health has not been read since"
    assert step(unknown, **given, unexplained=1) is None
    assert step(unknown, **given, unexplained=0) == State.LOST
    over = a_submission(**{f: getattr(unknown, f) for f in ("state", "credentials", "runner_id", "request_id")},
                        not_after=NOW - TIMING.boot_allowance)  # fmt: skip
    assert step(over, **given, unexplained=1) == State.LOST, "no worker may start it any more"


def test_a_request_that_found_no_worker_in_time_is_withdrawn() -> None:
    late: dict[str, Any] = {"not_after": NOW - 1}
    offline = a_runner("runpod-1-1", online=False)
    assert step(a_submission(**late), runner=offline, request=a_request(QUEUED)) == State.EXPIRED
    assert step(a_submission(not_after=NOW), runner=offline, request=a_request(QUEUED)) is None
    assert step(a_submission(**late), runners_known=False, request=a_request(QUEUED)) == State.EXPIRED
    assert step(a_submission(**late), request=a_request(QUEUED)) is None, "no registration is left to prove it"


@pytest.mark.parametrize("mode", [Credentials.REGISTRATION, Credentials.APP, Credentials.PAT])
def test_in_token_modes_a_request_that_waits_without_a_runner_is_withdrawn(mode: Credentials) -> None:
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


def test_a_runner_that_was_never_online_is_evidence_against_its_endpoint_and_not_against_the_job() -> None:
    """RunPod runs its request, but the runner does not reach GitHub. It counts as a failure for the breaker."""
    started = a_submission(state=State.STARTED, since=NOW - a_route().idle_timeout)
    offline = a_runner("runpod-1-1", online=False)
    action = settle(started, seen(runner=offline, request=a_request(RUNS)), TIMING, NOW)
    assert isinstance(action, Withdrawal)
    assert (action.to, action.reason) == (State.FAILED, Reason.GITHUB_UNREACHABLE)
    assert action.reason in BREAKER_REASONS


def test_a_runner_that_never_came_online_does_not_prove_that_its_endpoint_works() -> None:
    """RunPod shows that its worker runs, and GitHub that its runner is offline."""
    started = a_submission(state=State.STARTED, since=NOW - 301)
    offline = a_runner("runpod-1-1", online=False)
    action = settle(started, seen(runner=offline, request=a_request(RUNS)), TIMING, NOW)
    assert action
    assert action.to not in PROOF_STATES


def test_a_request_whose_registration_was_deleted_is_cancelled_until_runpod_shows_its_end() -> None:
    withdrawn = a_submission(state=State.WITHDRAWN)
    assert step(withdrawn) is None
    for status in (QUEUED, RUNS):
        action = settle(withdrawn, seen(request=a_request(status)), TIMING, NOW)
        assert isinstance(action, Withdrawal)
        assert (action.to, action.runner_id) == (State.CANCELLED, None)
    for status in (RequestStatus.CANCELLED, RequestStatus.MISSING):
        seen_long_ago = {"request": a_request(status), "missing_since": NOW - TIMING.gone_after}
        assert step(withdrawn, **seen_long_ago) == (State.CANCELLED, Reason.STOPPED)
    assert step(withdrawn, request=failed("registration_lost: gone")) == (State.FAILED, Reason.REGISTRATION_LOST)


def test_a_runner_whose_job_github_took_back_waits_again() -> None:
    busy = a_submission(state=State.BUSY, held_job_id=9)
    assert step(busy, runner=IDLE, request=a_request(RUNS)) == State.STARTED
    assert step(busy, runner=None, request=a_request(RUNS)) is None
    dead = a_runner("runpod-1-1", online=False)
    assert step(busy, runner=dead, request=a_request(RUNS)) is None, "RunPod tells how it ends"
    unasked = a_submission(state=State.BUSY, held_job_id=9, request_id=None)
    assert step(unasked, runner=dead) == State.STARTED, "nobody else tells, and it holds a place of max_workers"


def test_an_older_list_has_no_precedence_over_what_was_recorded_since() -> None:
    """GitHub refused to delete the runner, so it is busy, whatever an older list shows."""
    assert step(a_submission(1, State.BUSY), runner=IDLE, runners_known=False) is None


def test_in_token_modes_a_request_that_runpod_has_forgotten_is_closed_only_if_the_runners_were_listed_since() -> None:
    """Its worker may have registered meanwhile. Nothing is cancelled without GitHub's agreement."""
    submission = a_submission(1, State.SUBMITTED, credentials=Credentials.REGISTRATION, runner_id=None)
    forgotten = {"request": a_request(RequestStatus.MISSING), "missing_since": NOW - TIMING.gone_after}
    assert step(submission, **forgotten, runners_known=False) is None
    closed = settle(submission, seen(**forgotten), TIMING, NOW)
    assert isinstance(closed, Transition)
    assert closed.to is State.EXPIRED
    offline = a_runner("runpod-1-1", online=False)
    given_back = settle(submission, seen(**forgotten, runner=offline), TIMING, NOW)
    assert isinstance(given_back, Withdrawal)
    assert given_back.runner_id == offline.id


def test_a_runner_that_left_and_has_no_known_request_is_closed() -> None:
    gone: Runner | None = None
    assert step(a_submission(state=State.BUSY, request_id=None), runner=gone) == (
        State.FINISHED,
        Reason.COMPLETED,
    )
    assert step(a_submission(state=State.STARTED, request_id=None), runner=gone) == State.LOST
    assert step(a_submission(state=State.BUSY, request_id=None), runner=gone, runners_known=False) is None


# --- what is recorded ---

OFFLINE = a_runner("runpod-1-1", online=False)
GONE: dict[str, Any] = {"request": a_request(RequestStatus.MISSING), "missing_since": NOW - TIMING.gone_after}


@pytest.mark.parametrize(
    ("request_", "recorded"),
    [
        (
            a_request(RequestStatus.CANCELLED),
            {"to": State.CANCELLED, "reason": Reason.STOPPED, "detail": "the request was cancelled on RunPod"},
        ),
        (
            a_request(RequestStatus.TIMED_OUT),
            {
                "to": State.FAILED,
                "reason": Reason.TIMED_OUT,
                "detail": "RunPod ended the request at its executionTimeout",
            },
        ),
        (
            answered(outcome="completed", result="Succeeded"),
            {"to": State.FINISHED, "reason": Reason.COMPLETED, "result": "success"},
        ),
        (answered(outcome="completed"), {"to": State.FINISHED, "reason": Reason.COMPLETED}),
        (
            answered(outcome="no_job"),
            {"to": State.NO_JOB, "reason": Reason.NO_JOB, "detail": "the runner got no job"},
        ),
        (
            answered(outcome="expired"),
            {
                "to": State.EXPIRED,
                "reason": Reason.EXPIRED,
                "detail": "the worker started too late to start a runner",
            },
        ),
        (
            answered(surprise=1),
            {"to": State.FAILED, "reason": Reason.CRASHED, "detail": "the worker's answer has no outcome"},
        ),
        (
            failed("bad_input: runner_url: not an address"),
            {"to": State.FAILED, "reason": Reason.BAD_INPUT, "detail": "runner_url: not an address"},
        ),
        (failed("crashed"), {"to": State.FAILED, "reason": Reason.CRASHED}),
        (failed("Traceback: boom"), {"to": State.FAILED, "reason": Reason.CRASHED, "detail": "Traceback: boom"}),
        (a_request(RequestStatus.FAILED), {"to": State.FAILED, "reason": Reason.CRASHED}),
    ],
    ids=lambda value: f"{value.status} {value.error or value.output}" if isinstance(value, Request) else "",
)
def test_the_end_of_a_request_is_recorded_with_its_reason_result_and_a_line_for_a_person(
    request_: Request, recorded: dict[str, Any]
) -> None:
    submission = a_submission()
    assert settle(submission, seen(request=request_), TIMING, NOW) == Transition(submission=submission, **recorded)


@pytest.mark.parametrize(
    ("request_", "recorded"),
    [
        (failed("crashed: oom"), {"to": State.FAILED, "reason": Reason.CRASHED, "detail": "oom"}),
        (
            a_request(RequestStatus.CANCELLED),
            {"to": State.CANCELLED, "reason": Reason.STOPPED, "detail": "the request was cancelled on RunPod"},
        ),
        (
            answered(outcome="no_job"),
            {"to": State.FAILED, "reason": Reason.NO_JOB, "detail": "the runner got no job"},
        ),
        (
            a_request(RequestStatus.MISSING),
            {"to": State.FINISHED, "reason": Reason.COMPLETED, "detail": "its runner left after a job"},
        ),
    ],
    ids=lambda value: str(value.status) if isinstance(value, Request) else "",
)
def test_an_end_under_a_job_is_recorded_with_the_job(request_: Request, recorded: dict[str, Any]) -> None:
    works = a_submission(state=State.BUSY)
    given = seen(job=held(JobStatus.IN_PROGRESS), request=request_, missing_since=GONE["missing_since"])
    assert settle(works, given, TIMING, NOW) == Transition(submission=works, held_job_id=9, **recorded)


def test_a_job_that_ended_on_github_is_recorded_with_its_conclusion() -> None:
    submission = a_submission()
    assert settle(submission, seen(job=held(JobStatus.COMPLETED, "cancelled")), TIMING, NOW) == Transition(
        submission=submission, to=State.FINISHED, reason=Reason.COMPLETED, held_job_id=9, result="cancelled"
    )


def test_a_runner_that_github_lists_as_busy_has_its_job_even_if_it_is_offline_for_a_moment() -> None:
    works = a_submission(state=State.BUSY, held_job_id=9)
    offline = a_runner("runpod-1-1", busy=True, online=False)
    assert step(works, job=held(JobStatus.IN_PROGRESS), runner=offline, request=failed("crashed: oom")) is None


LONG_OVER: dict[str, Any] = {"not_after": NOW - a_route().execution_timeout - JIT_LIFETIME}


@pytest.mark.parametrize(
    ("submission", "given", "to", "detail"),
    [
        (
            a_submission(state=State.SUBMITTING, lease_until=NOW),
            {},
            State.UNKNOWN,
            "the bridge stopped before it recorded RunPod's answer",
        ),
        (
            a_submission(state=State.CLAIMED, lease_until=NOW),
            {},
            State.RELEASED,
            "the bridge stopped before it submitted a request",
        ),
        (
            a_submission(state=State.MINTED, **LONG_OVER),
            {"runners_known": False},
            State.RELEASED,
            "the bridge stopped before it submitted a request, and no longer reads the runners of its target",
        ),
        (
            a_submission(state=State.STARTED, request_id=None),
            {},
            State.LOST,
            "its runner is gone, and RunPod never returned a request id",
        ),
        (
            a_submission(state=State.WITHDRAWN),
            {"request": a_request(RUNS)},
            State.CANCELLED,
            "its registration was already deleted",
        ),
        (a_submission(state=State.WITHDRAWN), GONE, State.CANCELLED, "its registration was already deleted"),
        (a_submission(), GONE, State.EXPIRED, "RunPod no longer knows the request"),
        (a_submission(), {**GONE, "runner": OFFLINE}, State.EXPIRED, "RunPod no longer knows the request"),
        (
            a_submission(**LONG_OVER),
            {**GONE, "runners_known": False},
            State.EXPIRED,
            "RunPod no longer knows the request",
        ),
        (
            a_submission(state=State.BUSY),
            {"runner": IDLE, "request": a_request(RUNS)},
            State.STARTED,
            "GitHub took its job back",
        ),
        (
            a_submission(not_after=NOW - 1),
            {"runner": OFFLINE, "request": a_request(QUEUED)},
            State.EXPIRED,
            "no worker took the request in time",
        ),
        (
            a_submission(state=State.UNKNOWN, request_id=None),
            {"runner": OFFLINE, "unexplained": 0},
            State.LOST,
            "RunPod did not answer, and no worker appeared",
        ),
        (
            a_submission(state=State.STARTED, since=NOW - 300),
            {"runner": OFFLINE, "request": a_request(RUNS)},
            State.FAILED,
            "its runner was not online at the end of its idle_timeout",
        ),
        (
            a_submission(state=State.STARTED, since=NOW - 300),
            {"runner": IDLE, "request": a_request(RUNS)},
            State.NO_JOB,
            "the runner got no job within its idle_timeout",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_step_says_what_happened(submission: Submission, given: dict[str, Any], to: State, detail: str) -> None:
    action = settle(submission, seen(**given), TIMING, NOW)
    assert action
    assert (action.to, action.detail) == (to, detail)

"""Requests whose `run` was not answered: what the endpoint's health shows about them."""

from dataclasses import replace
from typing import Any

import pytest

from bridge.core.breaker import NO_ANSWER, OPENS_AT, with_unanswered
from bridge.core.model import EndpointHealth, Request, RequestStatus
from bridge.core.plan import plan
from bridge.core.snapshot import Snapshot
from bridge.core.submissions import Pool, State, Streak
from bridge.core.worker import Credentials
from tests.support.values import NOW, ORG, TIMING, a_job, a_route, a_runner, a_snapshot, a_submission

QUEUED, RUNS = RequestStatus.IN_QUEUE, RequestStatus.IN_PROGRESS
SINCE = NOW - TIMING.unknown_lease


def an_unknown(job_id: int, mode: Credentials = Credentials.JIT, **given: Any) -> Any:
    return a_submission(job_id, State.UNKNOWN, request_id=None, credentials=mode, **{"since": SINCE, **given})


def a_resync(*rows: Any, queued: int = 0, running: int = 0, **given: Any) -> Snapshot:
    """A snapshot with a queued job for each row, and the endpoint's requests."""
    return a_snapshot(
        jobs=tuple(a_job(s.job_id) for s in rows),
        submissions=rows,
        health={"ep-1": EndpointHealth(in_queue=queued, in_progress=running)},
        **{"health_at": {"ep-1": NOW}, **given},
    )


def given_up(snapshot: Snapshot) -> list[str]:
    return [w.submission.name for w in plan(snapshot, NOW).withdrawals]


def asked(snapshot: Snapshot) -> int:
    return len(plan(snapshot, NOW).claims)


MODES = pytest.mark.parametrize("mode", [Credentials.JIT, Credentials.REGISTRATION])


@MODES
def test_a_request_that_its_endpoint_does_not_have_is_given_up_at_once(mode: Credentials) -> None:
    unknown = an_unknown(1, mode)
    assert given_up(a_resync(unknown)) == [unknown.name]
    assert not asked(a_resync(unknown)), "it counts until GitHub has agreed"


@MODES
@pytest.mark.parametrize("has", [{"queued": 1}, {"running": 1}])
def test_a_request_that_its_endpoint_may_have_is_supply(mode: Credentials, has: dict[str, int]) -> None:
    """Even after a long cold start: only the limit of its worker ends that."""
    snapshot = a_resync(an_unknown(1, mode, since=NOW - TIMING.boot_allowance + 1), **has)
    assert not given_up(snapshot)
    assert not asked(snapshot)


def test_a_request_in_the_ledger_explains_one_that_the_endpoint_has() -> None:
    unknown, other = an_unknown(1), a_submission(2)
    snapshot = a_resync(unknown, other, queued=1, requests={other.id: Request(id="r2", status=QUEUED)})
    assert given_up(snapshot) == [unknown.name]
    ended = replace(snapshot, requests={other.id: Request(id="r2", status=RequestStatus.TIMED_OUT)})
    assert not given_up(ended), "it ended after the health was read, or before: then the unanswered one is there"
    unread = replace(snapshot, requests={})
    assert not given_up(unread), "it is not known whether the other one is still there"


def test_an_unanswered_request_whose_runner_is_online_explains_one_too() -> None:
    unknown, found = an_unknown(1), a_submission(2, State.STARTED, request_id=None)
    snapshot = a_resync(unknown, found, running=1, runners={ORG: (a_runner(found.name),)})
    assert given_up(snapshot) == [unknown.name]
    assert not given_up(replace(snapshot, runners={ORG: ()})), "a worker that died may have left its place to another"


@pytest.mark.parametrize(
    "given",
    [
        {"health_at": {"ep-1": NOW - 1}},  # read by the resync before
        {"health_at": {}},
        {"health_at": {"ep-1": NOW - 1}, "began": NOW - 1},  # read before RunPod counts it for sure
    ],
)
def test_a_health_that_was_read_too_early_proves_nothing(given: dict[str, Any]) -> None:
    assert not given_up(a_resync(an_unknown(1), **given))


def test_if_only_some_unanswered_requests_exist_the_others_are_replaced_and_none_is_given_up() -> None:
    snapshot = a_resync(*(an_unknown(n) for n in (1, 2, 3)), queued=1)
    assert not given_up(snapshot)
    assert asked(snapshot) == 2
    capped = replace(snapshot, routes=(a_route(max_workers=3),))
    assert not asked(capped), "any of the three may exist"


def test_each_endpoint_has_doubts_of_its_own() -> None:
    cpu: dict[str, Any] = {"pool": Pool("cpu", ORG), "endpoint": "ep-2"}
    rows = (an_unknown(1), an_unknown(2), an_unknown(3, **cpu), an_unknown(4, **cpu))
    labels = ("runpod", "cpu")
    snapshot = replace(
        a_resync(*rows, queued=1),
        jobs=(a_job(1), a_job(2), a_job(3, labels=labels), a_job(4, labels=labels)),
        routes=(a_route(), a_route(name="cpu", labels=labels, endpoint="ep-2")),
        health={"ep-1": EndpointHealth(in_queue=1), "ep-2": EndpointHealth(in_queue=1)},
        health_at={"ep-1": NOW, "ep-2": NOW},
    )
    assert asked(snapshot) == 2


def test_a_replacement_is_not_withdrawn_while_the_doubt_lasts() -> None:
    more = a_submission(4)
    snapshot = a_resync(
        an_unknown(1), an_unknown(2), more, queued=2, requests={more.id: Request(id="r4", status=QUEUED)}
    )
    two_jobs = replace(snapshot, jobs=(a_job(1), a_job(2)))
    assert not plan(two_jobs, NOW).withdrawals
    assert not plan(two_jobs, NOW).claims


@MODES
def test_running_requests_of_another_system_delay_a_job_only_for_the_time_of_a_start(mode: Credentials) -> None:
    """They look like the unanswered one. If it were running, its runner would be online by then."""
    young, late = an_unknown(1, mode), an_unknown(1, mode, since=NOW - TIMING.boot_allowance)
    assert not asked(a_resync(young, running=5))
    assert asked(a_resync(late, running=5)) == 1
    assert not given_up(a_resync(late, running=5)), "if it exists after all, it keeps its registration"


@MODES
def test_queued_requests_of_another_system_delay_a_job_until_no_worker_may_start_it(mode: Credentials) -> None:
    late = an_unknown(1, mode, since=NOW - TIMING.boot_allowance)
    assert not asked(a_resync(late, queued=5))
    starting, over = (replace(late, not_after=NOW - TIMING.boot_allowance + left) for left in (1, 0))
    assert not given_up(a_resync(starting, queued=5)), "a worker that has just started it may still be on its way"
    assert given_up(a_resync(over, queued=5)) == [late.name]


def test_queued_requests_that_the_ledger_explains_do_not_hide_that_a_late_one_is_missing() -> None:
    late, other = an_unknown(1, since=NOW - TIMING.boot_allowance), a_submission(2)
    requests = {other.id: Request(id="r2", status=QUEUED)}
    assert asked(a_resync(late, other, queued=1, running=5, requests=requests)) == 1


# --- the breaker ---


def test_the_second_request_in_a_row_without_an_answer_counts_as_a_failure() -> None:
    assert with_unanswered({}, {"ep-1": (NOW,)}) == {}
    two = with_unanswered({}, {"ep-1": (NOW + 5, NOW)})
    assert two == {"ep-1": Streak(failures=1, first=NOW + 5, last=NOW + 5, reason=NO_ANSWER)}
    before = Streak(failures=2, first=NOW - 9, last=NOW + 1, reason="crashed")
    added = with_unanswered({"ep-1": before, "ep-2": before}, {"ep-1": (NOW, NOW + 5)})
    assert added == {"ep-1": Streak(failures=3, first=NOW - 9, last=NOW + 5, reason=NO_ANSWER), "ep-2": before}


@pytest.mark.parametrize(("last", "reason"), [(NOW + 5, NO_ANSWER), (NOW + 6, "crashed")])
def test_the_reason_of_failures_is_that_of_the_last_one(last: float, reason: str) -> None:
    workers = Streak(failures=2, first=NOW - 9, last=last, reason="crashed")
    assert with_unanswered({"ep-1": workers}, {"ep-1": (NOW, NOW + 5)})["ep-1"].reason == reason


def test_an_endpoint_that_does_not_answer_is_tried_with_single_requests() -> None:
    streaks = with_unanswered({}, {"ep-1": tuple(NOW - n for n in range(OPENS_AT + 1))})
    decided = plan(a_snapshot(jobs=(a_job(1),), streaks=streaks), NOW)
    assert not decided.claims
    assert decided.skips[0].why == (
        "endpoint ep-1: its last 3 requests failed (RunPod did not answer); next try in 60 s"
    )

"""Which endpoint a request goes to, and which waiting requests move to another one."""

from dataclasses import replace
from typing import Any

import pytest

from bridge.core.actions import Plan, SkipKind, Withdrawal
from bridge.core.breaker import NO_ANSWER
from bridge.core.budget import ALL, Budget
from bridge.core.model import EndpointHealth, Request, RequestStatus
from bridge.core.pauses import Pause
from bridge.core.placement import starvation
from bridge.core.plan import plan
from bridge.core.refusals import target_key
from bridge.core.snapshot import Refusal, Snapshot
from bridge.core.spill import MAX_MOVES, MAX_MOVES_OF_JOB
from bridge.core.submissions import JobHistory, Pool, Starvation, State, Streak, Submission
from bridge.core.worker import Credentials, Reason
from tests.support.values import NOW, ORG, TIMING, a_job, a_route, a_runner, a_snapshot, a_submission

TWO = a_route(endpoints=("ep-1", "ep-2"))
THROTTLED = EndpointHealth(in_queue=1, workers={"throttled": 2})
BROKEN = Streak(failures=3, first=NOW - 5, last=NOW, reason="crashed")
CPU = Pool("cpu", ORG)


def waiting(job_id: int = 1, seconds: float = 121.0, **given: Any) -> Any:
    """A request that has waited for `seconds`."""
    at = NOW - seconds
    return a_submission(job_id, **{"since": at, "created_at": at, "not_after": NOW + 3000, **given})


def snapshot(*submissions: Any, jobs: int = 2, **given: Any) -> Snapshot:
    """Two endpoints; the first is throttled unless `health` says otherwise, and has the given requests."""
    health = given.setdefault("health", {"ep-1": THROTTLED, "ep-2": EndpointHealth()})
    defaults = {
        "routes": (TWO,),
        "jobs": tuple(a_job(n) for n in range(1, jobs + 1)),
        "submissions": submissions,
        "requests": {s.id: Request(id="r", status=RequestStatus.IN_QUEUE) for s in submissions},
        "health_at": dict.fromkeys(health, NOW),
    }
    return a_snapshot(**{**defaults, **given})


def placed(decided: Plan) -> list[tuple[str, str]]:
    return [(claim.name, claim.endpoint) for claim in decided.claims]


def moved(decided: Plan) -> list[Withdrawal]:
    return [w for w in decided.withdrawals if w.reason is Reason.STARVED]


def test_a_request_goes_to_the_preferred_endpoint() -> None:
    (claim,) = plan(snapshot(jobs=1), NOW).claims
    assert (claim.endpoint, claim.placed) == ("ep-1", "endpoint ep-1 is preferred")


def test_the_only_endpoint_of_a_route_needs_no_reason() -> None:
    (claim,) = plan(snapshot(jobs=1, routes=(a_route(),)), NOW).claims
    assert (claim.endpoint, claim.placed) == ("ep-1", "")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"streaks": {"ep-1": BROKEN}}, "endpoint ep-1: its last 3 workers failed (crashed); next try in 60 s"),
        (
            {"refusals": {"endpoint ep-1": Refusal(at=NOW, until=NOW + 50, count=1, why="no such endpoint")}},
            "endpoint ep-1 was refused: no such endpoint; next try in 50 s",
        ),
        ({"workers_max": {"ep-1": 0}}, "endpoint ep-1 has as many requests as its workers_max of 0"),
        (
            {"starvations": {"ep-1": Starvation(first=NOW - 20, last=NOW - 20)}},
            "endpoint ep-1 was starved; next try in 100 s",
        ),
    ],
)
def test_a_request_goes_to_the_next_endpoint_with_the_reason(given: dict[str, Any], reason: str) -> None:
    (claim,) = plan(snapshot(jobs=1, **given), NOW).claims
    assert (claim.endpoint, claim.placed) == ("ep-2", reason)


def test_the_last_free_workers_of_the_preferred_endpoint_are_used_first() -> None:
    decided = plan(snapshot(jobs=4, health={}, workers_max={"ep-1": 1, "ep-2": 2}), NOW)
    assert [endpoint for _, endpoint in placed(decided)] == ["ep-1", "ep-2", "ep-2"]
    full = "endpoint ep-1 has as many requests as its workers_max of 1; endpoint ep-2 has as many requests as its "
    assert [(s.job_id, s.why) for s in decided.skips] == [(4, f"{full}workers_max of 2")]


def test_requests_of_others_use_workers_too() -> None:
    health = {"ep-1": EndpointHealth(in_queue=2, in_progress=1), "ep-2": EndpointHealth()}
    decided = plan(snapshot(jobs=2, health=health, workers_max={"ep-1": 4}), NOW)
    assert placed(decided) == [("runpod-1-1", "ep-1"), ("runpod-2-1", "ep-2")]


def test_a_request_that_ended_after_the_reading_is_not_anothers() -> None:
    health = {"ep-1": EndpointHealth(in_progress=1), "ep-2": EndpointHealth()}
    ended = a_submission(9, State.FINISHED, since=NOW - 1)
    given = {"health": health, "health_at": dict.fromkeys(health, NOW - 10), "workers_max": {"ep-1": 1}}
    decided = plan(replace(snapshot(jobs=1, **given), submissions=(ended,)), NOW)
    assert placed(decided) == [("runpod-1-1", "ep-1")]


def test_a_request_that_was_sent_after_the_reading_explains_none_in_it() -> None:
    health = {"ep-1": EndpointHealth(in_queue=1), "ep-2": EndpointHealth()}
    later = waiting(9, 5.0)
    given: dict[str, Any] = {"health": health, "health_at": dict.fromkeys(health, NOW - 10)}
    full = snapshot(later, jobs=1, workers_max={"ep-1": 2}, **given)
    assert placed(plan(replace(full, jobs=(a_job(1), a_job(9))), NOW)) == [("runpod-1-1", "ep-2")]


def test_two_routes_share_the_workers_of_an_endpoint() -> None:
    routes = (TWO, a_route(name="cpu", labels=("runpod", "cpu"), endpoints=("ep-1", "ep-3")))
    jobs = (a_job(1), a_job(2), *(a_job(n, labels=("runpod", "cpu")) for n in (3, 4)))
    decided = plan(replace(snapshot(routes=routes, health={}, workers_max={"ep-1": 3}), jobs=jobs), NOW)
    assert [endpoint for _, endpoint in placed(decided)] == ["ep-1", "ep-1", "ep-1", "ep-3"]


def test_the_quota_counts_the_requests_at_all_endpoints() -> None:
    routes = (TWO, a_route(name="cpu", labels=("runpod", "cpu"), endpoint="ep-3"))
    jobs = (a_job(1), a_job(2), *(a_job(n, labels=("runpod", "cpu")) for n in (3, 4)))
    busy = a_submission(9, State.BUSY)
    decided = plan(replace(snapshot(busy, routes=routes, worker_quota=4, health={}), jobs=jobs), NOW)
    assert len(decided.claims) == 3
    assert [s.why for s in decided.skips] == ["all endpoints together have as many requests as the worker_quota of 4"]


def test_requests_of_others_use_the_quota_too() -> None:
    health = {"ep-1": EndpointHealth(in_queue=1), "ep-2": EndpointHealth(in_progress=2)}
    assert len(plan(snapshot(jobs=9, health=health, worker_quota=5), NOW).claims) == 2


def test_while_a_request_waits_at_a_starved_endpoint_new_ones_go_to_the_next() -> None:
    (claim,) = plan(snapshot(waiting()), NOW).claims
    assert (claim.name, claim.endpoint) == ("runpod-2-1", "ep-2")
    assert claim.placed == ("endpoint ep-1 is starved: a request has waited 121 s, and no worker is free (throttled 2)")


def test_until_spill_after_is_over_requests_go_to_the_preferred_endpoint() -> None:
    assert placed(plan(snapshot(waiting(1, 120.0)), NOW)) == [("runpod-2-1", "ep-1")]


@pytest.mark.parametrize(
    ("health", "starved"),
    [
        ({"throttled": 1}, True),
        ({"unhealthy": 1}, True),
        ({}, True),
        ({"initializing": 1, "throttled": 1}, False),
        ({"idle": 1}, False),
        ({"ready": 1}, False),
        ({"running": 1}, True),
        ({"running": 1, "throttled": 1}, True),
        ({"running": 1, "ready": 1, "throttled": 1}, True),
        ({"running": 1, "ready": 2}, False),
        ({"running": 2, "throttled": 1}, False),
    ],
)
def test_an_endpoint_is_starved_if_no_worker_can_take_its_request(health: dict[str, int], starved: bool) -> None:
    """RunPod counts one request in progress: of two running workers, one has none."""
    seen = {"ep-1": EndpointHealth(in_queue=1, in_progress=1, workers=health), "ep-2": EndpointHealth()}
    decided = plan(snapshot(waiting(), jobs=1, health=seen), NOW)
    assert len(moved(decided)) == starved


def test_requests_without_a_worker_on_its_way_move_and_the_next_one_in_the_queue_stays() -> None:
    """The endpoint has one worker, which starts again after each request."""
    health = {"ep-1": EndpointHealth(in_queue=3, workers={"initializing": 1}), "ep-2": EndpointHealth()}
    decided = plan(snapshot(*(waiting(n, 150.0) for n in (1, 2, 3)), jobs=3, health=health), NOW)
    assert [w.submission.job_id for w in moved(decided)] == [2, 3]


@pytest.mark.parametrize(
    ("workers", "sent"),
    [
        ({"unhealthy": 2}, 0),
        *(({"unhealthy": 2, state: 1}, 2) for state in ("running", "ready", "idle", "initializing", "throttled")),
        ({}, 2),
    ],
)
def test_while_all_workers_are_unhealthy_one_request_tries_the_endpoint(workers: dict[str, int], sent: int) -> None:
    health = {"ep-1": EndpointHealth(in_queue=1, workers=workers)}
    decided = plan(snapshot(waiting(1, 5.0), jobs=3, routes=(a_route(),), health=health), NOW)
    assert len(decided.claims) == sent
    if not sent:
        (_, *held) = decided.skips
        assert {(each.kind, each.why) for each in held} == {
            (
                SkipKind.UNHEALTHY,
                "endpoint ep-1: its workers are unhealthy: see the endpoint's logs (unhealthy 2); "
                "one request is being tried",
            )
        }
    first = plan(snapshot(jobs=2, routes=(a_route(),), health=health), NOW)
    assert len(first.claims) == (1 if not sent else 2), "the try"


def test_a_request_goes_to_the_next_endpoint_while_all_workers_of_the_first_are_unhealthy() -> None:
    health = {"ep-1": EndpointHealth(in_queue=1, workers={"unhealthy": 1}), "ep-2": EndpointHealth()}
    decided = plan(snapshot(waiting(1, 5.0), jobs=2, health=health), NOW)
    assert placed(decided) == [("runpod-2-1", "ep-2")]


def test_workers_that_never_finish_their_start_are_no_capacity() -> None:
    seen = {"ep-1": EndpointHealth(workers={"initializing": 1}), "ep-2": EndpointHealth()}
    late, in_time = (waiting(seconds=seconds + TIMING.boot_allowance) for seconds in (121, 120))
    assert not moved(plan(snapshot(in_time, jobs=1, health=seen), NOW))
    assert moved(plan(snapshot(late, jobs=1, health=seen), NOW))


def test_a_request_leaves_a_starved_endpoint_if_another_can_take_it() -> None:
    (withdrawal,) = moved(plan(snapshot(waiting(), jobs=1), NOW))
    assert (withdrawal.to, withdrawal.runner_id) == (State.CANCELLED, 101)
    assert withdrawal.detail.endswith("no worker is free (throttled 2); the next request goes to endpoint ep-2")


@pytest.mark.parametrize(
    "given",
    [
        {"streaks": {"ep-2": BROKEN}},
        {"workers_max": {"ep-2": 0}},
        {"routes": (a_route(),)},
        {"health": {"ep-2": EndpointHealth()}},
        {"health_at": {"ep-1": NOW - 1, "ep-2": NOW}},
        {"requests": {"s1-1": Request(id="r", status=RequestStatus.IN_PROGRESS)}},
        {"requests": {}},
        {"runners_at": {ORG: NOW - 1}},
        {"runners": {ORG: (a_runner("runpod-1-1", online=True),)}},
        {"runners": {ORG: (a_runner("runpod-1-1", online=False, busy=True),)}},
        {"history": {1: JobHistory(generation=9, attempts=0, last_claim=0, last_end=0, moves=MAX_MOVES_OF_JOB)}},
        {"pauses": {"gpu": Pause(route="gpu", at=NOW, by="ann@host")}},
        {"budgets": (Budget(route=ALL, configured=10.0, used=10.0, resets_at=NOW + 60),)},
        {"refusals": {target_key(ORG): Refusal(why="403", until=NOW + 60, at=NOW, count=1)}},
    ],
)
def test_a_request_stays_where_it_is(given: dict[str, Any]) -> None:
    assert not moved(plan(snapshot(waiting(), **{"jobs": 1, **given}), NOW))


@pytest.mark.parametrize(
    ("stays", "given"),
    [
        (
            waiting(1, 200.0, endpoint="ep-old"),
            {"health": {"ep-1": THROTTLED, "ep-2": EndpointHealth(), "ep-old": THROTTLED}},
        ),
        (
            waiting(1, 200.0),
            {"history": {1: JobHistory(generation=9, attempts=0, last_claim=0, last_end=0, moves=MAX_MOVES_OF_JOB)}},
        ),
    ],
)
def test_a_request_that_stays_does_not_keep_a_younger_one(stays: Submission, given: dict[str, Any]) -> None:
    decided = plan(snapshot(stays, waiting(2), **given), NOW)
    assert [w.submission.job_id for w in moved(decided)] == [2]


@pytest.mark.parametrize(("read_before", "endpoint"), [(0.0, "ep-2"), (1.0, "ep-1")])
def test_only_a_reading_after_a_request_was_accepted_shows_that_nothing_serves_it(
    read_before: float, endpoint: str
) -> None:
    request = waiting()
    decided = plan(snapshot(request, health_at={"ep-1": request.since - read_before, "ep-2": NOW}), NOW)
    assert placed(decided) == [("runpod-2-1", endpoint)]


@pytest.mark.parametrize("seconds", [1.0, 120.0])
def test_a_young_request_stays(seconds: float) -> None:
    assert len(moved(plan(snapshot(waiting(2, seconds), waiting(1)), NOW))) == 1


def test_no_more_requests_move_than_the_other_endpoint_has_workers_for() -> None:
    many = [waiting(n, 200.0 - n) for n in range(1, 6)]
    decided = plan(snapshot(*many, jobs=5, workers_max={"ep-2": 2}), NOW)
    assert [w.submission.job_id for w in moved(decided)] == [1, 2]


def test_a_request_may_move_until_its_job_has_moved_often() -> None:
    last = JobHistory(generation=9, attempts=0, last_claim=0, last_end=0, moves=MAX_MOVES_OF_JOB - 1)
    assert moved(plan(snapshot(waiting(), jobs=1, history={1: last}), NOW))


def test_of_endpoints_that_may_have_capacity_the_one_that_was_tried_longest_ago_is_next() -> None:
    past = {"ep-2": Starvation(first=NOW - 20, last=NOW - 20), "ep-3": Starvation(first=NOW - 30, last=NOW - 30)}
    route = a_route(endpoints=("ep-1", "ep-2", "ep-3"))
    (withdrawal,) = moved(plan(snapshot(waiting(), jobs=1, routes=(route,), starvations=past), NOW))
    assert withdrawal.detail.endswith("the next request goes to endpoint ep-3")
    (claim,) = plan(snapshot(waiting(), routes=(route,), starvations=past), NOW).claims
    assert claim.endpoint == "ep-3"


def test_a_pass_moves_a_limited_number() -> None:
    many = [waiting(n) for n in range(1, 31)]
    route = a_route(endpoints=("ep-1", "ep-2"), max_workers=50)
    assert len(moved(plan(snapshot(*many, jobs=30, routes=(route,)), NOW))) == MAX_MOVES


def test_a_request_that_no_job_needs_is_withdrawn_not_moved() -> None:
    (withdrawal,) = plan(snapshot(waiting(), jobs=0), NOW).withdrawals
    assert (withdrawal.detail, withdrawal.reason) == ("no queued job needs it", None)


def test_a_request_that_is_late_is_withdrawn_once_and_not_moved() -> None:
    decided = plan(snapshot(waiting(1, 150.0, not_after=NOW - 1)), NOW)
    assert [(w.submission.job_id, w.reason) for w in decided.withdrawals] == [(1, None)]


@pytest.mark.parametrize("mode", [Credentials.REGISTRATION, Credentials.APP, Credentials.PAT])
def test_in_token_modes_a_request_moves_while_no_runner_has_its_name(mode: Credentials) -> None:
    """The withdrawal holds its name first, which GitHub refuses if the worker has registered."""
    given = {"routes": (replace(TWO, credentials=mode),), "runners": {ORG: ()}}
    request = waiting(credentials=mode, runner_id=None)
    assert [w.runner_id for w in moved(plan(snapshot(request, jobs=1, **given), NOW))] == [None]
    given["runners"] = {ORG: (a_runner("runpod-1-1", online=False),)}
    assert not moved(plan(snapshot(request, jobs=1, **given), NOW))


def test_if_no_endpoint_has_capacity_a_request_waits_where_the_fewest_wait() -> None:
    both = {"ep-1": THROTTLED, "ep-2": THROTTLED}
    requests = (waiting(1), waiting(2), waiting(3, endpoint="ep-2"))
    decided = plan(snapshot(*requests, jobs=4, health=both), NOW)
    assert not moved(decided)
    (claim,) = decided.claims
    assert claim.endpoint == "ep-2"
    assert claim.placed.endswith("; the fewest requests wait at ep-2")


# --- back to the preferred endpoint ---


def test_a_starved_endpoint_is_tried_with_one_request_after_a_pause() -> None:
    past: dict[str, Any] = {"starvations": {"ep-1": Starvation(first=NOW - 130, last=NOW - 130)}}
    assert placed(plan(snapshot(**past), NOW)) == [("runpod-1-1", "ep-1"), ("runpod-2-1", "ep-2")]
    tried = waiting(1, 5.0)
    (claim,) = plan(snapshot(tried, **past), NOW).claims
    assert (claim.endpoint, claim.placed) == (
        "ep-2",
        "endpoint ep-1 was starved 130 s ago; requests that try it now: 1",
    )


def test_the_pause_is_as_long_as_the_starvation_up_to_a_limit() -> None:
    def chosen(first: float, since: float) -> str:
        (claim,) = plan(
            snapshot(jobs=1, starvations={"ep-1": Starvation(first=NOW - first, last=NOW - since)}), NOW
        ).claims
        return claim.endpoint

    assert (chosen(700, 300), chosen(600, 300)) == ("ep-2", "ep-1")
    assert (chosen(3500, 890), chosen(3500, 910)) == ("ep-2", "ep-1")


@pytest.mark.parametrize(
    ("workers", "requests"),
    [({}, 3), ({"initializing": 1}, 5), ({"idle": 1}, 5), ({"initializing": 1, "throttled": 1}, 1)],
)
def test_more_requests_go_there_as_its_workers_start(workers: dict[str, int], requests: int) -> None:
    started = a_submission(9, State.BUSY)
    past = {"ep-1": Starvation(first=None, last=NOW - 60, started=1)}
    health = {"ep-1": EndpointHealth(in_progress=1, workers={"running": 1, **workers}), "ep-2": EndpointHealth()}
    decided = plan(snapshot(started, jobs=8, starvations=past, health=health), NOW)
    assert [endpoint for _, endpoint in placed(decided)].count("ep-1") == requests


def test_a_start_of_a_worker_ends_the_pause() -> None:
    assert starvation([10.0, 20.0, 30.0], [5.0, 15.0]) == Starvation(first=20.0, last=30.0, started=0)
    assert starvation([20.0, 10.0], [5.0, 25.0, 35.0]) == Starvation(first=None, last=20.0, started=2)
    assert starvation([20.0, 10.0], []) == Starvation(first=10.0, last=20.0, started=0)


def test_if_no_endpoint_is_known_to_have_capacity_one_is_tried_where_no_request_waits() -> None:
    past: dict[str, Any] = {"starvations": {"ep-2": Starvation(first=NOW - 20, last=NOW - 20)}}
    both = [waiting(1, 130), waiting(2)]
    (withdrawal,) = moved(plan(snapshot(*both, **past), NOW))
    assert withdrawal.submission.job_id == 1
    tried = waiting(3, 5.0, endpoint="ep-2")
    assert not moved(plan(snapshot(*both, tried, jobs=3, **past), NOW))


def test_our_own_requests_are_not_counted_as_those_of_others() -> None:
    health = {"ep-1": EndpointHealth(in_progress=1), "ep-2": EndpointHealth()}
    busy = a_submission(9, State.BUSY)
    assert placed(plan(snapshot(busy, jobs=1, health=health, workers_max={"ep-1": 2}), NOW)) == [("runpod-1-1", "ep-1")]


@pytest.mark.parametrize(
    ("workers", "said"),
    [
        ({}, ": a request has waited 1321 s, and no worker is free"),
        (
            {"throttled": 3, "unhealthy": 1, "initializing": 2},
            ": a request has waited 1321 s, and no worker is free (throttled 3, unhealthy 1, initializing 2)",
        ),
    ],
)
def test_the_reason_names_the_states_of_the_workers(workers: dict[str, int], said: str) -> None:
    health = {"ep-1": EndpointHealth(workers=workers), "ep-2": EndpointHealth()}
    late = waiting(seconds=1321.0)
    timing = replace(TIMING, boot_allowance=900.0)
    (claim,) = plan(snapshot(late, health=health, timing=timing), NOW).claims
    assert claim.placed == f"endpoint ep-1 is starved{said}"


@pytest.mark.parametrize(("reason", "kind"), [("crashed", SkipKind.BREAKER), (NO_ANSWER, SkipKind.NO_ANSWER)])
def test_an_endpoint_that_does_not_answer_is_told_from_one_whose_workers_fail(reason: str, kind: SkipKind) -> None:
    streaks = {"ep-1": replace(BROKEN, reason=reason)}
    (skip,) = plan(snapshot(jobs=1, routes=(a_route(),), streaks=streaks), NOW).skips
    assert skip.kind is kind


def test_if_no_endpoint_takes_a_request_the_reasons_of_all_are_named_once() -> None:
    (skip,) = plan(snapshot(jobs=1, streaks={"ep-1": BROKEN}, workers_max={"ep-2": 0}), NOW).skips
    assert skip.kind is SkipKind.BREAKER
    assert skip.why == (
        "endpoint ep-1: its last 3 workers failed (crashed); next try in 60 s; "
        "endpoint ep-2 has as many requests as its workers_max of 0"
    )
    assert skip.due == ""


def test_a_quota_and_a_route_that_are_reached_together_are_one_reason() -> None:
    route = a_route(max_workers=1)
    decided = plan(snapshot(jobs=2, routes=(route,), worker_quota=1, health={}), NOW)
    assert len(decided.claims) == 1
    assert [skip.kind for skip in decided.skips] == [SkipKind.QUOTA]

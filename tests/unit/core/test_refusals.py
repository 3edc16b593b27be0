"""After a refusal: single tries, growing pauses, and the refusal as the reason."""

from dataclasses import replace
from typing import Any

import pytest

from bridge.controller.refused import github_key, refused, runpod_key
from bridge.core.actions import Plan, SkipKind
from bridge.core.plan import plan
from bridge.core.readings import Timed
from bridge.core.refusals import (
    Gate,
    endpoint_key,
    group_key,
    keys,
    standing,
    target_key,
)
from bridge.core.snapshot import Refusal, Snapshot
from bridge.core.submissions import IdleRunner, JobHistory, Pool, State, Streak
from bridge.core.worker import Credentials
from bridge.errors import AuthError, BridgeError, NameTaken, OutcomeUnknown, RateLimited, Rejected, Unavailable
from tests.support.values import NOW, ORG, TIMING, a_job, a_route, a_snapshot, a_submission

MISSING = Rejected("GitHub: orgs/acme has no runner group 'gpu-team'", status=404)


def names(decided: Plan) -> list[str]:
    return [claim.name for claim in decided.claims]


def a_refusal(**given: Any) -> Refusal:
    return Refusal(**{"at": NOW - 10, "until": NOW + 50, "count": 1, "why": "no such group", **given})


def after(refusal: Refusal, key: str = "endpoint ep-1", **given: Any) -> Snapshot:
    return a_snapshot(jobs=(a_job(1), a_job(2), a_job(3)), refusals={key: refusal}, **given)


@pytest.mark.parametrize("key", keys(ORG, a_route(), "ep-1"))
def test_jobs_that_need_what_is_refused_wait_with_the_refusal_as_the_reason(key: str) -> None:
    decided = plan(after(a_refusal(), key), NOW)
    assert not decided.claims
    why = f"{key} was refused: no such group; next try in 50 s"
    assert {(skip.why, skip.route) for skip in decided.skips} == {(why, "gpu")}


def test_after_the_pause_the_oldest_job_is_tried_and_the_others_wait() -> None:
    decided = plan(after(a_refusal()), NOW + 50)
    assert names(decided) == ["runpod-1-1"]
    assert all(skip.why.endswith("one request is being tried") for skip in decided.skips)


def test_the_last_free_place_of_a_route_is_enough_for_the_try() -> None:
    assert names(plan(after(a_refusal(), routes=(a_route(max_workers=1),)), NOW + 50)) == ["runpod-1-1"]


def test_a_runner_that_waits_for_its_job_does_not_keep_the_next_job_from_the_try() -> None:
    waiting = a_submission(1, created_at=NOW - 60)
    assert names(plan(after(a_refusal(), ORG, submissions=(waiting,)), NOW + 50)) == ["runpod-2-1"]


@pytest.mark.parametrize("state", [State.CLAIMED, State.MINTED, State.SUBMITTING, State.UNKNOWN])
def test_no_second_job_is_tried_meanwhile(state: State) -> None:
    probing = a_submission(1, state, created_at=NOW + 51, since=NOW + 51, lease_until=NOW + 111)
    assert not plan(after(a_refusal(), submissions=(probing,)), NOW + 52).claims


def test_a_request_from_before_the_refusal_is_no_try() -> None:
    older = a_submission(9, State.UNKNOWN, created_at=NOW - 60, since=NOW - 60, lease_until=NOW + 60)
    jobs = tuple(a_job(n) for n in (1, 2, 3, 9))
    assert len(plan(replace(after(a_refusal(), submissions=(older,)), jobs=jobs), NOW + 50).claims) == 1


def test_routes_that_share_what_is_refused_share_its_try() -> None:
    routes = (a_route(), a_route(name="cpu", labels=("runpod", "cpu")))
    jobs = (a_job(1), a_job(2, labels=("runpod", "cpu")))
    assert names(plan(replace(after(a_refusal()), routes=routes, jobs=jobs), NOW + 50)) == ["runpod-1-1"]


@pytest.mark.parametrize("obstacle", ["max_workers", "breaker", "evidence"])
def test_a_route_that_can_request_nothing_leaves_the_try_to_another(obstacle: str) -> None:
    routes = (a_route(max_workers=1), a_route(name="cpu", labels=("runpod", "cpu"), endpoint="ep-2"))
    jobs = (a_job(1), a_job(2), a_job(3), a_job(4, labels=("runpod", "cpu")))
    given: dict[str, Any] = {}
    if obstacle == "max_workers":
        given["submissions"] = (a_submission(9, State.BUSY),)
    elif obstacle == "breaker":
        given["streaks"] = {"ep-1": Streak(failures=3, first=NOW - 5, last=NOW, reason="crashed")}
    else:
        idle = IdleRunner(pool=Pool("gpu", ORG), began=NOW - 7200, ended=NOW - 7000)
        waiting = a_submission(1, State.SUBMITTED)
        given |= {"idle": (idle,), "queued_since": dict.fromkeys((1, 2, 3), NOW - 8000), "submissions": (waiting,)}
        routes = (replace(routes[0], max_workers=5), routes[1])
    snapshot = a_snapshot(jobs=jobs, routes=routes, refusals={ORG: a_refusal()}, **given)
    assert names(plan(snapshot, NOW + 50)) == ["runpod-4-1"]


def test_another_route_is_served_as_usual() -> None:
    routes = (a_route(), a_route(name="cpu", labels=("runpod", "cpu"), endpoint="ep-2"))
    jobs = (a_job(1), a_job(2, labels=("runpod", "cpu")), a_job(3, labels=("runpod", "cpu")))
    assert names(plan(replace(after(a_refusal()), routes=routes, jobs=jobs), NOW)) == ["runpod-2-1", "runpod-3-1"]


def test_jobs_of_a_refused_target_take_no_places_from_another() -> None:
    """The older jobs of the first repository must not delay those of the second."""
    jobs = (*(a_job(n) for n in range(1, 30)), a_job(40, repository="acme/other"))
    snapshot = a_snapshot(
        organisation=None,
        jobs=jobs,
        runners={"repos/acme/web": (), "repos/acme/other": ()},
        refusals={"repos/acme/web": a_refusal()},
        routes=(a_route(max_workers=2),),
    )
    assert names(plan(snapshot, NOW)) == ["runpod-40-1"]


def test_waiting_requests_are_not_withdrawn_because_new_ones_are_refused() -> None:
    waiting = a_submission(1)
    decided = plan(after(a_refusal(), submissions=(waiting,)), NOW)
    assert not decided.claims
    assert not decided.withdrawals


def test_the_reason_of_a_job_whose_claim_was_refused_is_the_refusal_before_the_job_is_looked_up_again() -> None:
    ended = JobHistory(generation=1, attempts=0, last_claim=NOW - 10, last_end=NOW - 9)
    snapshot = after(a_refusal(), seen_at=dict.fromkeys((1, 2, 3), NOW - 20), history={1: ended})
    why = next(skip.why for skip in plan(snapshot, NOW).skips if skip.job_id == 1)
    assert why == "endpoint ep-1 was refused: no such group; next try in 50 s"


def test_a_rate_limit_ends_by_itself_for_all_jobs() -> None:
    limited = refused(None, RateLimited("asked to wait", retry_at=NOW + 30), TIMING, NOW)
    assert {skip.why for skip in plan(after(limited), NOW + 29).skips} == {
        "endpoint ep-1 has reached a rate limit: asked to wait; next try in 1 s"
    }
    assert not plan(after(limited), NOW + 29).claims
    assert len(plan(after(limited), NOW + 30).claims) == 3


def test_workers_that_register_themselves_do_not_wait_for_a_refusal_of_the_bridges_registrations() -> None:
    routes = (a_route(credentials=Credentials.APP),)
    assert len(plan(after(a_refusal(), target_key(ORG), routes=routes), NOW).claims) == 3


def test_the_pause_doubles_from_try_to_try_up_to_a_limit() -> None:
    pauses, now, known = [], NOW, None
    for _ in range(8):
        known = refused(known, MISSING, TIMING, now)
        pauses.append(known.until - now)
        now = known.until
    first, longest = TIMING.refusal
    assert pauses[:4] == [first, 2 * first, 4 * first, 8 * first]
    assert pauses[-1] == longest


@pytest.mark.parametrize(
    ("error", "key"),
    [
        (AuthError("403"), target_key(ORG)),
        (MISSING, group_key(ORG, a_route())),
        (RateLimited("wait", retry_at=NOW), target_key(ORG)),
        (NameTaken("409", status=409), None),
        (Unavailable("502"), None),
        (OutcomeUnknown("no answer"), None),
    ],
)
def test_what_a_failed_registration_refuses(error: BridgeError, key: str | None) -> None:
    assert github_key(ORG, a_route(), error) == key


@pytest.mark.parametrize(
    ("error", "refusal"),
    [(AuthError("401"), True), (Rejected("404", status=404), True), (Unavailable("no connection"), False)],
)
def test_what_a_failed_submission_refuses(error: BridgeError, refusal: bool) -> None:
    assert runpod_key("ep-1", error) == (endpoint_key("ep-1") if refusal else None)


def test_a_request_depends_on_its_target_runner_group_and_endpoint() -> None:
    pool = Pool("gpu", ORG)
    assert keys(pool.target, a_route(), "ep-1") == ("orgs/acme", "orgs/acme, runner group Default", "endpoint ep-1")


def test_of_several_refusals_the_one_that_lasts_longest_is_the_reason() -> None:
    refusals = {"endpoint ep-1": a_refusal(until=NOW + 90), ORG: a_refusal(until=NOW + 50)}
    decided = plan(a_snapshot(jobs=(a_job(1),), refusals=refusals), NOW)
    assert decided.skips[0].why == "endpoint ep-1 was refused: no such group; next try in 90 s"


def test_the_claim_that_was_refused_is_no_try() -> None:
    refusal = a_refusal()
    claimed = a_submission(9, State.UNKNOWN, created_at=refusal.at, since=refusal.at)
    assert len(plan(after(refusal, submissions=(claimed,)), NOW + 50).claims) == 1


def test_a_refusal_is_no_reason_for_a_job_that_does_not_need_what_is_refused() -> None:
    ended = JobHistory(generation=1, attempts=0, last_claim=NOW - 10, last_end=NOW - 9)
    jobs = (a_job(1),)
    snapshot = a_snapshot(jobs=jobs, seen_at={1: NOW - 20}, history={1: ended}, refusals={"endpoint x": a_refusal()})
    assert plan(snapshot, NOW).skips[0].kind is SkipKind.ENDED_UNSEEN


def test_the_ledgers_refusals_last_until_they_end_or_are_a_day_old() -> None:
    refusal = a_refusal()

    def noted(at: float, value: Refusal | None = refusal) -> dict[str, Timed[Refusal | None]]:
        return {"endpoint ep-1": Timed(at, value)}

    day_ago = NOW - TIMING.refusal_kept
    assert standing(noted(day_ago + 1), TIMING, NOW) == {"endpoint ep-1": refusal}
    assert standing(noted(day_ago), TIMING, NOW) == {}
    assert standing(noted(NOW, None), TIMING, NOW) == {}


@pytest.mark.parametrize(("count", "kind"), [(1, SkipKind.REFUSED), (0, SkipKind.RATE_LIMITED)])
def test_a_refusal_is_told_from_a_rate_limit_and_is_named_by_its_key(count: int, kind: SkipKind) -> None:
    refusals = {"endpoint ep-1": Refusal(at=NOW - 9, until=NOW + 9, count=count, why="no")}
    cause = Gate(a_snapshot(refusals=refusals), NOW).refusal("ep-1")
    assert cause is not None
    assert (cause.kind, cause.refusal) == (kind, "endpoint ep-1")


def test_two_routes_make_one_try_together_even_with_one_free_place() -> None:
    routes = (a_route(max_workers=1), a_route(name="cpu", labels=("cpu",), endpoint="ep-2", max_workers=1))
    refusals = {ORG: Refusal(at=NOW - 9, until=NOW - 1, count=1, why="no")}
    jobs = (a_job(1), a_job(2, labels=("cpu",)))
    assert len(plan(a_snapshot(jobs=jobs, routes=routes, refusals=refusals), NOW).claims) == 1

"""People read the name that they gave an endpoint, in every reason; the id is added where it is needed at RunPod."""

from typing import Any

import pytest

from bridge.core.actions import Claim, Plan
from bridge.core.breaker import NO_ANSWER
from bridge.core.budget import ALL, Budget, held
from bridge.core.endpoint_names import NO_NAMES, named, with_id
from bridge.core.history import JobRecord, SubmissionRecord, TransitionRecord
from bridge.core.model import EndpointHealth, Request, RequestStatus
from bridge.core.notices import Standing, conditions
from bridge.core.plan import plan
from bridge.core.refusals import endpoint_key
from bridge.core.snapshot import Refusal
from bridge.core.steps import steps_of
from bridge.core.story import outlook, story
from bridge.core.submissions import Pool, Starvation, State, Streak
from tests.support.values import NOW, ORG, a_job, a_route, a_snapshot, a_submission

L4, A100 = "9v0k2x1abc", "7q3m8z5def"
NAMES = {L4: "l4", A100: "a100"}
BOTH = a_route(endpoints=(L4, A100))
ALONE = a_route(endpoint=L4)
THROTTLED = EndpointHealth(in_queue=1, workers={"throttled": 2})
UNHEALTHY = EndpointHealth(in_queue=1, workers={"unhealthy": 2})
WAITS = a_submission(1, since=NOW - 121, created_at=NOW - 121, not_after=NOW + 3000, endpoint=L4)
REFUSED = {endpoint_key(L4): Refusal(at=NOW, until=NOW + 50, count=1, why="no")}
LIMITED = {endpoint_key(L4): Refusal(at=NOW, until=NOW + 50, count=0, why="429")}
NO_PRICE = Budget(route=ALL, configured=9.0, used=0.0, resets_at=NOW + 60, without_price=frozenset({L4}))


def a_streak(reason: str) -> Streak:
    return Streak(failures=3, first=NOW - 5, last=NOW, reason=reason)


def reasons(names: dict[str, str], **given: Any) -> list[str]:
    """All that a plan says to people."""
    health = given.setdefault("health", {L4: EndpointHealth(), A100: EndpointHealth()})
    requests = {s.id: Request(id="r", status=RequestStatus.IN_QUEUE) for s in given.get("submissions", ())}
    defaults = {"routes": (BOTH,), "jobs": tuple(map(a_job, (1, 2, 3))), "requests": requests}
    decided = plan(
        a_snapshot(**{**defaults, "health_at": dict.fromkeys(health, NOW), **given, "endpoint_names": names}), NOW
    )
    return [
        *(each.why for each in decided.skips),
        *(each.placed for each in decided.claims),
        *(each.detail for each in decided.withdrawals),
    ]


def test_an_endpoint_is_shown_by_its_name_and_without_one_by_its_id() -> None:
    assert (named(L4, NAMES), named(L4, NO_NAMES)) == ("l4", L4)
    assert (with_id(L4, NAMES), with_id(L4, NO_NAMES)) == (f"l4 ({L4})", L4)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "endpoint l4 is preferred"),
        ({"streaks": {L4: a_streak("crashed")}}, "endpoint l4: its last 3 workers failed (crashed)"),
        ({"streaks": {L4: a_streak(NO_ANSWER)}}, "endpoint l4: its last 3 requests failed"),
        ({"refusals": REFUSED}, "endpoint l4 was refused: no"),
        ({"refusals": REFUSED, "routes": (ALONE,)}, "endpoint l4 was refused: no"),
        ({"refusals": LIMITED}, "endpoint l4 has reached a rate limit: 429"),
        ({"workers_max": {L4: 0}}, "endpoint l4 has as many requests as its workers_max of 0"),
        ({"starvations": {L4: Starvation(first=NOW - 20, last=NOW - 20)}}, "endpoint l4 was starved; next try"),
        (
            {"starvations": {L4: Starvation(first=NOW - 130, last=NOW - 130)}},
            "endpoint l4 was starved 130 s ago; requests that try it now: 1",
        ),
        (
            {"submissions": (WAITS,), "health": {L4: THROTTLED, A100: EndpointHealth()}},
            "endpoint l4 is starved: a request has waited 121 s",
        ),
        (
            {"submissions": (WAITS,), "health": {L4: THROTTLED, A100: EndpointHealth()}},
            "; the next request goes to endpoint a100",
        ),
        (
            {
                "submissions": (WAITS, a_submission(2, since=NOW - 121, created_at=NOW - 121, endpoint=A100)),
                "health": {L4: THROTTLED, A100: THROTTLED},
            },
            "; the fewest requests wait at ",
        ),
        (
            {"submissions": (WAITS,), "health": {L4: UNHEALTHY}, "routes": (ALONE,)},
            "endpoint l4: its workers are unhealthy",
        ),
        ({"budgets": (NO_PRICE,)}, "budget: the price of endpoint l4 is not known"),
    ],
)
def test_every_reason_of_a_plan_shows_the_name_and_no_id(given: dict[str, Any], said: str) -> None:
    told = reasons(NAMES, **dict(given))
    assert any(said in each for each in told), told
    assert not [each for each in told if L4 in each or A100 in each]
    without = reasons({}, **dict(given))
    assert any(said.replace("l4", L4).replace("a100", A100) in each for each in without), without


def test_a_budget_names_the_endpoint_without_a_price() -> None:
    cause = held([NO_PRICE], ALONE, NAMES)
    assert cause is not None
    assert "the price of endpoint l4 is not known" in cause.why


def test_a_refusal_is_told_with_the_name_and_known_by_the_id() -> None:
    decided = plan(a_snapshot(jobs=(a_job(1),), routes=(ALONE,), refusals=REFUSED, endpoint_names=NAMES), NOW)
    assert [each.refusal for each in decided.skips] == [endpoint_key(L4)]


def test_what_a_job_waits_for_shows_the_name_and_its_request_shows_the_id_too() -> None:
    claim = Claim(
        pool=Pool("gpu", ORG), job_id=1, name="runpod-1-1", generation=1, endpoint=A100, placed="endpoint l4 is starved"
    )
    seen = outlook(Plan(claims=(claim,)), 1, NAMES)
    assert seen.placed == " at endpoint a100: endpoint l4 is starved"
    sent = TransitionRecord(start=State.MINTED, to=State.SUBMITTING, at=NOW)
    record = JobRecord(
        job=a_job(1), submissions=(SubmissionRecord(submission=a_submission(1, endpoint=L4), transitions=(sent,)),)
    )
    step = f"runpod-1-1: sending a request to endpoint l4 ({L4})"
    assert step in [each.what for each in story(record, seen, NOW, NAMES).steps]
    assert step.replace(f"l4 ({L4})", L4) in [each.what for each in steps_of(record, None, None, NOW)]


def test_messages_show_the_name_and_the_id() -> None:
    seen = Standing(
        plan=Plan(),
        endpoint_names=NAMES,
        streaks={L4: a_streak("crashed")},
        health={A100: EndpointHealth(in_queue=1, workers={"idle": 0})},
        waiting_since={A100: NOW - 720},
    )
    told = {each.about: each.what for each in conditions(seen, NOW)}
    assert told[L4].startswith(f"endpoint l4 ({L4}): 3 failures in a row")
    assert told[A100].startswith(f"endpoint a100 ({A100}): a request has waited for 12 min, and RunPod shows no worker")

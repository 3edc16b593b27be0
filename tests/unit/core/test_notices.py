"""What people are told by messages: each condition once, few messages, and no name from outside can be markup."""

from dataclasses import replace
from typing import Any

import pytest

from bridge.core.actions import Plan, Skip, SkipKind
from bridge.core.budget import Budget
from bridge.core.cost import DAY, midnight
from bridge.core.model import EndpointHealth
from bridge.core.notices import (
    CUT_AFTER,
    MOST_LINES,
    MOST_PER_HOUR,
    QUIET,
    Condition,
    NoticeKind,
    Standing,
    conditions,
    notices,
    slack_text,
    waiting_since,
)
from bridge.core.submissions import State, Streak
from tests.support.values import NOW, a_job, a_submission


def found(**given: Any) -> list[tuple[str, str]]:
    return [each.key for each in conditions(Standing(**{"plan": Plan(), **given}), NOW)]


def a_condition(about: str = "1", kind: NoticeKind = NoticeKind.GIVEN_UP, **given: Any) -> Condition:
    return Condition(kind=kind, about=about, **{"what": "it waits", **given})


MIDNIGHT = midnight(NOW)


def a_budget(route: str, used: float) -> Budget:
    return Budget(route=route, configured=10.0, used=used, resets_at=MIDNIGHT + DAY)


def text(*of: Condition) -> str:
    (message,) = notices({}, of, NOW).messages
    return slack_text(message)


def test_a_job_given_up_is_reported_with_its_reason_and_a_link() -> None:
    plan = Plan(given_up=(7,), skips=(Skip(job_id=7, kind=SkipKind.GIVEN_UP, why="given up: 5 runners failed"),))
    url = "https://github.com/acme/web/actions/runs/1/job/7"
    seen = Standing(plan=plan, jobs=(a_job(6), a_job(7, html_url=url, name="build")))
    assert text(*conditions(seen, NOW)) == (
        "*Jobs that get no more runners until `bridge retry`*\n"
        f"• <{url}|job 7 (acme/web, build)>: given up: 5 runners failed"
    )


def test_each_job_given_up_is_a_condition_of_its_own() -> None:
    assert found(plan=Plan(given_up=(8, 7)), jobs=(a_job(8), a_job(7))) == [("given up", "7"), ("given up", "8")]


def test_a_job_given_up_without_a_reason_is_reported_all_the_same() -> None:
    seen = Standing(plan=Plan(given_up=(7,)), jobs=(a_job(7),))
    assert text(*conditions(seen, NOW)).endswith("• job 7 (acme/web, job 7): given up")


@pytest.mark.parametrize(("failures", "keys"), [(2, []), (3, [("breaker", "ep-1")])])
def test_an_endpoint_is_reported_when_its_breaker_opens(failures: int, keys: list) -> None:
    streak = Streak(failures=failures, first=NOW - 60, last=NOW, reason="crashed")
    assert found(streaks={"ep-1": streak}) == keys


IDLE = EndpointHealth(in_queue=1, workers={"idle": 0, "running": 0, "throttled": 0})


@pytest.mark.parametrize(
    ("health", "waited", "is_reported"),
    [
        (IDLE, CUT_AFTER, True),
        (IDLE, CUT_AFTER - 1, False),
        (EndpointHealth(in_queue=1, workers={"throttled": 1}), CUT_AFTER, False),
        (EndpointHealth(in_queue=1, workers={"initializing": 1}), CUT_AFTER, False),
        (EndpointHealth(in_queue=1), CUT_AFTER, False),
    ],
)
def test_an_endpoint_is_reported_if_requests_wait_and_it_has_no_worker_of_any_kind(
    health: EndpointHealth, waited: float, is_reported: bool
) -> None:
    keys = found(health={"ep-1": health}, waiting_since={"ep-1": NOW - waited})
    assert keys == ([("no workers", "ep-1")] if is_reported else [])


def test_an_endpoint_without_workers_is_reported_with_what_to_do() -> None:
    seen = Standing(plan=Plan(), health={"ep-1": IDLE}, waiting_since={"ep-1": NOW - 720})
    assert text(*conditions(seen, NOW)) == (
        "*Endpoints without any worker, at which requests wait*\n"
        "• endpoint ep-1: a request has waited for 12 min, and RunPod shows no worker in any state; "
        "RunPod may have set its maximum to 0: run `bridge doctor`, which checks it"
    )


def test_a_request_waits_from_when_runpod_accepted_it_until_its_worker_starts() -> None:
    submissions = [
        a_submission(1, since=NOW - 30),
        a_submission(2, since=NOW - 50),
        a_submission(3, since=NOW - 40),
        a_submission(4, State.STARTED, since=NOW - 99),
        a_submission(5, since=NOW - 20, endpoint="ep-2"),
        a_submission(6, State.STARTED, endpoint="ep-3"),
    ]
    assert waiting_since(submissions) == {"ep-1": NOW - 50, "ep-2": NOW - 20}


def test_an_endpoint_at_which_nothing_waits_or_whose_health_is_unknown_is_not_reported() -> None:
    assert found(health={"ep-1": IDLE}) == []
    assert found(waiting_since={"ep-1": NOW - CUT_AFTER}) == []


@pytest.mark.parametrize(
    ("spent", "kind"),
    [(7.99, None), (8.0, "budget warning"), (9.99, "budget warning"), (10.0, "budget reached"), (12, "budget reached")],
)
def test_a_budget_is_reported_at_80_and_at_100_percent(spent: float, kind: str | None) -> None:
    about = "budget of route gpu, 2027-01-15"
    assert found(budgets=[a_budget("gpu", spent)]) == ([(kind, about)] if kind else [])


def test_a_budget_is_reported_again_on_the_next_day() -> None:
    today, tomorrow = a_budget("gpu", 10), replace(a_budget("gpu", 10), resets_at=MIDNIGHT + 2 * DAY)
    before = {each.key: NOW for each in conditions(Standing(plan=Plan(), budgets=[today]), NOW)}
    after = conditions(Standing(plan=Plan(), budgets=[tomorrow]), NOW)
    assert notices(before, conditions(Standing(plan=Plan(), budgets=[today]), NOW), NOW).messages == ()
    assert len(notices(before, after, NOW).messages) == 1


def test_budgets_of_one_kind_are_one_message() -> None:
    budgets = [a_budget(name, spent) for name, spent in (("a", 10), ("b", 8), ("c", 10))]
    after = conditions(Standing(plan=Plan(), budgets=budgets), NOW)
    messages = notices({}, after, NOW).messages
    assert [[each.about[16] for each in message.conditions] for message in messages] == [["b"], ["a", "c"]]
    assert "• budget of route a: 10.00 of 10.00 USD used today (UTC)" in slack_text(messages[1])


def test_a_condition_that_lasts_is_reported_once() -> None:
    lasting = a_condition()
    for age in (1.0, QUIET - 1, 100 * QUIET):
        decided = notices({lasting.key: NOW - age}, [lasting], NOW)
        assert (decided.messages, decided.ended) == ((), ())


def test_a_condition_that_has_ended_is_reported_again_after_an_hour_at_the_earliest() -> None:
    key = a_condition().key
    assert notices({key: NOW - QUIET + 1}, [], NOW).ended == ()
    assert notices({key: NOW - QUIET}, [], NOW).ended == (key,)


def test_there_are_few_messages_in_an_hour_and_the_others_come_later() -> None:
    reported = {("given up", str(number)): NOW - 60 - number for number in range(MOST_PER_HOUR - 1)}
    after = [a_condition("x"), a_condition("ep-1", NoticeKind.BREAKER)]
    assert [each.kind for each in notices(reported, after, NOW).messages] == [NoticeKind.GIVEN_UP]
    assert len(notices(reported, after, NOW + QUIET).messages) == 2
    assert notices({**reported, ("given up", "y"): NOW}, after, NOW).messages == ()


def test_conditions_of_one_message_count_as_one() -> None:
    together = {("given up", str(number)): NOW - 60 for number in range(500)}
    assert len(notices(together, [a_condition("x")], NOW).messages) == 1


def test_a_message_names_some_conditions_and_counts_the_others() -> None:
    told = text(*(a_condition(str(number), subject=f"job {number}") for number in range(500)))
    assert told.count("\n• ") == MOST_LINES
    assert told.endswith(f"\nand {500 - MOST_LINES} more")
    assert text(a_condition()).count("\n") == 1


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("<!channel>", "&lt;!channel&gt;"),
        ("<https://evil.example|log in>", "&lt;https://evil.example|log in&gt;"),
        ("a & b", "a &amp; b"),
        ("@all @here", "@\u200ball @\u200bhere"),
        ("two\nlines\t* more", "two lines * more"),
    ],
)
def test_a_hostile_name_is_no_markup(name: str, shown: str) -> None:
    assert f"• job {shown}: it waits" in text(a_condition(subject=f"job {name}"))
    assert f"• {shown}" in text(a_condition(what=name))


def test_a_long_name_is_cut() -> None:
    assert text(a_condition(what="x" * 300)).endswith("• " + "x" * 200 + "...")


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "http://github.com/x", "https://a/|x", "https://a/> <!all", "https://a/ b", "", None]
)
def test_a_suspicious_address_is_no_link(url: str | None) -> None:
    assert text(a_condition(subject="job 1", url=url)).endswith("• job 1: it waits")


def test_an_address_may_have_any_letter() -> None:
    url = "https://github.com/X/Xx/actions/runs/1/job/7"
    assert text(a_condition(subject="job 7", url=url)).endswith(f"• <{url}|job 7>: it waits")


def test_an_address_with_an_ampersand_is_a_link() -> None:
    assert "<https://a/?x=1&amp;y=2|job 1>" in text(a_condition(subject="job 1", url="https://a/?x=1&y=2"))


def test_a_message_counts_for_one_hour() -> None:
    reported = {("given up", str(number)): NOW - QUIET - number / 100 for number in range(MOST_PER_HOUR)}
    assert len(notices(reported, [a_condition("x")], NOW).messages) == 1


def test_a_message_of_an_hour_ago_counts_no_more() -> None:
    reported = {("given up", str(number)): NOW - number for number in range(MOST_PER_HOUR - 1)}
    reported["given up", "y"] = NOW - QUIET
    assert len(notices(reported, [a_condition("x")], NOW).messages) == 1

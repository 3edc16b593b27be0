"""Why a job has waited so far: a reason is kept when its kind or its route changes."""

from typing import Any

import pytest

from bridge.core.actions import Claim, Plan, Skip, SkipKind
from bridge.core.history import JobRecord, SubmissionRecord, Wait
from bridge.core.model import JobStatus
from bridge.core.pauses import LONGEST_TEXT, Pause, cause_of, one_line
from bridge.core.plan import plan
from bridge.core.snapshot import Refusal
from bridge.core.steps import steps_of
from bridge.core.submissions import Pool, Streak
from bridge.core.waits import LASTS, is_new, to_keep, waits_of
from tests.support.values import NOW, ORG, a_job, a_route, a_snapshot, a_submission


def a_wait(kind: SkipKind = SkipKind.ROUTE_FULL, **given: Any) -> Wait:
    return Wait(**{"at": NOW, "kind": kind, "why": "it is full", "route": "gpu", **given})


def test_each_job_of_a_plan_waits_for_its_reason_or_for_the_runner_that_is_requested_now() -> None:
    claim = Claim(pool=Pool("gpu", ORG), job_id=1, name="runpod-1-1", generation=1, endpoint="ep-1")
    skip = Skip(job_id=2, kind=SkipKind.NO_ROUTE, why="no route")
    full = Skip(job_id=3, kind=SkipKind.ROUTE_FULL, why="it is full", route="gpu")
    assert waits_of(Plan(claims=(claim,), skips=(skip, full)), {}, NOW) == {
        3: a_wait(),
        1: a_wait(SkipKind.REQUESTED, why="asking for runner runpod-1-1"),
        2: a_wait(SkipKind.NO_ROUTE, why="no route", route=None),
    }


@pytest.mark.parametrize(
    "given",
    [
        {"refusals": {"endpoint ep-1": Refusal(at=NOW, until=NOW + 9, count=1, why="401")}},
        {"streaks": {"ep-1": Streak(failures=3, first=NOW - 9, last=NOW - 1, reason="crashed")}},
    ],
)
def test_a_countdown_is_no_part_of_what_is_kept(given: dict[str, Any]) -> None:
    decided = plan(a_snapshot(jobs=(a_job(1),), **given), NOW)
    assert "; next try in " in decided.skips[0].why
    assert "next try" not in waits_of(decided, {}, NOW)[1].why


@pytest.mark.parametrize(("due", "kept"), [("", "it is full; "), ("next try in 9 s", "it is full")])
def test_a_reason_without_a_countdown_is_kept_as_it_is(due: str, kept: str) -> None:
    full = Skip(job_id=1, kind=SkipKind.ROUTE_FULL, why=f"it is full; {due}", due=due)
    assert waits_of(Plan(skips=(full,)), {}, NOW)[1].why == kept


def test_a_reason_is_kept_when_its_kind_or_its_route_changes() -> None:
    last = a_wait()
    assert not is_new(a_wait(why="another text"), last)
    assert is_new(a_wait(route="large"), last)
    assert is_new(a_wait(SkipKind.PAUSED), last)
    assert is_new(a_wait(SkipKind.REQUESTED), last), "it ends the reason before"


def test_a_job_that_gets_its_runner_at_once_leaves_no_row() -> None:
    assert not is_new(a_wait(SkipKind.REQUESTED), None)
    assert is_new(a_wait(SkipKind.ROUTE_FULL), None)


def test_only_what_may_be_new_since_the_last_pass_is_looked_up() -> None:
    full, paused, requested = a_wait(), a_wait(SkipKind.PAUSED), a_wait(SkipKind.REQUESTED)
    waits = {1: full, 2: paused, 3: full, 4: requested, 5: requested}
    assert to_keep(waits, {1: full, 2: full, 5: full}, NOW) == {2: paused, 3: full, 5: requested}


@pytest.mark.parametrize("kind", [SkipKind.ORIGIN_UNKNOWN, SkipKind.ENDED_UNSEEN, SkipKind.RUNNERS_UNKNOWN])
def test_what_usually_ends_with_the_next_pass_is_kept_only_if_it_lasts(kind: SkipKind) -> None:
    plan_ = Plan(skips=(Skip(job_id=1, kind=kind, why="it is not known yet"),))
    first = waits_of(plan_, {}, NOW)
    assert to_keep(first, {}, NOW) == {}
    later = waits_of(plan_, first, NOW + LASTS)
    assert later[1].at == NOW
    assert to_keep(later, first, NOW + LASTS) == later


# --- as steps of a story ---


def told(*waits: Wait, **job: Any) -> list[str]:
    record = JobRecord(job=a_job(1, created_at=NOW - 5, **job), waits=waits)
    return [step.what for step in steps_of(record, "gpu", None, NOW + 5000)]


def test_the_timeline_says_why_a_job_was_held_back_and_for_how_long() -> None:
    waits = (
        a_wait(),
        a_wait(SkipKind.REQUESTED, at=NOW + 720),
        a_wait(SkipKind.NO_CAPACITY, at=NOW + 730, why="no capacity"),
    )
    running = {"status": JobStatus.IN_PROGRESS, "started_at": NOW + 790, "runner_name": "runpod-1-1"}
    assert told(*waits, **running)[1:] == [
        "held back 12 min: it is full",
        "waited 60 s: no capacity",
        "GitHub gave it to runner runpod-1-1",
    ]


@pytest.mark.parametrize(("after", "said"), [(60.0, "60 s"), (0.0, "0.0 s")])
def test_a_job_is_held_back_until_a_runner_is_requested_for_it(after: float, said: str) -> None:
    runner = SubmissionRecord(submission=a_submission(1, created_at=NOW + after))
    record = JobRecord(job=a_job(1, created_at=NOW - 5), waits=(a_wait(),), submissions=(runner,))
    assert f"held back {said}: it is full" in [step.what for step in steps_of(record, "gpu", None, NOW + 5000)]


def test_a_reason_that_lasts_has_no_duration_of_its_own() -> None:
    assert told(a_wait(), started_at=NOW - 5)[1:] == ["held back: it is full"]


def test_a_job_that_was_cancelled_while_it_waited_stopped_waiting_then() -> None:
    ended = {"status": JobStatus.COMPLETED, "conclusion": "cancelled", "completed_at": NOW + 30}
    assert told(a_wait(), **ended)[1] == "held back 30 s: it is full"


def test_the_clocks_of_github_and_of_the_bridge_may_differ() -> None:
    ended = {"status": JobStatus.COMPLETED, "conclusion": "cancelled", "completed_at": NOW - 1}
    assert "held back: it is full" in told(a_wait(), **ended)


# --- pauses ---


def test_a_paused_route_gets_no_new_request_and_says_who_paused_it() -> None:
    pause = Pause(route="gpu", at=NOW - 120, by="anna", reason="new image")
    snapshot = a_snapshot(jobs=(a_job(1), a_job(2)), submissions=(a_submission(1),), pauses={"gpu": pause})
    decided = plan(snapshot, NOW)
    assert not decided.claims
    assert not decided.withdrawals
    assert [(s.job_id, s.kind) for s in decided.skips] == [(1, SkipKind.REQUESTED), (2, SkipKind.PAUSED)]
    assert decided.skips[1].why == "route gpu is paused by anna: new image; it was paused 2 min ago"


def test_other_routes_go_on() -> None:
    routes = (a_route(), a_route(name="cpu", labels=("cpu",), endpoint="ep-2"))
    jobs = (a_job(1), a_job(2, labels=("cpu",)))
    pause = Pause(route="gpu", at=NOW, by="anna")
    decided = plan(a_snapshot(jobs=jobs, routes=routes, pauses={"gpu": pause}), NOW)
    assert [claim.job_id for claim in decided.claims] == [2]
    assert "is paused by anna;" in decided.skips[0].why


def test_two_paused_routes_are_both_named() -> None:
    routes = (a_route(), a_route(name="cpu", labels=("cpu",), endpoint="ep-2"))
    pauses = {name: Pause(route=name, at=NOW, by="anna") for name in ("gpu", "cpu")}
    decided = plan(a_snapshot(jobs=(a_job(1), a_job(2, labels=("cpu",))), routes=routes, pauses=pauses), NOW)
    assert sorted((skip.job_id, skip.route) for skip in decided.skips) == [(1, "gpu"), (2, "cpu")]


def test_a_pause_says_its_minutes_and_the_reason_is_one_short_line() -> None:
    assert cause_of(Pause(route="gpu", at=NOW - 3600, by="anna"), NOW).due == "it was paused 60 min ago"
    assert one_line(" new\n image\t") == "new image"
    assert one_line("x" * 999) == "x" * LONGEST_TEXT


def test_a_reason_lasts_until_the_next_one_or_until_the_job_ends_without_a_runner() -> None:
    waits = (a_wait(), a_wait(SkipKind.PAUSED, at=NOW + 60), a_wait(at=NOW + 3000))
    ended = {"status": JobStatus.COMPLETED, "conclusion": "cancelled", "completed_at": NOW + 3030}
    lasted = [what.partition(":")[0] for what in told(*waits, **ended, started_at=NOW - 5)[1:4]]
    assert lasted == ["held back 60 s", "held back 49 min", "held back 30 s"]

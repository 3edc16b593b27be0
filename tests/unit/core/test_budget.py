"""A budget holds new requests when it is used up, says so, and can be raised for a while."""

from typing import Any

import pytest

from bridge.core.actions import SkipKind
from bridge.core.budget import ALL, Budget, Raise, Spent, budgets, held, warnings_of
from bridge.core.cost import DAY, midnight
from bridge.core.endpoint_names import NO_NAMES
from bridge.core.plan import plan
from bridge.core.prices import ANY, PriceReading
from bridge.core.submissions import Pool, State
from tests.support.values import NOW, a_job, a_route, a_snapshot, a_submission, its_runner

ROUTE = a_route()
PRICES = {"ep-1": [PriceReading(at=NOW - DAY, read_at=NOW, usd_per_hour={ANY: 3600.0})]}
"""One USD for each second."""


def a_budget(**given: Any) -> Budget:
    defaults = {"route": ALL, "configured": 10.0, "used": 0.0, "resets_at": midnight(NOW) + DAY}
    return Budget(**{**defaults, **given})


def found(*spent: Spent, usd: float | None = 10.0, **given: Any) -> tuple[Budget, ...]:
    routes, raises = given.pop("routes", (ROUTE,)), given.pop("raises", ())
    return budgets(usd, routes, spent=spent, prices=given.pop("prices", PRICES), raises=raises, now=NOW)


def spent(seconds: float, route: str = "gpu", endpoint: str = "ep-1") -> Spent:
    return Spent(route=route, endpoint=endpoint, gpu_type=None, seconds=seconds)


def test_a_budget_that_is_not_used_up_allows_requests() -> None:
    (budget,) = found(spent(9.99))
    assert budget.used == pytest.approx(9.99)
    assert held([budget], ROUTE, NO_NAMES) is None


def test_a_budget_that_is_used_up_says_how_much_when_it_resets_and_how_to_raise_it() -> None:
    cause = held(found(spent(4.0), spent(6.0)), ROUTE, NO_NAMES)
    assert cause is not None
    assert cause.why == (
        "budget: 10.00 of 10.00 USD used today; it resets at 00:00 UTC; raise it with `bridge budget --raise USD`"
    )


def test_the_budget_of_a_route_holds_only_that_route() -> None:
    a100 = a_route(name="a100", usd_per_day=5.0)
    both = found(spent(6.0, route="a100"), routes=(ROUTE, a100))
    assert [(budget.route, budget.used) for budget in both] == [(ALL, 6.0), ("a100", 6.0)]
    assert held(both, ROUTE, NO_NAMES) is None
    cause = held(both, a100, NO_NAMES)
    assert cause is not None
    assert cause.kind is SkipKind.BUDGET
    assert cause.why.startswith("budget of route a100: 6.00 of 5.00 USD used today")
    assert "--route a100" in cause.why


def test_a_raise_never_lowers_a_budget_that_was_configured_higher_since() -> None:
    raised = Raise(route=ALL, usd=20.0, until=NOW + 60, by="ann@host", at=NOW - 20)
    (budget,) = found(spent(30.0), usd=50.0, raises=(raised,))
    assert (budget.usd, held([budget], ROUTE, NO_NAMES)) == (50.0, None)


def test_without_a_budget_there_is_nothing_to_hold() -> None:
    assert found(spent(1e9), usd=None) == ()


def test_a_raise_counts_until_its_time_and_the_newest_one_wins() -> None:
    first = Raise(route=ALL, usd=50.0, until=NOW + 60, by="ann@host", at=NOW - 20)
    newer = Raise(route=ALL, usd=20.0, until=NOW + 60, by="ben@host", at=NOW - 10)
    over = Raise(route=ALL, usd=99.0, until=NOW, by="ann@host", at=NOW - 5)
    (budget,) = found(spent(15.0), raises=(newer, first, over))
    assert (budget.usd, budget.raised) == (20.0, newer)
    assert held([budget], ROUTE, NO_NAMES) is None


def test_an_endpoint_without_a_price_gets_no_request_under_a_budget() -> None:
    cause = held(found(prices={}), ROUTE, NO_NAMES)
    assert cause is not None
    assert cause.kind is SkipKind.NO_PRICE
    assert cause.why == (
        "budget: the price of endpoint ep-1 is not known; set `usd_per_hour` in route gpu, "
        "or run a pass with RUNPOD_MANAGEMENT_API_KEY"
    )
    other = a_route(name="cpu", endpoint="ep-2", usd_per_day=1.0)
    assert held(found(usd=None, routes=(ROUTE, other)), ROUTE, NO_NAMES) is None, "only under a budget"


def test_the_bridge_warns_at_80_percent_and_at_all_of_a_budget() -> None:
    assert list(warnings_of([a_budget(used=7.9)])) == []
    (warning,) = warnings_of([a_budget(used=8.0)])
    assert warning == "budget: 80% of its 10.00 USD of 2027-01-15 (UTC) is used; new requests wait when all of it is"
    assert list(warnings_of([a_budget(used=8.5)])) == [warning], "the same line, so that it is logged once"
    (warning,) = warnings_of([a_budget(used=10.0, route="gpu")])
    assert warning.startswith("budget of route gpu: all of its 10.00 USD")


def test_a_plan_holds_new_requests_and_touches_nothing_that_runs() -> None:
    running = a_submission(1, State.BUSY, held_job_id=1)
    reached = (a_budget(used=11.0),)
    snapshot = a_snapshot(jobs=(a_job(2),), submissions=(running,), budgets=reached)
    planned = plan(snapshot, NOW)
    assert planned.claims == ()
    assert planned.withdrawals == ()
    (skip,) = planned.skips
    assert skip.why.startswith("budget: 11.00 of 10.00 USD used today")
    assert skip.route == "gpu"
    assert planned.warnings == tuple(warnings_of(reached))
    assert len(plan(a_snapshot(jobs=(a_job(2),), submissions=(running,)), NOW).claims) == 1


def test_under_a_budget_no_idle_runner_makes_way_for_a_job_that_must_wait_anyway() -> None:
    """At `max_workers` one pool's idle runner is withdrawn for another pool's job; that would be for nothing here."""
    idle = a_submission(1, State.STARTED, since=NOW - 250, started_at=NOW - 250, pool=Pool("gpu", "repos/acme/a"))
    waits = a_job(2, repository="acme/b", created_at=NOW - 900)
    given = {
        "organisation": None,
        "routes": (a_route(max_workers=1),),
        "jobs": (waits,),
        "submissions": (idle,),
        "runners": {"repos/acme/a": (its_runner(idle),), "repos/acme/b": ()},
    }
    free, held_back = a_snapshot(**given), a_snapshot(**given, budgets=(a_budget(used=11.0),))
    assert [skip.why for skip in plan(free, NOW).skips] == ["route gpu has reached its max_workers of 1"]
    assert [each.submission.id for each in plan(free, NOW).withdrawals] == [idle.id]
    assert plan(held_back, NOW).withdrawals == ()
    (skip,) = plan(held_back, NOW).skips
    assert skip.why.startswith("budget: ")


def test_a_budget_of_which_nothing_is_used_starts_at_zero_and_ends_at_midnight() -> None:
    (budget,) = found()
    assert budget.used == 0
    assert budget.resets_at == midnight(NOW) + DAY


def test_the_price_of_the_gpu_type_of_the_worker_counts() -> None:
    prices = {"ep-1": [PriceReading(at=NOW - DAY, read_at=NOW, usd_per_hour={"cheap": 36.0, "expensive": 3600.0})]}
    of_cheap = Spent(route="gpu", endpoint="ep-1", gpu_type="cheap", seconds=100.0)
    (budget,) = found(of_cheap, prices=prices)
    assert budget.used == pytest.approx(1)


def test_what_has_no_known_price_is_not_counted_as_used() -> None:
    (budget,) = found(spent(3600.0, endpoint="ep-9"))
    assert budget.used == 0

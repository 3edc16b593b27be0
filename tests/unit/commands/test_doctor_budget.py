"""`bridge doctor` says whether a budget is used up, and which price is missing."""

from bridge.commands.doctor.budget import budget_check, price_checks
from bridge.commands.doctor.check import Status
from bridge.core.budget import Budget
from bridge.core.endpoint_names import NO_NAMES
from tests.support.values import NOW, a_route

GPU, CPU = a_route(), a_route(name="cpu", endpoint="ep-2")


def a_budget(used: float = 1.0, route: str = "", without: frozenset[str] = frozenset()) -> Budget:
    return Budget(route=route, configured=4.0, used=used, resets_at=NOW, without_price=without)


def test_a_budget_says_how_much_is_used_and_warns_when_it_is_used_up() -> None:
    assert budget_check(a_budget()).status is Status.OK
    used = budget_check(a_budget(4.0, "gpu"))
    assert (used.status, used.subject) == (Status.WARNING, "gpu")
    assert used.evidence == "4.00 of 4.00 USD are used today (UTC): new jobs wait"


def test_a_route_without_a_price_is_named_once() -> None:
    both = [a_budget(without=frozenset({"ep-1"})), a_budget(route="gpu", without=frozenset({"ep-1"}))]
    (found,) = price_checks(both, (GPU, CPU), NO_NAMES, has_key=False)
    assert (found.status, found.subject) == (Status.FAILED, "gpu")
    assert "RUNPOD_MANAGEMENT_API_KEY" in (found.fix or "")


def test_a_missing_price_is_of_an_endpoint_by_its_name() -> None:
    both = a_route(endpoints=("ep-1", "ep-2"))
    (found,) = price_checks([a_budget(without=frozenset({"ep-1", "ep-2"}))], (both,), {"ep-1": "l4"}, has_key=True)
    assert found.evidence == "the price of endpoints ep-2, l4 is not known"


def test_a_price_that_the_service_will_read_is_no_failure() -> None:
    (found,) = price_checks([a_budget(without=frozenset({"ep-2"}))], (GPU, CPU), NO_NAMES, has_key=True)
    assert (found.status, found.subject) == (Status.WARNING, "cpu")


def test_the_budget_of_one_route_asks_for_no_other_price() -> None:
    assert price_checks([a_budget(route="gpu", without=frozenset())], (GPU, CPU), NO_NAMES, has_key=False) == []

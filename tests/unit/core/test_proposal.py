"""The endpoints that `bridge setup` proposes: which pools, under what name, with how many workers."""

from typing import Any

import pytest

from bridge.core.catalog import Offer
from bridge.core.endpoints import MARK, Cpu, Endpoint, EndpointSettings
from bridge.core.proposal import (
    Account,
    Pool,
    Proposal,
    ProposedEndpoint,
    Wish,
    fitting,
    free_name,
    pools,
    propose,
    shares,
)

QUOTA_UNKNOWN = "your worker quota is unknown: `bridge endpoints plan` shows whether the endpoints fit"


def gpu(pool: str | None, memory: float | None, price: float | None, stock: str | None = "HIGH") -> Offer:
    return Offer(id=f"type of {pool}", pool=pool, price=price, memory_gb=memory, stock=stock)


A16, A24, ADA24 = gpu("AMPERE_16", 16, 0.58), gpu("AMPERE_24", 24, 0.68), gpu("ADA_24", 24, 1.12)
A80 = gpu("AMPERE_80", 80, 2.74)
CPUS = (gpu("cpu5c", 2, 0.04), gpu("cpu3c", 2, 0.03), gpu("cpu3g", 4, 0.04))


def mark(name: str) -> str:
    return f"acme/runpod/{name}"


def there(name: str, *, workers_max: int = 3, marked: str = "") -> Endpoint:
    env = {MARK: marked} if marked else {}
    settings = EndpointSettings(name=name, image="runner:1", gpu=("ADA_24",), workers_max=workers_max, env=env)
    return Endpoint(id=f"id of {name}", created_at="", settings=settings)


def proposed(wish: Wish | None = None, *gpus: Offer, **account: Any) -> Proposal:
    """A proposal for an account with all pools, no endpoints and much quota, except what is given."""
    all_: dict[str, Any] = {"gpus": gpus or (A80, ADA24, A24, A16), "cpus": CPUS, "endpoints": (), "quota": 100}
    return propose(wish or Wish(memory_gb=16), Account(**{**all_, **account}), mark)


def ids(found: tuple[Pool, ...]) -> list[str]:
    return [pool.id for pool in found]


def test_pools_are_listed_cheapest_first() -> None:
    assert ids(pools((A80, ADA24, A24, A16))) == ["AMPERE_16", "AMPERE_24", "ADA_24", "AMPERE_80"]


def test_a_pool_of_unknown_price_comes_last() -> None:
    found = pools((gpu("NEW_16", 16, None), A80))
    assert ids(found) == ["AMPERE_80", "NEW_16"]
    assert found[1].stock.price is None


def test_of_two_pools_of_one_price_the_one_with_less_memory_comes_first_and_unknown_memory_last() -> None:
    same = (gpu("A", None, 1.0), gpu("B", 48, 1.0), gpu("D", 24, 1.0), gpu("C", 24, 1.0))
    assert ids(pools(same)) == ["C", "D", "B", "A"]


def test_gpus_that_serverless_does_not_offer_are_left_out() -> None:
    assert ids(pools((gpu(None, 192, None), A16))) == ["AMPERE_16"]


def test_a_pool_costs_what_its_most_expensive_type_costs() -> None:
    mixed = (gpu("MIXED", 24, 0.1), gpu("MIXED", 24, 0.7))
    found = pools((*mixed, A24))
    assert ids(found) == ["AMPERE_24", "MIXED"]
    assert found[1].stock.price == (0.1, 0.7)


def test_a_pool_has_the_memory_of_its_smallest_type() -> None:
    (found,) = pools((gpu("MIXED", 48, 1.0), gpu("MIXED", 24, 1.0)))
    assert found.memory_gb == 24
    (unknown,) = pools((gpu("MIXED", 48, 1.0), gpu("MIXED", None, 1.0)))
    assert unknown.memory_gb is None


@pytest.mark.parametrize(("level", "available"), [("NONE", False), ("LOW", True), ("HIGH", True), (None, False)])
def test_a_pool_is_available_if_runpod_reports_stock(level: str | None, available: bool) -> None:
    (found,) = pools((gpu("A", 16, 1.0, level),))
    assert found.available is available


def test_a_pool_fits_with_exactly_the_memory() -> None:
    assert ids(fitting(pools((A16, A24, A80, gpu("UNKNOWN", None, 0.1))), 24)) == ["AMPERE_24", "AMPERE_80"]


def test_the_cheapest_pool_that_fits_is_proposed_with_the_next_one_for_capacity() -> None:
    assert proposed(Wish(memory_gb=20)) == Proposal(
        endpoints=(ProposedEndpoint(name="gpu", gpu=("AMPERE_24", "ADA_24"), workers_max=3),)
    )


def test_a_pool_without_stock_is_passed_over() -> None:
    found = proposed(None, A16, gpu("AMPERE_24", 24, 0.68, "NONE"), A80)
    assert found.endpoints[0].gpu == ("AMPERE_16", "AMPERE_80")
    assert found.notes == ()


def test_without_any_stock_the_cheapest_is_proposed_with_a_warning() -> None:
    found = proposed(None, gpu("AMPERE_24", 24, 0.68, "NONE"), gpu("AMPERE_16", 16, 0.58, "NONE"))
    assert found.endpoints[0].gpu == ("AMPERE_16",)
    assert found.notes == ("RunPod has no AMPERE_16 today: jobs wait until it has",)


def test_pools_that_are_named_are_taken_in_that_order_whatever_their_memory() -> None:
    found = proposed(Wish(memory_gb=80, gpu=("ADA_24", "AMPERE_16", "ADA_24", "AMPERE_80")))
    assert found.endpoints[0].gpu == ("ADA_24", "AMPERE_16", "AMPERE_80")


def test_named_pools_without_stock_are_taken_with_a_warning_only_if_all_have_none() -> None:
    empty = (gpu("A", 16, 1.0, "NONE"), gpu("B", 16, 2.0, "NONE"))
    found = proposed(Wish(memory_gb=16, gpu=("B", "A")), *empty)
    assert found.endpoints[0].gpu == ("B", "A")
    assert found.notes == ("RunPod has no B, A today: jobs wait until it has",)
    assert proposed(Wish(memory_gb=16, gpu=("B", "AMPERE_16")), *empty, A16).notes == ()


def test_a_pool_that_does_not_exist_is_named() -> None:
    found = proposed(Wish(memory_gb=16, gpu=("AMPERE_16", "ADA_25", "X")), A24, A16)
    assert found == Proposal(problem="RunPod has no GPU pool ADA_25; it has AMPERE_16, AMPERE_24")
    none = proposed(Wish(memory_gb=16, gpu=("X",)), gpu(None, 16, 1.0))
    assert none.problem == "RunPod has no GPU pool X; it has none"


def test_more_memory_than_any_pool_has_is_a_problem() -> None:
    found = proposed(Wish(memory_gb=81), A80, A16, gpu("UNKNOWN", None, 1.0))
    assert found == Proposal(
        problem="no GPU pool has 81 GB of memory, the largest has 80 GB; ask for less, or name the pools"
    )
    unknown = proposed(None, gpu("UNKNOWN", None, 1.0))
    assert unknown.problem == (
        "no GPU pool has 16 GB of memory, RunPod reports no memory of any; ask for less, or name the pools"
    )


def test_a_cpu_endpoint_uses_the_cheapest_flavor_with_two_vcpus() -> None:
    assert proposed(Wish(memory_gb=16, cpu=True)) == Proposal(
        endpoints=(
            ProposedEndpoint(name="gpu", gpu=("AMPERE_16", "AMPERE_24"), workers_max=3),
            ProposedEndpoint(name="cpu", cpu=Cpu(flavor="cpu3c", vcpus=2), workers_max=3),
        )
    )


def test_cpu_flavors_without_stock_and_without_any_offer_are_told() -> None:
    wish = Wish(memory_gb=16, cpu=True)
    found = proposed(wish, cpus=(gpu("cpu3c", 2, 0.03, "NONE"),))
    assert found.notes == ("RunPod has no cpu3c today: jobs wait until it has",)
    assert proposed(wish, cpus=()) == Proposal(problem="RunPod offers no CPU flavor")
    assert proposed(cpus=()).problem is None


def test_an_endpoint_of_ours_keeps_its_name_and_one_of_others_is_avoided() -> None:
    ours, foreign = there("gpu", marked="acme/runpod/gpu"), there("gpu")
    assert free_name("gpu", (there("other"),), mark) == "gpu"
    assert free_name("gpu", (ours,), mark) == "gpu"
    assert free_name("gpu", (foreign,), mark) == "gpu-2"
    assert free_name("gpu", (there("gpu", marked="acme/runpod/cpu"),), mark) == "gpu-2"
    assert free_name("gpu", (foreign, there("gpu-2")), mark) == "gpu-3"


def test_a_name_that_two_endpoints_have_is_avoided_even_if_they_are_ours() -> None:
    ours = there("gpu", marked="acme/runpod/gpu")
    assert free_name("gpu", (ours, ours), mark) == "gpu-2"
    assert free_name("gpu", (ours, there("gpu")), mark) == "gpu-2"


def test_the_names_of_a_proposal_are_free() -> None:
    found = proposed(Wish(memory_gb=16, cpu=True), endpoints=(there("gpu"), there("cpu")))
    assert [endpoint.name for endpoint in found.endpoints] == ["gpu-2", "cpu-2"]


@pytest.mark.parametrize(
    ("endpoints", "free", "workers"),
    [
        (1, None, (3,)),
        (2, None, (3, 3)),
        (1, 9, (3,)),
        (1, 2, (2,)),
        (1, 0, (1,)),
        (1, -4, (1,)),
        (2, 6, (3, 3)),
        (2, 5, (3, 2)),
        (2, 3, (2, 1)),
        (2, 1, (1, 1)),
    ],
)
def test_the_quota_is_shared_equally(endpoints: int, free: int | None, workers: tuple[int, ...]) -> None:
    assert shares(endpoints, free) == workers


def test_workers_are_lowered_to_what_the_quota_has_left() -> None:
    found = proposed(endpoints=(there("other", workers_max=3),), quota=5)
    assert found.endpoints[0].workers_max == 2
    assert found.notes == ("`workers_max` is lowered from 3: your worker quota leaves 2",)
    assert proposed(endpoints=(there("other", workers_max=2),), quota=5).notes == ()


def test_the_workers_of_an_endpoint_that_is_replaced_are_not_counted() -> None:
    ours = there("gpu", workers_max=5, marked="acme/runpod/gpu")
    found = proposed(endpoints=(ours,), quota=5)
    assert (found.endpoints[0].workers_max, found.notes) == (3, ())


@pytest.mark.parametrize(("used", "left"), [(5, 0), (7, 0)])
def test_a_quota_that_is_used_up_is_told(used: int, left: int) -> None:
    found = proposed(endpoints=(there("other", workers_max=used),), quota=5)
    assert found.endpoints[0].workers_max == 1
    assert found.notes == (f"your worker quota leaves {left} of the 1 needed: lower `workers_max` of other endpoints",)


def test_a_quota_of_which_one_endpoint_too_few_is_left_is_told() -> None:
    found = proposed(Wish(memory_gb=16, cpu=True), quota=1)
    assert [endpoint.workers_max for endpoint in found.endpoints] == [1, 1]
    assert found.notes == ("your worker quota leaves 1 of the 2 needed: lower `workers_max` of other endpoints",)


def test_two_endpoints_that_use_the_whole_quota_fit() -> None:
    found = proposed(Wish(memory_gb=16, cpu=True), quota=2)
    assert found.notes == ("`workers_max` is lowered from 3: your worker quota leaves 2",)


def test_an_unknown_quota_is_told() -> None:
    assert proposed(quota=None).notes == (QUOTA_UNKNOWN,)


def test_all_notes_come_in_one_order() -> None:
    empty = gpu("AMPERE_16", 16, 0.58, "NONE"), gpu("cpu3c", 2, 0.03, "NONE")
    found = proposed(Wish(memory_gb=16, cpu=True), empty[0], cpus=empty[1:], quota=None)
    assert found.notes == (
        "RunPod has no AMPERE_16 today: jobs wait until it has",
        "RunPod has no cpu3c today: jobs wait until it has",
        QUOTA_UNKNOWN,
    )

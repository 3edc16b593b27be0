"""Advice about a cheaper pool is given where the numbers support it, and only there."""

from collections.abc import Sequence
from typing import Any

import pytest

from bridge.core.catalog import Offer
from bridge.core.cost import Usage
from bridge.core.economy import advise
from bridge.core.endpoints import EndpointSettings
from tests.support.values import NOW

OFFERS = (
    Offer(id="NVIDIA RTX A4000", pool="AMPERE_16", price=0.58, memory_gb=16),
    Offer(id="NVIDIA L4", pool="AMPERE_24", price=0.68, memory_gb=24),
    Offer(id="NVIDIA RTX 3090", pool="AMPERE_24", price=0.70, memory_gb=24),
    Offer(id="NVIDIA A40", pool="AMPERE_48", price=1.22, memory_gb=48),
    Offer(id="NVIDIA A100", pool="AMPERE_80", price=2.8, memory_gb=80),
    Offer(id="NVIDIA of no price", pool="AMPERE_99", price=None, memory_gb=99),
)


def an_endpoint(*pools: str, **given: Any) -> EndpointSettings:
    return EndpointSettings(name="e", image="i", gpu=pools, **given)


def used(peaks: Sequence[int | None], **given: Any) -> list[Usage]:
    """Jobs with these peaks, in 10^6 bytes."""
    defaults = {"route": "a100", "endpoint": "ep-1", "created_at": NOW, "took_job": True}
    return [Usage(**{**defaults, **given, "peak_memory_mb": peak}) for peak in peaks]


def advice(usages: list[Usage], *pools: str, **given: Any) -> list[str]:
    return list(advise(usages, {"ep-1": an_endpoint(*(pools or ("AMPERE_80",)), **given)}, OFFERS))


def test_the_cheapest_pool_that_has_room_for_nearly_all_jobs_is_named_with_its_price() -> None:
    (line,) = advice(used([18_000] * 41 + [70_000] * 3))
    assert line == (
        "route a100: 41 of 44 jobs used at most 20 GB of GPU memory; "
        "pool AMPERE_24 has 24 GB and costs 25% of AMPERE_80"
    )


@pytest.mark.parametrize(
    ("usages", "pools", "given"),
    [
        (used([18_000] * 9), ("AMPERE_80",), {}),  # too few jobs
        (used([None] * 40), ("AMPERE_80",), {}),  # whose memory nobody told
        (used([18_000] * 8 + [70_000] * 4), ("AMPERE_80",), {}),  # some need the large GPU
        (used([18_000] * 40, took_job=False), ("AMPERE_80",), {}),  # runners without a job
        (used([1_000] * 40), ("AMPERE_16",), {}),  # nothing is cheaper
        (used([15_500] * 40), ("AMPERE_24",), {}),  # only without headroom
        (used([1_000] * 40), ("AMPERE_24",), {}),  # 83% is not worth it
        (used([1_000] * 40), ("AMPERE_80",), {"gpu_count": 2}),  # the peak is that of one GPU
        (used([1_000] * 40), ("A_POOL_THAT_IS_GONE",), {}),
        (used([1_000] * 40, endpoint="deleted"), ("AMPERE_80",), {}),
    ],
)
def test_nothing_is_advised_that_the_numbers_do_not_support(
    usages: list[Usage], pools: tuple[str, ...], given: dict[str, Any]
) -> None:
    assert advice(usages, *pools, **given) == []


def test_an_endpoint_of_several_pools_is_compared_at_its_most_expensive_one() -> None:
    (line,) = advice(used([30_000] * 20), "AMPERE_24", "AMPERE_80")
    assert "pool AMPERE_48 has 48 GB and costs 44% of AMPERE_80" in line
    (line,) = advice(used([18_000] * 20), "AMPERE_24", "AMPERE_80")
    assert "pool AMPERE_24 has 24 GB and costs 25% of AMPERE_80" in line, "it may use the others, too"


def test_a_cpu_endpoint_has_no_gpu_to_compare() -> None:
    assert list(advise(used([1_000] * 20), {"ep-1": EndpointSettings(name="e", image="i")}, OFFERS)) == []


def test_a_pool_is_named_if_it_just_meets_every_limit() -> None:
    offers = (
        Offer(id="small", pool="AMPERE_24", price=0.8, memory_gb=24),
        Offer(id="large", pool="AMPERE_80", price=1.0, memory_gb=80),
    )
    settings = {"ep-1": an_endpoint("AMPERE_80")}
    (line,) = advise(used([20_400] * 9 + [70_000]), settings, offers)
    assert "9 of 10 jobs" in line
    assert "costs 80%" in line
    assert list(advise(used([20_410] * 9 + [70_000]), settings, offers)) == [], "the jobs need a little more"

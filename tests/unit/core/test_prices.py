"""A price is that of one worker, with all its GPUs, and is kept with the time at which it was read."""

import pytest

from bridge.core.catalog import Offer
from bridge.core.cost import DAY
from bridge.core.endpoints import Cpu, EndpointSettings
from bridge.core.prices import ANY, PriceReading, PriceSource, due, price_at, with_settings, worker_prices
from tests.support.values import NOW

OFFERS = (
    Offer(id="NVIDIA L4", pool="AMPERE_24", price=0.68),
    Offer(id="NVIDIA RTX A5000", pool="AMPERE_24", price=0.7),
    Offer(id="NVIDIA A40", pool="AMPERE_48", price=1.2),
    Offer(id="NVIDIA A100", pool="AMPERE_80", price=None),
    Offer(id="NVIDIA V100", pool=None, price=0.2),
)


def test_a_worker_costs_the_price_of_its_gpu_times_their_number() -> None:
    settings = EndpointSettings(name="e", image="i", gpu=("AMPERE_24", "AMPERE_48"), gpu_count=2)
    assert worker_prices(settings, OFFERS) == pytest.approx(
        {"NVIDIA L4": 1.36, "NVIDIA RTX A5000": 1.4, "NVIDIA A40": 2.4}
    )


def test_an_excluded_type_and_a_type_without_a_price_have_none() -> None:
    settings = EndpointSettings(name="e", image="i", gpu=("AMPERE_24", "AMPERE_80"), exclude=("NVIDIA RTX A5000",))
    assert worker_prices(settings, OFFERS) == {"NVIDIA L4": 0.68}


@pytest.mark.parametrize("named", ["NVIDIA V100", "NVIDIA RTX A5000", "NVIDIA A40", "", None, "nvidia l4"])
def test_a_worker_cannot_lower_its_price_with_a_type_that_its_endpoint_does_not_offer(named: str | None) -> None:
    """The named ones are cheaper, excluded, or of another pool."""
    settings = EndpointSettings(name="e", image="i", gpu=("AMPERE_24", "ADA_48"), exclude=("NVIDIA RTX A5000",))
    offers = (*OFFERS, Offer(id="NVIDIA L40", pool="ADA_48", price=1.9))
    reading = PriceReading(at=NOW, read_at=NOW, usd_per_hour=worker_prices(settings, offers))
    assert price_at({"ep": [reading]}, "ep", NOW, named) == pytest.approx(1.9)
    assert price_at({"ep": [reading]}, "ep", NOW, "NVIDIA L4") == pytest.approx(0.68)


@pytest.mark.parametrize("usd", [0.0, -1.0, float("nan"), float("inf"), None])
def test_what_cannot_be_a_price_is_not_known(usd: float | None) -> None:
    settings = EndpointSettings(name="e", image="i", gpu=("AMPERE_24",))
    assert worker_prices(settings, [Offer(id="NVIDIA L4", pool="AMPERE_24", price=usd)]) == {}


def test_a_cpu_worker_costs_the_price_of_its_vcpus() -> None:
    settings = EndpointSettings(name="e", image="i", cpu=(Cpu(flavor="cpu3c", vcpus=4),))
    assert worker_prices(settings, [Offer(id="cpu3c", pool="cpu3c", price=0.05)]) == pytest.approx({"cpu3c": 0.2})


def test_the_price_of_the_configuration_counts_from_now_on() -> None:
    read = PriceReading(at=NOW - DAY, read_at=NOW, usd_per_hour={"NVIDIA L4": 0.68})
    prices = with_settings({"ep-1": [read]}, {"ep-1": 0.5, "ep-2": 2.0}, NOW)
    assert price_at(prices, "ep-1", NOW - 1) == 0.68
    assert price_at(prices, "ep-1", NOW, "NVIDIA L4") == 0.5
    assert price_at(prices, "ep-2", NOW - 1) == 2.0
    assert [reading.source for reading in prices["ep-1"]] == [PriceSource.CATALOG, PriceSource.SETTING]
    again = with_settings(prices, {"ep-1": 0.5, "ep-2": 2.0}, NOW + 1)
    assert again == prices, "the same setting is no new price"


def test_prices_are_due_once_a_day_and_after_a_setting_was_removed() -> None:
    old = PriceReading(at=NOW - 9 * DAY, read_at=NOW - DAY, usd_per_hour={"NVIDIA L4": 0.68})
    fresh = PriceReading(at=NOW - 9 * DAY, read_at=NOW - 60, usd_per_hour={"NVIDIA L4": 0.68})
    set_by_hand = PriceReading(at=NOW - 60, read_at=NOW - 60, usd_per_hour={ANY: 1.0}, source=PriceSource.SETTING)
    prices = {"old": [old], "fresh": [fresh], "by-hand": [fresh, set_by_hand]}
    assert due(prices, {"old", "fresh", "by-hand", "new"}, NOW, DAY) == ("by-hand", "new", "old")


def test_no_price_is_known_of_an_endpoint_that_was_never_read() -> None:
    assert price_at({}, "ep-1", NOW) is None
    assert price_at({"ep-1": []}, "ep-1", NOW) is None

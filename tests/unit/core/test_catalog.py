"""Other pools that an endpoint could use."""

from dataclasses import replace

from bridge.core.catalog import Offer, alternatives
from bridge.core.endpoints import Cpu, EndpointSettings

L4 = EndpointSettings(name="l4", image="runner:1", gpu=("AMPERE_24",))
OFFERS = (
    Offer(id="NVIDIA L4", pool="AMPERE_24", price=0.5, stock="HIGH", regions={"EU-RO-1": "HIGH"}),
    Offer(id="NVIDIA A40", pool="AMPERE_48", price=1.2, stock="LOW", regions={"US-KS-2": "LOW"}),
    Offer(id="NVIDIA B", pool="B", price=1.0, stock="LOW", regions={"EU-RO-1": "LOW", "US-KS-2": "NONE"}),
    Offer(id="NVIDIA A", pool="A", price=1.0, stock="MEDIUM", regions={"EU-RO-1": "MEDIUM"}),
    Offer(id="NVIDIA H200", pool="HOPPER_141", price=0.1, stock="NONE"),
    Offer(id="NVIDIA X", pool="X", price=None, stock="HIGH"),
    Offer(id="AMD", pool=None, price=0.1, stock="HIGH"),
)


def test_alternatives_are_the_other_pools_with_stock_cheapest_first() -> None:
    assert alternatives(L4, OFFERS) == ("A", "B", "AMPERE_48")


def test_only_stock_in_the_regions_of_the_endpoint_counts() -> None:
    assert alternatives(replace(L4, regions=("EU-RO-1",)), OFFERS) == ("A", "B")
    assert alternatives(replace(L4, regions=("US-KS-2",)), OFFERS) == ("AMPERE_48",)


def test_a_cpu_endpoint_gets_other_flavors() -> None:
    cpu = EndpointSettings(name="cpu", image="runner:1", cpu=(Cpu(flavor="cpu3c", vcpus=2),))
    flavors = [Offer(id=name, pool=name, price=0.1, stock="LOW") for name in ("cpu5c", "cpu3c")]
    assert alternatives(cpu, flavors) == ("cpu5c",)

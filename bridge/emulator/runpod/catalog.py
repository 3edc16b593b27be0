"""The catalog of the emulated RunPod: GPU types, CPU flavors and data centers, with invented stock.

Pools and prices: https://docs.runpod.io/serverless/pricing (flex price per second, here times 3600).
"""

from collections.abc import Mapping
from typing import Any

_GPUS = (  # id, pool, GB, USD per hour on serverless
    ("NVIDIA RTX A4000", "AMPERE_16", 16, 0.576),
    ("NVIDIA L4", "AMPERE_24", 24, 0.684),
    ("NVIDIA RTX A5000", "AMPERE_24", 24, 0.684),
    ("NVIDIA GeForce RTX 3090", "AMPERE_24", 24, 0.684),
    ("NVIDIA GeForce RTX 4090", "ADA_24", 24, 1.116),
    ("NVIDIA A40", "AMPERE_48", 48, 1.224),
    ("NVIDIA RTX A6000", "AMPERE_48", 48, 1.224),
    ("NVIDIA L40", "ADA_48_PRO", 48, 1.908),
    ("NVIDIA L40S", "ADA_48_PRO", 48, 1.908),
    ("NVIDIA A100 80GB PCIe", "AMPERE_80", 80, 2.736),
    ("NVIDIA H100 80GB HBM3", "ADA_80_PRO", 80, 4.176),
    ("NVIDIA H200", "HOPPER_141", 141, 5.58),
    ("NVIDIA B200", "BLACKWELL_180", 180, 8.64),
    ("AMD Instinct MI300X OAM", None, 192, None),
)
_CPUS = (("cpu3c", 2, 0.03), ("cpu3g", 4, 0.04), ("cpu5c", 2, 0.04), ("cpu5g", 4, 0.05))  # GB, USD per vCPU
_DATA_CENTERS = (
    ("EU-RO-1", "EUROPE"),
    ("EU-SE-1", "EUROPE"),
    ("US-KS-2", "NORTH_AMERICA"),
    ("US-TX-3", "NORTH_AMERICA"),
)
_CUDA = ("12.4", "12.6", "12.8")
_DISK_PER_VCPU = {"cpu3c": 10, "cpu3g": 10, "cpu5c": 15, "cpu5g": 15}
"""GB; RunPod's limit for a CPU worker, as its own tools have it."""


class Catalog:
    """What the account may choose from.

    Attributes:
        stock: by GPU type, pool or CPU flavor, the level in each data center; what is not in it is MEDIUM everywhere.
        cpu_regions: the data centers that offer CPU workers.
    """

    def __init__(self) -> None:
        self.stock: dict[str, Mapping[str, str]] = {}
        self.cpu_regions: tuple[str, ...] = ("EU-RO-1",)

    @property
    def pools(self) -> frozenset[str]:
        """The ids of all GPU pools."""
        return frozenset(pool for _, pool, _, _ in _GPUS if pool)

    def types_of(self, pools: list[str]) -> frozenset[str]:
        """The ids of the GPU types of some pools."""
        return frozenset(type_ for type_, pool, _, _ in _GPUS if pool in pools)

    @property
    def flavors(self) -> Mapping[str, int]:
        """GB of memory per vCPU of each CPU flavor."""
        return {flavor: memory for flavor, memory, _ in _CPUS}

    def disk_limit(self, flavor: str, vcpus: int) -> int:
        """GB of container disk that a CPU worker may have."""
        return _DISK_PER_VCPU[flavor] * vcpus

    @property
    def regions(self) -> frozenset[str]:
        """The ids of all data centers."""
        return frozenset(region for region, _ in _DATA_CENTERS)

    def price(self, record: Mapping[str, Any]) -> float:
        """USD per worker and hour of an endpoint, by its first pool or flavor."""
        if record.get("cpu"):
            chosen = record["cpu"][0]
            per_vcpu = {flavor: price for flavor, _, price in _CPUS}
            return per_vcpu[chosen["id"]] * int(chosen["vcpuCount"])
        per_gpu = {pool: price or 0.0 for _, pool, _, price in _GPUS}
        return per_gpu[record["gpu"]["pools"][0]] * int(record["gpu"]["count"])

    def gpus(self, *, with_stock: bool) -> list[dict[str, Any]]:
        """https://docs.runpod.io/api-reference-v2/catalog/list-gpu-types"""
        return [self._gpu(*each, with_stock=with_stock) for each in _GPUS]

    def _gpu(self, id_: str, pool: str | None, memory: int, price: float | None, *, with_stock: bool) -> dict[str, Any]:
        prices = {"secure": price or 3.0, "community": price or 3.0, **({"serverless": price} if price else {})}
        described: dict[str, Any] = {
            "id": id_,
            "name": id_.removeprefix("NVIDIA "),
            "pool": pool,
            "manufacturer": "AMD" if id_.startswith("AMD") else "NVIDIA",
            "memory": memory,
            "secure": True,
            "community": False,
            "price": prices,
            "maxCount": {"secure": 8, "community": 0},
        }
        if not with_stock:
            return described
        cuda = [{"version": version, "available": True} for version in _CUDA]
        levels = self._levels(id_, pool, [region for region, _ in _DATA_CENTERS]) if pool else {}
        return {**described, **_availability(levels), "cudaVersions": cuda}

    def cpus(self, *, with_stock: bool) -> list[dict[str, Any]]:
        """https://docs.runpod.io/api-reference-v2/catalog/list-cpu-types"""
        return [
            {
                "id": flavor,
                "name": flavor,
                "group": flavor[:4],
                "vcpu": {"min": 2, "max": 32},
                "ramGbPerVcpu": memory,
                "price": {"securePerVcpu": price, "serverlessPerVcpu": price},
                **(_availability(self._levels(flavor, flavor, list(self.cpu_regions))) if with_stock else {}),
            }
            for flavor, memory, price in _CPUS
        ]

    def data_centers(self, include: list[str]) -> list[dict[str, Any]]:
        """https://docs.runpod.io/api-reference-v2/catalog/list-data-centers"""
        return [
            {
                "id": id_,
                "name": id_,
                "region": region,
                "networkVolumeTypes": ["STANDARD"],
                "compliance": [],
                "globalNetwork": False,
                **self._offered(id_, include),
            }
            for id_, region in _DATA_CENTERS
        ]

    def _offered(self, region: str, include: list[str]) -> dict[str, Any]:
        gpus = [_stock(id_, self._levels(id_, pool, [region])[region]) for id_, pool, _, _ in _GPUS if pool]
        cpus = [_stock(id_, self._levels(id_, id_, [region])[region]) for id_, _, _ in _CPUS]
        offered: dict[str, Any] = {"gpuAvailability": gpus} if "GPU_AVAILABILITY" in include else {}
        if "CPU_AVAILABILITY" in include and region in self.cpu_regions:
            offered["cpuAvailability"] = cpus
        return offered

    def _levels(self, id_: str, pool: str | None, regions: list[str]) -> dict[str, str]:
        set_ = self.stock.get(id_, self.stock.get(pool or "", None))
        return {region: set_.get(region, "NONE") if set_ is not None else "MEDIUM" for region in regions}


_LEVELS = ("NONE", "LOW", "MEDIUM", "HIGH")


def _availability(levels: Mapping[str, str]) -> dict[str, Any]:
    """`dataCenters` is left out when there is none of it anywhere."""
    offered = [_stock(region, level) for region, level in levels.items() if level != "NONE"]
    best = max(levels.values(), key=_LEVELS.index, default="NONE")
    return {"availability": best, **({"dataCenters": offered} if offered else {})}


def _stock(id_: str, level: str) -> dict[str, str]:
    return {"id": id_, "name": id_, "availability": level}

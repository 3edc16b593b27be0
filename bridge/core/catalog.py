"""Prices and stock of endpoints, from RunPod's catalog.

Prices are USD per hour. https://docs.runpod.io/api-reference-v2/catalog/list-gpu-types
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bridge.core.endpoints import EndpointSettings

LEVELS = ("NONE", "LOW", "MEDIUM", "HIGH")
"""RunPod's levels of stock, lowest first."""


@dataclass(frozen=True, kw_only=True)
class Offer:
    """A GPU type or a CPU flavor.

    Args:
        id: RunPod's.
        pool: the GPU pool that it belongs to; the flavor itself for a CPU.
        price: for one GPU or one vCPU, None if RunPod reports none.
        memory_gb: of one GPU, or for each vCPU; None if RunPod reports none.
        stock: one of LEVELS, None if RunPod reports none.
        regions: stock by data center.
    """

    id: str
    pool: str | None
    price: float | None
    memory_gb: float | None = None
    stock: str | None = None
    regions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Stock:
    """Today's stock of one pool.

    Args:
        pool: the GPU pool, or the CPU flavor.
        level: the best level in the endpoint's regions.
        regions: by data center, those of the endpoint only.
        price: of one worker; the cheapest and the most expensive type of the pool.
    """

    pool: str
    level: str
    regions: Mapping[str, str]
    price: tuple[float, float] | None


def stock_of(settings: EndpointSettings, offers: Sequence[Offer]) -> tuple[Stock, ...]:
    """Stock and price of each pool that an endpoint may use, in the order of the configuration.

    Args:
        settings: of the endpoint.
        offers: of the catalog, for its number of GPUs or vCPUs.
    """
    units = dict.fromkeys(settings.gpu, settings.gpu_count) | {cpu.flavor: cpu.vcpus for cpu in settings.cpu}
    usable = [offer for offer in offers if offer.id not in settings.exclude]
    return tuple(
        _stock(pool, count, settings.regions, [o for o in usable if o.pool == pool]) for pool, count in units.items()
    )


def stock_of_pool(pool: str, offers: Sequence[Offer]) -> Stock:
    """Stock in all regions, and price of one GPU or vCPU.

    Args:
        pool: the GPU pool, or the CPU flavor.
        offers: those of the pool.
    """
    return _stock(pool, 1, (), offers)


def _stock(pool: str, count: int, wanted: tuple[str, ...], offers: Sequence[Offer]) -> Stock:
    regions: dict[str, str] = {}
    for offer in offers:
        for region, level in offer.regions.items():
            if not wanted or region in wanted:
                regions[region] = _best([regions.get(region), level])
    overall = [*regions.values()] if wanted else [offer.stock for offer in offers]
    prices = [offer.price * count for offer in offers if offer.price is not None]
    return Stock(
        pool=pool,
        level=_best(overall),
        regions=dict(sorted(regions.items())),
        price=(min(prices), max(prices)) if prices else None,
    )


def alternatives(settings: EndpointSettings, offers: Sequence[Offer]) -> tuple[str, ...]:
    """The GPU pools or CPU flavors that an endpoint does not use and that have stock in its regions, cheapest first."""
    used = {*settings.gpu, *(cpu.flavor for cpu in settings.cpu)}
    others = dict.fromkeys(offer.pool for offer in offers if offer.pool and offer.pool not in used)
    stocks = [_stock(pool, 1, settings.regions, [o for o in offers if o.pool == pool]) for pool in others if pool]
    there = sorted((stock.price, stock.pool) for stock in stocks if stock.level != "NONE" and stock.price)
    return tuple(pool for _, pool in there)


def _best(levels: Sequence[str | None]) -> str:
    """The highest level; a level that is unknown counts as NONE."""
    return max((level for level in levels if level in LEVELS), key=LEVELS.index, default="NONE")


def price_per_hour(stocks: Sequence[Stock]) -> tuple[float, float] | None:
    """Price of one worker: the lowest and the highest, None if RunPod reports none."""
    prices = [stock.price for stock in stocks if stock.price]
    return (min(low for low, _ in prices), max(high for _, high in prices)) if prices else None

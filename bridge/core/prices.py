"""Prices of workers: computed from RunPod's catalog, and kept with the time of each reading. Pure.

A price is USD per hour of one worker, with all its GPUs or vCPUs. It is kept for each GPU type that the endpoint may
use, because RunPod places a worker on whichever pool has capacity:
https://docs.runpod.io/api-reference-v2/serverless/create-a-serverless-endpoint
"""

import math
from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from bridge.core.catalog import Offer
from bridge.core.endpoints import EndpointSettings

ANY = ""
"""The type of a price that holds for every worker of an endpoint."""


class PriceSource(StrEnum):
    """Where a price comes from."""

    CATALOG = "catalog"  # RunPod's
    SETTING = "setting"  # `usd_per_hour` in bridge.toml


@dataclass(frozen=True, kw_only=True, slots=True)
class PriceReading:
    """The prices of an endpoint's workers from one time on.

    Args:
        at: Unix seconds, when these prices were first read.
        read_at: Unix seconds, when they were last read and had not changed.
        usd_per_hour: of one worker, by RunPod's id of the GPU type or CPU flavor; `ANY` for all types.
        source: where they come from.
    """

    at: float
    read_at: float
    usd_per_hour: Mapping[str, float]
    source: PriceSource = PriceSource.CATALOG


Prices = Mapping[str, Sequence[PriceReading]]
"""By endpoint id, its readings, the oldest first."""


def price_at(prices: Prices, endpoint: str, at: float, gpu_type: str | None = None) -> float | None:
    """USD per hour of a worker.

    Args:
        prices: as known.
        endpoint: RunPod's id.
        at: Unix seconds. Before the first reading, its prices count.
        gpu_type: of the worker; if it is not known, the most expensive that the endpoint may use counts.

    Returns:
        None if no price of the endpoint is known.
    """
    readings = prices.get(endpoint)
    if not readings:
        return None
    known = readings[max(0, bisect_right(readings, at, key=lambda reading: reading.at) - 1)].usd_per_hour
    return known.get(gpu_type or ANY, max(known.values()))


def worker_prices(settings: EndpointSettings, offers: Iterable[Offer]) -> dict[str, float]:
    """USD per hour of one worker of an endpoint, by GPU type or CPU flavor; empty if RunPod tells no price.

    Args:
        settings: of the endpoint.
        offers: of the catalog: prices of one GPU and of one vCPU.
    """
    units = dict.fromkeys(settings.gpu, settings.gpu_count) | {cpu.flavor: cpu.vcpus for cpu in settings.cpu}
    return {
        offer.id: offer.price * units[offer.pool]
        for offer in offers
        if offer.pool in units and offer.id not in settings.exclude
        # nothing is free, and the catalog could have "not a number"
        if offer.price is not None and 0 < offer.price < math.inf
    }


def with_settings(prices: Prices, settings: Mapping[str, float], now: float) -> Prices:
    """The prices, where those of the configuration count from now on.

    Args:
        prices: as known.
        settings: USD per hour of one worker by endpoint id, as the configuration sets it.
        now: Unix seconds.
    """
    given = {
        endpoint: PriceReading(at=now, read_at=now, usd_per_hour={ANY: usd}, source=PriceSource.SETTING)
        for endpoint, usd in settings.items()
        if not (known := prices.get(endpoint)) or known[-1].usd_per_hour != {ANY: usd}
    }
    return {**prices, **{endpoint: (*prices.get(endpoint, ()), reading) for endpoint, reading in given.items()}}


def due(prices: Prices, endpoints: Collection[str], now: float, every: float) -> tuple[str, ...]:
    """The endpoints whose prices should be read in the catalog: never read, or long ago, or set by hand until now.

    Args:
        prices: as known.
        endpoints: RunPod's ids.
        now: Unix seconds.
        every: s between two readings.
    """
    return tuple(
        endpoint
        for endpoint in sorted(endpoints)
        if not (known := prices.get(endpoint))
        or now >= known[-1].read_at + every
        or known[-1].source is not PriceSource.CATALOG
    )

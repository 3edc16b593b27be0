"""Advice about cheaper GPUs, where the jobs of a route support it. Pure.

Prices are USD per hour of one GPU, memory is in GB of 10^9 bytes.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from bridge.core.catalog import Offer
from bridge.core.cost import Usage
from bridge.core.endpoints import EndpointSettings

FEWEST_JOBS = 10
"""Jobs of a route whose memory is known; fewer support no advice."""

MOST_OF_THEM = 0.9
"""Share of these jobs that a smaller GPU must have room for."""

HEADROOM = 0.85
"""Share of a GPU's memory that a job may use, so that it still fits with a little more data."""

WORTHWHILE = 0.8
"""A pool is advised if it costs at most this share of the present one."""


class _Pool(NamedTuple):
    """A pool at its most expensive and smallest type, because RunPod chooses the type."""

    usd: float
    memory: float
    name: str


def advise(usages: Iterable[Usage], settings: Mapping[str, EndpointSettings], offers: Sequence[Offer]) -> Iterator[str]:
    """One line for each route whose jobs fit a cheaper pool, in the order of the routes' names.

    Args:
        usages: of the period.
        settings: of endpoints, by id.
        offers: of the catalog.
    """
    jobs: dict[tuple[str, str], list[int]] = defaultdict(list)
    for usage in usages:
        if usage.took_job and usage.peak_memory_mb is not None:
            jobs[usage.route, usage.endpoint].append(usage.peak_memory_mb)
    pools = _pools(offers)
    for (route, endpoint), peaks in sorted(jobs.items()):
        of = settings.get(endpoint)
        if of is not None and of.gpu and of.gpu_count == 1 and len(peaks) >= FEWEST_JOBS:
            yield from _line(route, of, peaks, pools)


def _pools(offers: Iterable[Offer]) -> list[_Pool]:
    """The pools of the catalog, the cheapest first."""
    types: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for offer in offers:
        if offer.pool is not None and offer.price is not None and offer.memory_gb is not None:
            types[offer.pool].append((offer.price, offer.memory_gb))
    return sorted(_Pool(max(usd for usd, _ in of), min(gb for _, gb in of), name) for name, of in types.items())


def _line(route: str, of: EndpointSettings, peaks: Sequence[int], pools: Sequence[_Pool]) -> Iterator[str]:
    """The advice for one route and endpoint; none if no cheaper pool has room."""
    present = max((pool for pool in pools if pool.name in of.gpu), default=None)
    if present is None:
        return
    for pool in pools:
        room = pool.memory * HEADROOM
        fitting = sum(peak / 1000 <= room for peak in peaks)
        if pool.usd <= present.usd * WORTHWHILE and fitting >= len(peaks) * MOST_OF_THEM:
            yield (
                f"route {route}: {fitting} of {len(peaks)} jobs used at most {room:.0f} GB of GPU memory; "
                f"pool {pool.name} has {pool.memory:g} GB and costs {pool.usd / present.usd:.0%} of {present.name}"
            )
            return

"""The endpoints that `bridge setup` proposes, from RunPod's catalog, its endpoints and the account's quota.

Prices are USD per hour, memory is GB.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count

from bridge.core.catalog import Offer, Stock, stock_of_pool
from bridge.core.endpoints import Cpu, Endpoint, is_ours

WORKERS = 3
"""`workers_max` of an endpoint, if the quota allows it."""
CHOICES = 2
"""GPU pools of an endpoint: RunPod places a worker on whichever has capacity."""
VCPUS = 2
"""vCPUs of a CPU worker: RunPod's lowest."""


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What the person wants.

    Args:
        memory_gb: that a GPU needs at least.
        gpu: ids of GPU pools; empty to take the cheapest ones that have the memory.
        cpu: whether a CPU endpoint is wanted, too.
    """

    memory_gb: int
    gpu: tuple[str, ...] = ()
    cpu: bool = False


@dataclass(frozen=True, kw_only=True)
class Account:
    """What RunPod reports.

    Args:
        gpus: of the catalog, for one GPU.
        cpus: of the catalog, for VCPUS.
        endpoints: all of the account.
        quota: the highest sum of `workers_max`, None if it is unknown.
    """

    gpus: Sequence[Offer]
    cpus: Sequence[Offer]
    endpoints: Sequence[Endpoint]
    quota: int | None


@dataclass(frozen=True, kw_only=True)
class Pool:
    """A GPU pool or a CPU flavor that can be chosen.

    Args:
        stock: its stock and price, for one GPU or one vCPU.
        memory_gb: of its smallest GPU type, or of one vCPU; None if RunPod does not report it.
    """

    stock: Stock
    memory_gb: float | None

    @property
    def id(self) -> str:
        """RunPod's."""
        return self.stock.pool

    @property
    def available(self) -> bool:
        """Whether RunPod has any today."""
        return self.stock.level != "NONE"


@dataclass(frozen=True, kw_only=True)
class ProposedEndpoint:
    """One `[[endpoint]]` with its `[[route]]`.

    Args:
        name: that no other endpoint of the account has.
        gpu: ids of GPU pools, the preferred one first; empty for a CPU endpoint.
        cpu: None for a GPU endpoint.
        workers_max: workers at a time.
    """

    name: str
    gpu: tuple[str, ...] = ()
    cpu: Cpu | None = None
    workers_max: int


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """What is proposed.

    Args:
        endpoints: none if there is a problem.
        notes: what the person should know, one line each.
        problem: why nothing can be proposed, and what to do.
    """

    endpoints: tuple[ProposedEndpoint, ...] = ()
    notes: tuple[str, ...] = ()
    problem: str | None = None


def pools(offers: Sequence[Offer]) -> tuple[Pool, ...]:
    """The pools of a catalog, cheapest first; those of unknown price come last.

    A pool costs what its most expensive type costs, because RunPod chooses the type.
    """
    ids = {offer.pool for offer in offers if offer.pool is not None}
    return tuple(sorted((_pool(id_, [o for o in offers if o.pool == id_]) for id_ in ids), key=_by_price))


def _pool(id_: str, offers: Sequence[Offer]) -> Pool:
    sizes = [offer.memory_gb for offer in offers if offer.memory_gb is not None]
    smallest = min(sizes) if len(sizes) == len(offers) else None
    return Pool(stock=stock_of_pool(id_, offers), memory_gb=smallest)


def _by_price(pool: Pool) -> tuple[float, float, str]:
    highest = pool.stock.price[1] if pool.stock.price else math.inf
    return highest, math.inf if pool.memory_gb is None else pool.memory_gb, pool.id


def fitting(known: Sequence[Pool], memory_gb: int) -> tuple[Pool, ...]:
    """The pools whose every GPU has the memory; one of unknown memory does not fit."""
    return tuple(pool for pool in known if pool.memory_gb is not None and pool.memory_gb >= memory_gb)


def propose(wish: Wish, account: Account, mark: Callable[[str], str]) -> Proposal:
    """Choose pools, names and `workers_max`.

    Args:
        wish: of the person.
        account: as RunPod reports it.
        mark: the value of core.endpoints.MARK for the endpoint of a name.
    """
    known = pools(account.gpus)
    gpus, flavors = _gpus(wish, known), pools(account.cpus) if wish.cpu else ()
    problem = _problem(wish, known, gpus) or ("RunPod offers no CPU flavor" if wish.cpu and not flavors else None)
    if problem:
        return Proposal(problem=problem)
    cpus = _chosen(flavors, 1)
    names = [free_name(base, account.endpoints, mark) for base in ("gpu", *(["cpu"] if cpus else []))]
    free = _free_workers(names, account)
    workers = shares(len(names), free)
    gpu = ProposedEndpoint(name=names[0], gpu=tuple(pool.id for pool in gpus), workers_max=workers[0])
    cpu = [
        ProposedEndpoint(name=name, cpu=Cpu(flavor=flavor.id, vcpus=VCPUS), workers_max=workers_max)
        for flavor, name, workers_max in zip(cpus, names[1:], workers[1:], strict=True)
    ]
    notes = (*_stock_notes(gpus), *_stock_notes(cpus), *_quota_notes(workers, free))
    return Proposal(endpoints=(gpu, *cpu), notes=notes)


def _gpus(wish: Wish, known: Sequence[Pool]) -> tuple[Pool, ...]:
    if wish.gpu:
        by_id = {pool.id: pool for pool in known}
        return tuple(by_id[id_] for id_ in dict.fromkeys(wish.gpu) if id_ in by_id)
    return _chosen(fitting(known, wish.memory_gb), CHOICES)


def _chosen(candidates: Sequence[Pool], most: int) -> tuple[Pool, ...]:
    """The cheapest that are available; if none is, the cheapest one."""
    available = [pool for pool in candidates if pool.available]
    return tuple(available[:most] or candidates[:1])


def _problem(wish: Wish, known: Sequence[Pool], chosen: Sequence[Pool]) -> str | None:
    ids = [pool.id for pool in known]
    unknown = [id_ for id_ in wish.gpu if id_ not in ids]
    if unknown:
        return f"RunPod has no GPU pool {unknown[0]}; it has {', '.join(ids) or 'none'}"
    if not chosen:
        largest = max((pool.memory_gb for pool in known if pool.memory_gb is not None), default=None)
        has = "RunPod reports no memory of any" if largest is None else f"the largest has {largest:g} GB"
        return f"no GPU pool has {wish.memory_gb} GB of memory, {has}; ask for less, or name the pools"
    return None


def free_name(base: str, existing: Sequence[Endpoint], mark: Callable[[str], str]) -> str:
    """The first of `gpu`, `gpu-2`, `gpu-3`... that `apply` may use: no endpoint has it, or only one of ours.

    Args:
        base: the first name.
        existing: all endpoints of the account.
        mark: the value of core.endpoints.MARK for the endpoint of a name.
    """
    names = (base if number == 1 else f"{base}-{number}" for number in count(1))
    return next(name for name in names if _is_free(name, existing, mark(name)))


def _is_free(name: str, existing: Sequence[Endpoint], mark: str) -> bool:
    same = [endpoint for endpoint in existing if endpoint.settings.name == name]
    return not same or (len(same) == 1 and is_ours(same[0], mark, None))


def _free_workers(names: Sequence[str], account: Account) -> int | None:
    """The part of the quota that no other endpoint uses; None if the quota is unknown."""
    if account.quota is None:
        return None
    others = [each.settings for each in account.endpoints if each.settings.name not in names]
    return account.quota - sum(each.workers_max for each in others)


def shares(endpoints: int, free: int | None) -> tuple[int, ...]:
    """`workers_max` of each endpoint: equal parts of what is free, the first ones get the rest; 1 to WORKERS.

    Args:
        endpoints: how many there are.
        free: workers that the quota still allows, None if it is unknown.
    """
    if free is None:
        return (WORKERS,) * endpoints
    each, rest = divmod(free, endpoints)
    return tuple(min(WORKERS, max(1, each + (number < rest))) for number in range(endpoints))


def _stock_notes(chosen: Sequence[Pool]) -> Iterator[str]:
    if chosen and not any(pool.available for pool in chosen):
        named = ", ".join(pool.id for pool in chosen)
        yield f"RunPod has no {named} today: jobs wait until it has"


def _quota_notes(workers: Sequence[int], free: int | None) -> Iterator[str]:
    if free is None:
        yield "your worker quota is unknown: `bridge endpoints plan` shows whether the endpoints fit"
    elif sum(workers) > free:
        left = max(free, 0)
        yield f"your worker quota leaves {left} of the {sum(workers)} needed: lower `workers_max` of other endpoints"
    elif min(workers) < WORKERS:
        yield f"`workers_max` is lowered from {WORKERS}: your worker quota leaves {free}"

"""`bridge endpoints plan` and `apply`: reads the account, and carries out a plan call by call.

RunPod's names are not unique, and creating has no idempotency key. So an endpoint is looked up by name before it is
created, never created twice by one run, and looked up again afterwards: see `_settled`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from bridge.config.endpoints import write_ids
from bridge.config.management import ManagementConfig
from bridge.core.catalog import Offer, Stock, stock_of
from bridge.core.endpoints import (
    MARK,
    Action,
    Endpoint,
    EndpointSettings,
    PlannedEndpoint,
    QuotaFit,
    differences,
    plan_endpoints,
    quota_fit,
)
from bridge.errors import BridgeError, ConfigError, OutcomeUnknown
from bridge.runpod.management import Management

LOOKS = 4
"""How often to look for an endpoint whose creation was not confirmed, or that exists twice."""

LOOK_WAIT = 1.0
"""s before each of these."""

Report = Callable[[str], None]
Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The configuration compared with the account.

    Args:
        planned: one per `[[endpoint]]`.
        stocks: by name, price and stock of the endpoint's pools.
        quota: whether all workers fit the account's quota.
        forgotten: by name, the ids of endpoints that were created for tables that are gone.
        notes: what else an operator should know.
    """

    planned: tuple[PlannedEndpoint, ...]
    stocks: Mapping[str, tuple[Stock, ...]]
    quota: QuotaFit
    forgotten: Mapping[str, str]
    notes: tuple[str, ...]

    @property
    def changes(self) -> tuple[PlannedEndpoint, ...]:
        """What `apply` creates or updates."""
        return tuple(each for each in self.planned if each.action in (Action.CREATE, Action.UPDATE))

    @property
    def problems(self) -> tuple[str, ...]:
        """What must be fixed before `apply` can do everything."""
        blocked = [f"{each.wanted.name}: {each.problem}" for each in self.planned if each.problem]
        return (*blocked, *([] if self.quota.fits else [_over_quota(self.quota)]))


def _over_quota(quota: QuotaFit) -> str:
    return (
        f"the endpoints of this account would have {quota.after} workers in all, over its quota of {quota.limit}; "
        "lower `workers_max`, or raise the quota by adding balance to the account"
    )


async def compare(settings: ManagementConfig, client: Management) -> Comparison:
    """Read the account and the catalog, and decide.

    Raises:
        ConfigError: bridge.toml describes no endpoint.
        BridgeError: RunPod could not be read.
    """
    if not settings.wanted and not settings.ids:
        raise ConfigError(f"{settings.path}: endpoint: missing; add an [[endpoint]] table")
    existing = await client.endpoints()
    planned = plan_endpoints(settings.wanted, existing, settings.ids)
    there, wanted = {endpoint.id for endpoint in existing}, {each.name for each in settings.wanted}
    return Comparison(
        planned=planned,
        stocks=await _stocks(settings.wanted, client),
        quota=quota_fit(planned, existing, await client.worker_quota()),
        forgotten={name: id_ for name, id_ in settings.ids.items() if name not in wanted and id_ in there},
        notes=tuple(f"{name}: no route uses this endpoint" for name in sorted(wanted - _used(settings))),
    )


def _used(settings: ManagementConfig) -> set[str]:
    """Names of endpoints that routes use, by name or by id."""
    return {*settings.routes, *(name for name, id_ in settings.ids.items() if id_ in settings.routes)}


async def _stocks(wanted: tuple[EndpointSettings, ...], client: Management) -> dict[str, tuple[Stock, ...]]:
    offers = await offers_for(wanted, client)
    return {each.name: stock_of(each, offers[each.name]) for each in wanted}


async def offers_for(wanted: Sequence[EndpointSettings], client: Management) -> dict[str, tuple[Offer, ...]]:
    """The catalog by endpoint name; one call for endpoints with the same number of GPUs or vCPUs."""
    catalogs: dict[tuple[object, ...], tuple[Offer, ...]] = {}
    for each in wanted:
        key = _catalog_key(each)
        if key not in catalogs:
            cpus = each.cpu[0].vcpus if each.cpu else 0
            catalogs[key] = await (client.cpus(cpus) if cpus else client.gpus(each.gpu_count, each.min_cuda))
    return {each.name: catalogs[_catalog_key(each)] for each in wanted}


def _catalog_key(settings: EndpointSettings) -> tuple[object, ...]:
    return (settings.cpu[0].vcpus,) if settings.cpu else (settings.gpu_count, settings.min_cuda)


@dataclass(kw_only=True)
class Applied:
    """What was done: by name the id of each endpoint, and what could not be done."""

    applied: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


async def apply_plan(
    settings: ManagementConfig,
    client: Management,
    found: Comparison,
    report: Report,
    sleep: Sleep = asyncio.sleep,
) -> Applied:
    """Carry out the plan. Each id is recorded at once, so an interrupted run can be repeated.

    Args:
        settings: the configuration.
        client: of RunPod.
        found: the plan.
        report: called with one line for each step.
        sleep: waits so many seconds.
    """
    done, ids = Applied(problems=list(found.problems)), dict(settings.ids)
    if not found.quota.fits:
        return done
    if found.changes:
        write_ids(settings.path, ids)  # fails before anything is created, if the folder is read-only
    for each in found.planned:
        try:
            id_ = await _applied(each, client, report, sleep)
        except BridgeError as error:
            done.problems.append(f"{each.wanted.name}: {error}")
            continue
        if id_ is not None:
            done.applied[each.wanted.name] = id_
            if ids.get(each.wanted.name) != id_:
                ids[each.wanted.name] = id_
                write_ids(settings.path, ids)
    return done


async def _applied(each: PlannedEndpoint, client: Management, report: Report, sleep: Sleep) -> str | None:
    """The id of the endpoint as wanted; None if it is blocked."""
    if each.action is Action.CREATE:
        return await _create(each.wanted, client, report, sleep)
    if each.action is Action.UPDATE and each.id:
        await _update(each, each.id, client)
        report(f"{each.wanted.name}: updated {', '.join(change.setting for change in each.changes)}")
    return None if each.action is Action.BLOCKED else each.id


async def _update(each: PlannedEndpoint, id_: str, client: Management) -> None:
    try:
        await client.update(id_, each.wanted, each.changes)
    except OutcomeUnknown:
        now = await client.endpoint(id_)
        if now is None or any(differences(each.wanted, now.settings)):
            raise


async def _create(wanted: EndpointSettings, client: Management, report: Report, sleep: Sleep) -> str:
    """Create an endpoint with one call. If its answer is lost, look for the endpoint."""
    created: str | None = None
    try:
        created = (await client.create(wanted)).id
    except OutcomeUnknown:
        if await _look_for(wanted, client, sleep) is None:
            raise
    id_ = await _settled(wanted, created, client, sleep)
    report(f"{wanted.name}: created {id_}")
    return id_


async def _look_for(wanted: EndpointSettings, client: Management, sleep: Sleep) -> Endpoint | None:
    for _ in range(LOOKS):
        if twins := await _ours(wanted, client):
            return twins[0]
        await sleep(LOOK_WAIT)
    return None


async def _ours(wanted: EndpointSettings, client: Management) -> list[Endpoint]:
    """The endpoints of this name with our mark, the oldest first."""
    found = await client.endpoints()
    mine = [e for e in found if e.settings.name == wanted.name and e.settings.env.get(MARK) == wanted.env[MARK]]
    return sorted(mine, key=lambda endpoint: (endpoint.created_at, endpoint.id))


async def _settled(wanted: EndpointSettings, created: str | None, client: Management, sleep: Sleep) -> str:
    """The id of the endpoint that stays, if another machine's `apply` created one at the same time.

    Each run deletes at most the endpoint that it created itself. If ours is the younger one, we delete it at once.
    If ours is the older one, we wait for the other run to delete its own. If it does not, it finished before ours
    existed and uses its own: then we delete ours.
    """
    for _ in range(LOOKS):
        twins = await _ours(wanted, client)
        others = [twin.id for twin in twins if twin.id != created]
        if created is None or not others or twins[0].id != created:
            break
        await sleep(LOOK_WAIT)
    if created is not None and not others:
        return created
    if created is not None:
        await delete_once(created, client)
        twins = [twin for twin in await _ours(wanted, client) if twin.id != created]
    if not twins:
        raise OutcomeUnknown("it was created, and another run deleted it; run `bridge endpoints apply` again")
    return twins[0].id


async def delete_once(id_: str, client: Management) -> None:
    """Delete an endpoint with one call. If its answer is lost, check whether the endpoint is gone."""
    try:
        await client.delete(id_)
    except OutcomeUnknown:
        if await client.endpoint(id_) is not None:
            raise

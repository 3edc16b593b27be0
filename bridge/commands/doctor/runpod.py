"""The checks of RunPod: its keys, the endpoints that routes use, and the account's limits."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

from bridge.commands.doctor import runpod_account, runpod_keys
from bridge.commands.doctor.check import Check
from bridge.commands.doctor.clients import endpoint_names, management, requests
from bridge.commands.doctor.context import Context
from bridge.commands.doctor.repair import with_repair
from bridge.commands.doctor.runpod_endpoint import Seen, endpoint_checks, is_missing, workers_check
from bridge.commands.doctor.runpod_keys import Health
from bridge.commands.endpoints.work import offers_for
from bridge.config.management import ManagementConfig, load_if_managed
from bridge.core.account import WorkerCounts
from bridge.core.catalog import Offer
from bridge.core.endpoints import Endpoint, plan_endpoints, quota_fit
from bridge.core.model import EndpointHealth
from bridge.errors import BridgeError
from bridge.runpod.management import Management


async def checks(context: Context) -> list[Check]:
    """All of them. They change nothing and start no worker."""
    names = endpoint_names(context)
    health = await _health(context, names)
    managed = load_if_managed(context.path)
    if managed is None:
        return [*runpod_keys.run_time(health, names), runpod_keys.not_set(), *_by_health(health, names)]
    try:
        async with management(managed) as client:
            existing = await client.endpoints()
            found = await _of_account(context, managed, client, existing)
    except BridgeError as error:
        return [*runpod_keys.run_time(health, names), runpod_keys.refused(error), *_by_health(health, names)]
    there = {endpoint.id for endpoint in existing}
    return [*runpod_keys.run_time(health, names, there), runpod_keys.accepted(len(existing)), *found]


async def _health(context: Context, ids: Mapping[str, str]) -> Health:
    async with requests(context) as client:
        found = await asyncio.gather(*(client.health(id_) for id_ in ids), return_exceptions=True)
    return {id_: _health_or_error(each) for id_, each in zip(ids, found, strict=True)}


def _health_or_error(found: EndpointHealth | BaseException) -> EndpointHealth | BridgeError:
    if isinstance(found, BaseException) and not isinstance(found, BridgeError):
        raise found
    return found


def _by_health(health: Health, names: Mapping[str, str]) -> list[Check]:
    """What the run-time key shows of the endpoints."""
    found = []
    for id_, seen in health.items():
        if isinstance(seen, EndpointHealth):
            counts = WorkerCounts(**{s: seen.workers.get(s, 0) for s in ("initializing", "throttled", "unhealthy")})
            found.append(workers_check(names[id_], counts))
        elif runpod_keys.is_unknown(seen):
            found.append(is_missing(names[id_], id_, is_ours=names[id_] != id_))
    return found


async def _of_account(
    context: Context, managed: ManagementConfig, client: Management, existing: Sequence[Endpoint]
) -> list[Check]:
    names, limits = endpoint_names(context), await client.limits()
    used = [endpoint for endpoint in existing if endpoint.id in names]
    offers = await offers_for([replace(each.settings, name=each.id) for each in used], client)
    seen = [await _seen(each, context, managed, client, offers[each.id]) for each in used]
    there = {each.id for each in used}
    planned = plan_endpoints(managed.wanted, existing, managed.ids)
    return [
        *(is_missing(name, id_, is_ours=name != id_) for id_, name in names.items() if id_ not in there),
        *(with_repair(check, each, context.path) for each in seen for check in endpoint_checks(each)),
        runpod_account.quota(quota_fit(planned, existing, limits.workers)),
        runpod_account.spend_limit(seen, limits.spending),
    ]


async def _seen(
    endpoint: Endpoint, context: Context, managed: ManagementConfig, client: Management, offers: Sequence[Offer]
) -> Seen:
    name = endpoint_names(context)[endpoint.id]
    return Seen(
        name=name,
        routes=tuple(route for route in context.settings.scope.routes if endpoint.id in route.endpoints),
        wanted=next((wanted for wanted in managed.wanted if wanted.name == name), None),
        actual=endpoint,
        workers=await client.workers(endpoint.id),
        rollout=await client.rollout(endpoint.id),
        offers=tuple(offers),
    )

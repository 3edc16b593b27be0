"""Prices of the endpoints: read in RunPod's catalog now and then, and kept in the ledger.

Calls of the management API are limited to 60 a minute for a whole account, so a reading takes three at most:
https://docs.runpod.io/api-reference-v2/overview
"""

import asyncio
import contextlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.core.catalog import Offer
from bridge.core.endpoints import EndpointSettings
from bridge.core.prices import ANY, PriceSource, due, worker_prices
from bridge.core.scope import endpoints_of

if TYPE_CHECKING:
    from bridge.config.management import ManagementConfig
    from bridge.config.settings import Config
    from bridge.core.scope import Scope
    from bridge.ledger import Ledger
    from bridge.runpod.management import Management

READ_EVERY = 86_400.0
"""s between two readings by the service."""

RETRY_EVERY = 3600.0
"""s until the service looks again whether prices are to be read."""


@dataclass(frozen=True, kw_only=True)
class Catalog:
    """What RunPod says about endpoints and prices.

    Args:
        settings: by id, the endpoints of the account that were asked for.
        offers: of GPU types and CPU flavors, with the price of one GPU or vCPU.
    """

    settings: Mapping[str, EndpointSettings]
    offers: tuple[Offer, ...]

    def prices(self) -> dict[str, dict[str, float]]:
        """By endpoint id, USD per hour of one worker by GPU type or CPU flavor; none that is not known."""
        found = {id_: worker_prices(settings, self.offers) for id_, settings in self.settings.items()}
        return {id_: prices for id_, prices in found.items() if prices}


async def read_catalog(client: "Management", endpoints: Collection[str]) -> Catalog:
    """Read what workers of these endpoints cost.

    Args:
        client: of RunPod's management API.
        endpoints: RunPod's ids.

    Raises:
        BridgeError: RunPod could not be read.
    """
    settings = {each.id: each.settings for each in await client.endpoints() if each.id in endpoints}
    vcpus = [cpu.vcpus for each in settings.values() for cpu in each.cpu]
    gpus = await client.gpus(1, None) if any(each.gpu for each in settings.values()) else ()
    cpus = await client.cpus(vcpus[0]) if vcpus else ()
    return Catalog(settings=settings, offers=(*gpus, *cpus))


async def keep_settings(ledger: "Ledger", scope: "Scope", now: float) -> None:
    """Write down the prices of the configuration, so that submissions of today keep them."""
    if scope.prices:
        given = {endpoint: {ANY: usd} for endpoint, usd in scope.prices.items()}
        await ledger.transact(lambda transaction: transaction.costs.note_prices(given, PriceSource.SETTING, now))


async def keep_catalog(ledger: "Ledger", scope: "Scope", found: Catalog, now: float) -> None:
    """Write down the prices of the catalog, except those that the configuration sets."""
    read = {id_: prices for id_, prices in found.prices().items() if id_ not in scope.prices}
    if read:
        await ledger.transact(lambda transaction: transaction.costs.note_prices(read, PriceSource.CATALOG, now))


async def read_if_due(ledger: "Ledger", settings: "Config", now: float, every: float = READ_EVERY) -> None:
    """Read the prices in the catalog, if there is a management key and no copy of the bridge has read them lately.

    Args:
        ledger: open.
        settings: the configuration.
        now: Unix seconds.
        every: s between two readings.

    Raises:
        BridgeError: RunPod could not be read, or the ledger could not be written.
    """
    scope = settings.scope
    await keep_settings(ledger, scope, now)
    if settings.management_api_key is None:
        return
    known = await ledger.read(lambda transaction: transaction.costs.prices())
    wanted = endpoints_of(scope.routes) - scope.prices.keys()
    if not due(known, wanted, now, every):
        return
    from bridge.commands.management import management

    async with management(
        api_key=settings.management_api_key,
        url=settings.management_url,
        key_setting="RUNPOD_MANAGEMENT_API_KEY",
    ) as client:
        await keep_catalog(ledger, scope, await read_catalog(client, wanted), now)


async def try_to_read(ledger: "Ledger", settings: "Config", now: float) -> None:
    """As `read_if_due`, but an error is a line in the log: only budgets need prices, and they say what is missing."""
    import structlog

    from bridge.errors import BridgeError

    try:
        await read_if_due(ledger, settings, now)
    except BridgeError as error:
        structlog.get_logger().warning("prices could not be read", error=str(error))
    except Exception:
        structlog.get_logger().exception("unexpected error", during="reading prices")


async def read_until(stop: asyncio.Event, ledger: "Ledger", settings: "Config", clock: Callable[[], float]) -> None:
    """Read the prices once a day until `stop` is set.

    Args:
        stop: ends it.
        ledger: open.
        settings: the configuration.
        clock: Unix seconds.
    """
    from bridge.commands.signals import is_set_within

    while True:
        await try_to_read(ledger, settings, clock())
        if await is_set_within(RETRY_EVERY, stop):
            return


async def keep_after_apply(settings: "ManagementConfig", client: "Management", ids: Mapping[str, str]) -> str | None:
    """Write down the prices of endpoints that `bridge endpoints apply` has made or found, if there is a ledger here.

    Args:
        settings: the configuration.
        client: of RunPod's management API.
        ids: the RunPod id of each endpoint, by name.

    Returns:
        Why they could not be written down, in one line; None if they were, or if there is no ledger.
    """
    import time

    from bridge.errors import BridgeError
    from bridge.ledger import Ledger, exists

    wanted = {id_ for name, id_ in ids.items() if not {name, id_} & settings.priced}
    try:
        if not wanted or not exists(settings.database_url):
            return None
        found = (await read_catalog(client, wanted)).prices()
        with contextlib.closing(Ledger.open_existing(settings.database_url)) as ledger:
            now = time.time()
            await ledger.transact(lambda transaction: transaction.costs.note_prices(found, PriceSource.CATALOG, now))
    except BridgeError as error:
        return f"the prices were not written to the ledger: {error}"
    return None

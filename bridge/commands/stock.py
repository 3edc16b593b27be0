"""The stock of the endpoints' GPU types and CPU flavors, for the dashboard: read now and then while somebody looks."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping

import structlog

from bridge.commands.pricing import read_catalog
from bridge.config.settings import Config
from bridge.core.catalog import stock_of
from bridge.core.scope import endpoints_of
from bridge.errors import BridgeError

READ_EVERY = 300.0
"""s between two readings. RunPod limits calls of the management API to 60 a minute for a whole account."""

log = structlog.get_logger()


class Stocks:
    """What RunPod last said about stock.

    Args:
        settings: with the management key; without one nothing is read.
        clock: returns Unix seconds.
    """

    def __init__(self, settings: Config, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self._known: Mapping[str, str] = {}
        self._tried_at = float("-inf")
        self._task: asyncio.Task[None] | None = None

    def known(self) -> Mapping[str, str]:
        """By endpoint id, one line; empty if nothing is known. If it is old, a new reading begins."""
        now = self._clock()
        if self._settings.management_api_key and now >= self._tried_at + READ_EVERY:
            self._tried_at = now
            self._task = asyncio.create_task(self._read(self._settings.management_api_key))
        return self._known

    async def _read(self, key: str) -> None:
        from bridge.commands.management import management

        wanted = endpoints_of(self._settings.scope.routes)
        try:
            async with management(
                api_key=key, url=self._settings.management_url, key_setting="RUNPOD_MANAGEMENT_API_KEY"
            ) as client:
                catalog = await read_catalog(client, wanted)
        except BridgeError as error:
            self._known = {}  # old stock would mislead
            log.info("stock could not be read", reason=str(error))
            return
        except Exception:
            self._known = {}
            log.exception("unexpected error", during="reading stock")
            return
        self._known = {
            id_: ", ".join(f"{stock.pool} {stock.level.lower()}" for stock in stock_of(settings, catalog.offers))
            for id_, settings in catalog.settings.items()
        }

    async def close(self) -> None:
        """End a reading."""
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])


@contextlib.asynccontextmanager
async def stocks(settings: Config, clock: Callable[[], float]) -> AsyncIterator[Stocks]:
    """What reads stock, until the block ends."""
    made = Stocks(settings, clock)
    try:
        yield made
    finally:
        await made.close()

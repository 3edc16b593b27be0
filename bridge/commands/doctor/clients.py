"""RunPod's clients, and the endpoints that they are asked about."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from bridge.commands import management as client
from bridge.commands.doctor.context import Context
from bridge.config.management import ManagementConfig
from bridge.core.endpoint_names import named
from bridge.runpod.management import Management
from bridge.runpod.requests import RunPod


def endpoint_names(context: Context) -> dict[str, str]:
    """By RunPod id, the name of each endpoint that a route uses: its `[[endpoint]]`'s, or the id itself."""
    scope = context.settings.scope
    return {id_: named(id_, scope.endpoint_names) for route in scope.routes for id_ in route.endpoints}


def management(settings: ManagementConfig) -> AbstractAsyncContextManager[Management]:
    """A client of the management API, until the block ends."""
    return client.management(api_key=settings.api_key, url=settings.url, key_setting=settings.key_setting)


@asynccontextmanager
async def requests(context: Context) -> AsyncIterator[RunPod]:
    """A client of RunPod's endpoints, until the block ends."""
    settings = context.settings
    sender = RunPod(
        api_key=settings.runpod_api_key, base_url=settings.runpod_base_url, names=settings.scope.endpoint_names
    )
    try:
        yield sender
    finally:
        sender.close()

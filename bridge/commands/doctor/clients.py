"""RunPod's clients, and the endpoints that they are asked about."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from bridge.commands import management as client
from bridge.commands.doctor.context import Context
from bridge.config.endpoints import read_ids
from bridge.config.management import ManagementConfig
from bridge.runpod.management import Management
from bridge.runpod.requests import RunPod


def endpoint_names(context: Context) -> dict[str, str]:
    """By RunPod id, the name of each endpoint that a route uses: its `[[endpoint]]`'s, or the id itself."""
    names = {id_: name for name, id_ in read_ids(context.path).items()}
    return {id_: names.get(id_, id_) for route in context.settings.scope.routes for id_ in route.endpoints}


def management(settings: ManagementConfig) -> AbstractAsyncContextManager[Management]:
    """A client of the management API, until the block ends."""
    return client.management(api_key=settings.api_key, url=settings.url, key_setting=settings.key_setting)


@asynccontextmanager
async def requests(context: Context) -> AsyncIterator[RunPod]:
    """A client of RunPod's endpoints, until the block ends."""
    sender = RunPod(api_key=context.settings.runpod_api_key, base_url=context.settings.runpod_base_url)
    try:
        yield sender
    finally:
        sender.close()

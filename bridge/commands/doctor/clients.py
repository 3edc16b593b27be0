"""RunPod's clients, and the endpoints that they are asked about."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bridge.commands.doctor.context import Context
from bridge.config.endpoints import read_ids
from bridge.config.management import ManagementConfig
from bridge.runpod.management import Management
from bridge.runpod.management_http import ManagementHttp, http_client
from bridge.runpod.requests import RunPod


def endpoint_names(context: Context) -> dict[str, str]:
    """By RunPod id, the name of each endpoint that a route uses: its `[[endpoint]]`'s, or the id itself."""
    names = {id_: name for name, id_ in read_ids(context.path).items()}
    return {route.endpoint: names.get(route.endpoint, route.endpoint) for route in context.settings.scope.routes}


@asynccontextmanager
async def management(settings: ManagementConfig) -> AsyncIterator[Management]:
    """A client of the management API, until the block ends."""
    async with http_client() as http:
        sender = ManagementHttp(http, api_key=settings.api_key, base_url=settings.url, key_setting=settings.key_setting)
        yield Management(sender)


@asynccontextmanager
async def requests(context: Context) -> AsyncIterator[RunPod]:
    """A client of RunPod's endpoints, until the block ends."""
    client = RunPod(api_key=context.settings.runpod_api_key, base_url=context.settings.runpod_base_url)
    try:
        yield client
    finally:
        client.close()

"""The clients of RunPod's management API."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bridge.runpod import management_http
from bridge.runpod.management import Management
from bridge.runpod.worker_logs import WorkerLogs, log_client


@asynccontextmanager
async def management(*, api_key: str, url: str, key_setting: str) -> AsyncIterator[Management]:
    """The client, until the block ends.

    Args:
        api_key: the management key.
        url: of RunPod's REST API, without a slash at the end.
        key_setting: the variable that the key comes from, for errors.
    """
    async with management_http.http_client() as http:
        sender = management_http.ManagementHttp(http, api_key=api_key, base_url=url, key_setting=key_setting)
        yield Management(sender)


@asynccontextmanager
async def worker_logs(*, api_key: str, url: str, key_setting: str) -> AsyncIterator[WorkerLogs]:
    """The client for the logs of workers, until the block ends. Arguments as of `management`."""
    async with log_client() as http:
        yield WorkerLogs(http, api_key=api_key, base_url=url, key_setting=key_setting)

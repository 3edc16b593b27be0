"""`connectionData`: how a client of Azure DevOps's kind learns which service it talks to."""

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

PIPELINES = "a85b8835-c1a1-4aac-ae97-1c3d0ba72dbd"
"""The service that owns the connection. With another one the runner retries for ever."""


def connection_data(base_url: str, instance: str) -> dict[str, Any]:
    """The answer that suffices (seen with a real runner).

    Args:
        base_url: of the emulator.
        instance: a GUID.
    """
    mapping = {
        "moniker": "HostGuidAccessMapping",
        "accessPoint": f"{base_url}/_pipelines/",
        "displayName": "Host Guid Access Mapping",
        "serviceOwner": PIPELINES,
        "virtualDirectory": "",
    }
    location = {
        "serviceOwner": PIPELINES,
        "defaultAccessMappingMoniker": mapping["moniker"],
        "lastChangeId": 1,
        "lastChangeId64": 1,
        "accessMappings": [mapping],
        "serviceDefinitions": [],
    }
    return {"instanceId": instance, "locationServiceData": location}


def connection_endpoint(base_url: Callable[[], str], instance: str) -> Callable[[Request], Any]:
    """Answers the call, which needs no authentication."""

    async def answer(_request: Request) -> Response:
        return JSONResponse(connection_data(base_url(), instance))

    return answer

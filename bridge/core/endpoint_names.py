"""What people read of an endpoint: the name of its `[[endpoint]]` table if it has one, else RunPod's id. Pure."""

from collections.abc import Mapping
from types import MappingProxyType

EndpointNames = Mapping[str, str]
"""By RunPod id, the name of the `[[endpoint]]` table; an endpoint without a table is absent."""

NO_NAMES: EndpointNames = MappingProxyType({})


def named(endpoint: str, names: EndpointNames) -> str:
    """For a reason or a table: the name, or else the id.

    Args:
        endpoint: RunPod's id.
        names: of the endpoints.
    """
    return names.get(endpoint, endpoint)


def with_id(endpoint: str, names: EndpointNames) -> str:
    """For a text about the endpoint itself, which a person may look up at RunPod: the name and the id.

    Arguments as `named`.
    """
    name = named(endpoint, names)
    return endpoint if name == endpoint else f"{name} ({endpoint})"

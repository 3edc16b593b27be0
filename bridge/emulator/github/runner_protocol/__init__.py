"""The protocol between the official runner and GitHub, version 2: every call that a runner makes.

Read in https://github.com/actions/runner, version 2.336.0, and tried with a runner of that version. Version 1, with
encrypted messages under `_apis/distributedtask`, is not served.
"""

import uuid
from collections.abc import Callable

from starlette.routing import BaseRoute

from bridge.emulator.github.runner_protocol.actions import Actions
from bridge.emulator.github.runner_protocol.answers import route
from bridge.emulator.github.runner_protocol.broker import Broker
from bridge.emulator.github.runner_protocol.connection import connection_endpoint
from bridge.emulator.github.runner_protocol.identity import Identity, TokenService
from bridge.emulator.github.runner_protocol.registration import Registration
from bridge.emulator.github.runner_protocol.results import Results
from bridge.emulator.github.runner_protocol.run_service import RunService
from bridge.emulator.github.state import GitHubState


def runner_routes(state: GitHubState, base_url: Callable[[], str], api_prefix: str) -> list[BaseRoute]:
    """All routes. They stand before those of the REST API: some have the same path, but another authentication.

    Args:
        state: the model.
        base_url: of the emulator, once it listens.
        api_prefix: of the REST API.
    """
    identity = Identity(state)
    connection = connection_endpoint(base_url, str(uuid.uuid4()))
    return [
        *Registration(state, base_url).routes(api_prefix),
        route("GET", "/_pipelines/_apis/connectionData", connection),
        route("POST", "/_token/oauth2/token", TokenService(identity).token),
        *Broker(state, identity, base_url).routes(),
        *RunService(state, identity, base_url).routes(),
        *Results(state, identity, base_url).routes(),
        *Actions(state, identity, base_url).routes(),
    ]


__all__ = ["runner_routes"]

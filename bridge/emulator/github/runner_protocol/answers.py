"""The answers of the runner's services, and their errors in the documented bodies."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match, Route
from starlette.types import Scope

from bridge.emulator.github.state import Refused

Answer = Callable[[Request], Awaitable[Response]]


class Failed(Exception):
    """A service refuses a call.

    Args:
        status: HTTP status.
        body: JSON object.
    """

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(f"{status} {body}")
        self.status = status
        self.body = body


def broker_error(status: int, kind: str, message: str) -> Failed:
    """An error of the broker: the runner decides by `errorKind`. Src/Sdk/RSWebApi/BrokerHttpClient.cs."""
    body = {"source": "actions-broker-listener", "errorKind": kind, "statusCode": status, "errorMessage": message}
    return Failed(status, body)


def run_error(status: int, message: str) -> Failed:
    """An error of the run service; 404, 409 and 422 are final. Src/Sdk/RSWebApi/RunServiceHttpClient.cs."""
    return Failed(status, {"source": "actions-run-service", "statusCode": status, "errorMessage": message})


def unauthorized() -> Failed:
    """The token is missing, invalid, expired, or of another job."""
    return Failed(401, {"message": "Unauthorized"})


async def json_object(request: Request) -> dict[str, Any]:
    """The body of a call.

    Raises:
        Failed: it is not a JSON object.
    """
    try:
        body = json.loads(await request.body())
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise Failed(400, {"message": "Problems parsing JSON"})
    return body


def bearer(request: Request, scheme: str = "Bearer") -> str:
    """The credential of a call; empty if it has none of this scheme."""
    given, _, credential = request.headers.get("authorization", "").partition(" ")
    return credential if given.lower() == scheme.lower() else ""


def route(method: str, path: str, answer: Answer) -> Route:
    """A route whose errors become answers."""
    return Route(path, _answering(answer), methods=[method])


class RemoteAuthRoute(Route):
    """A route for calls with `Authorization: RemoteAuth`. Others with the same path are those of the REST API."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether this route answers a call."""
        given = dict(scope.get("headers", ())).get(b"authorization", b"")
        return super().matches(scope) if given.lower().startswith(b"remoteauth ") else (Match.NONE, {})


def remote_auth_route(method: str, path: str, answer: Answer) -> Route:
    """A route for calls with a registration token."""
    return RemoteAuthRoute(path, _answering(answer), methods=[method])


def _answering(answer: Answer) -> Answer:
    async def endpoint(request: Request) -> Response:
        try:
            return await answer(request)
        except Failed as failed:
            return JSONResponse(failed.body, failed.status)
        except Refused as refused:
            return JSONResponse({"message": refused.message}, refused.status)

    return endpoint

"""What config.sh calls to register a runner, with a registration token as `Authorization: RemoteAuth`."""

from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bridge.emulator.github.jit import public_key_of
from bridge.emulator.github.runner_protocol.answers import bearer, json_object, remote_auth_route
from bridge.emulator.github.state import GitHubState, Refused


class Registration:
    """Registers runners.

    Args:
        state: the model.
        base_url: of the emulator.
    """

    def __init__(self, state: GitHubState, base_url: Callable[[], str]) -> None:
        self._state = state
        self._base_url = base_url

    def routes(self, api_prefix: str) -> list[Route]:
        """The calls of config.sh; some have the path of a call of the REST API."""
        found = [
            remote_auth_route("POST", f"{api_prefix}/actions/runner-registration", self._announce),
            remote_auth_route("POST", f"{api_prefix}/actions/runners/register", self._register),
        ]
        for scope in ("orgs/{owner}", "repos/{owner}/{repo}"):
            base = f"{api_prefix}/{scope}/actions"
            found.append(remote_auth_route("GET", f"{base}/runner-groups", self._groups))
            found.append(remote_auth_route("GET", f"{base}/runners", self._runners))
        return found

    async def _announce(self, request: Request) -> Response:
        body = await json_object(request)
        self._require_token(request, self._target(str(body.get("url"))))
        url = f"{self._base_url()}/_pipelines/"
        token = {"token_schema": "OAuthAccessToken", "token": bearer(request, "RemoteAuth")}
        return JSONResponse({"url": url, **token, "use_v2_flow": True})

    async def _groups(self, request: Request) -> Response:
        self._require_token(request, self._scope(request))
        groups = [
            {"id": number, "name": name, "default": number == 1, "is_hosted": False}
            for number, name in self._state.groups.items()
        ]
        return JSONResponse({"total_count": len(groups), "runner_groups": groups})

    async def _runners(self, request: Request) -> Response:
        target, name = self._scope(request), request.query_params.get("name", "")
        self._require_token(request, target)
        found = [runner for runner in self._state.runners_at(target) if runner.name.lower() == name.lower()]
        runners = [{"id": runner.id, "name": runner.name} for runner in found]
        return JSONResponse({"total_count": len(runners), "runners": runners})

    async def _register(self, request: Request) -> Response:
        body = await json_object(request)
        target = self._target(str(body.get("url")))
        self._require_token(request, target)
        key = public_key_of(str(body.get("public_key")))
        labels = [str(label.get("name")) for label in body.get("labels") or ()]
        if body.get("group_id") not in self._state.groups or not body.get("name"):
            raise Refused(422, "Invalid request: name or group_id")
        if body.get("replace"):
            self._state.delete_runner(target, int(body.get("runner_id") or 0))
        runner = self._state.add_runner(
            target, str(body["name"]), labels, group_id=body["group_id"], ephemeral=body.get("ephemeral") is True
        )
        runner.public_key = key
        authorization = {
            "authorization_url": f"{self._base_url()}/_token/oauth2/token",
            "server_url": f"{self._base_url()}/_broker/",
            "client_id": runner.client_id,
        }
        return JSONResponse({"id": runner.id, "name": runner.name, "authorization": authorization}, 201)

    def _target(self, url: str) -> str:
        path = self._state.spelled(urlsplit(url).path.strip("/"))
        return f"repos/{path}" if "/" in path else f"orgs/{path}"

    def _scope(self, request: Request) -> str:
        return self._target("/" + "/".join(request.path_params.values()))

    def _require_token(self, request: Request, target: str) -> None:
        if not self._state.accepts(bearer(request, "RemoteAuth"), target):
            raise Refused(404, "Not Found")

"""The launch service: where a runner downloads the actions of other repositories."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bridge.emulator.github.runner_protocol.answers import Failed, bearer, json_object, route
from bridge.emulator.github.runner_protocol.identity import Identity, guid
from bridge.emulator.github.state import GitHubState


class Actions:
    """Serves actions from local folders, `state.actions`.

    Args:
        state: the model.
        identity: who calls.
        base_url: of the emulator.
    """

    def __init__(self, state: GitHubState, identity: Identity, base_url: Callable[[], str]) -> None:
        self._state = state
        self._identity = identity
        self._base_url = base_url

    def routes(self) -> list[Route]:
        """Resolve and download. The runner keeps only the host of the launch endpoint."""
        resolve = "/actions/build/{plan}/jobs/{job}/runnerresolve/actions"
        return [
            route("POST", resolve, self._resolve),
            route("GET", "/_actions/{owner}/{name}/{ref:path}.tar.gz", self._download),
        ]

    async def _resolve(self, request: Request) -> Response:
        job, body = self._identity.claim_of(bearer(request)).job, await json_object(request)
        if request.path_params["job"] != guid("job", job.id):
            raise Failed(404, {"message": "Not Found"})
        wanted = [(str(each.get("action")), str(each.get("version"))) for each in body.get("actions") or ()]
        missing = [f"{name}@{ref}" for name, ref in wanted if name.lower() not in self._state.actions]
        if missing:
            reason = "Unable to resolve action, repository not found"
            raise Failed(422, {"errors": {each: {"message": f"{reason}: {each}"} for each in missing}})
        return JSONResponse({"actions": {f"{name}@{ref}": self._resolved(name, ref) for name, ref in wanted}})

    def _resolved(self, name: str, ref: str) -> dict[str, Any]:
        url = f"{self._base_url()}/_actions/{name}/{ref}"
        sha = guid(name, 0).replace("-", "").ljust(40, "0")
        return {
            "name": name,
            "resolved_name": name,
            "resolved_sha": sha,
            "version": ref,
            "tar_url": f"{url}.tar.gz",
            "zip_url": f"{url}.zip",
            "authentication": None,
        }

    async def _download(self, request: Request) -> Response:
        owner, name = request.path_params["owner"], request.path_params["name"]
        folder = self._state.actions.get(f"{owner}/{name}".lower())
        if folder is None:
            raise Failed(404, {"message": "Not Found"})
        return Response(_packed(folder, f"{owner}-{name}"), media_type="application/x-gzip")


def _packed(folder: Path, top: str) -> bytes:
    """The folder as a tar.gz with one top folder, without `.git`."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        archive.add(folder, top, filter=lambda entry: None if entry.name == f"{top}/.git" else entry)
    return content.getvalue()

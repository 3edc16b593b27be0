"""Renamed repositories: GitHub redirects from the old name to the id of the repository.

https://docs.github.com/rest/using-the-rest-api/best-practices-for-using-the-rest-api#follow-redirects
"""

import re
from collections.abc import Callable

from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from bridge.emulator.github.state import GitHubState

_REPOSITORY = re.compile(r"(?P<api>.*)/repos/(?P<name>[^/]+/[^/]+)(?P<rest>/.*)?$")
_BY_ID = re.compile(r"(?P<api>.*)/repositories/(?P<id>\d+)(?P<rest>/.*)?$")


class Renames:
    """Redirects calls that use an old name of a repository, and answers calls by id.

    Args:
        app: the emulator.
        state: the model.
        base_url: the emulator's URL, once it listens.
    """

    def __init__(self, app: ASGIApp, state: GitHubState, base_url: Callable[[], str]) -> None:
        self._app = app
        self._state = state
        self._base_url = base_url

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a call, or pass it on."""
        path = scope.get("path", "")
        if (named := _REPOSITORY.match(path)) and (number := self._moved(named["name"])):
            query = scope["query_string"].decode()
            place = f"{self._base_url()}{named['api']}/repositories/{number}{named['rest'] or ''}"
            status = 301 if scope["method"] in ("GET", "HEAD") else 307
            await RedirectResponse(f"{place}?{query}" if query else place, status)(scope, receive, send)
            return
        if by_id := _BY_ID.match(path):
            name = next((r.full_name for r in self._state.repositories.values() if r.id == int(by_id["id"])), "?/?")
            path = f"{by_id['api']}/repos/{name}{by_id['rest'] or ''}"
            scope = {**scope, "path": path, "raw_path": path.encode()}
        await self._app(scope, receive, send)

    def _moved(self, name: str) -> int | None:
        taken = name.lower() in {known.lower() for known in self._state.repositories}
        return None if taken else self._state.redirects.get(name.lower())

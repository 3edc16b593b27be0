"""Renamed repositories: GitHub redirects from the old name to the repository's id.

https://docs.github.com/rest/using-the-rest-api/best-practices-for-using-the-rest-api#follow-redirects
"""

import re
from collections.abc import Callable

from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from bridge.emulator.github.state import GitHubState

_REPOSITORY = re.compile(r"(?P<api>.*)/repos/(?P<name>[^/]+/[^/]+)(?P<rest>/.*)?$")
_BY_ID = re.compile(r"(?P<api>.*)/repositories/(?P<id>\d+)(?P<rest>/.*)?$")


def rename(state: GitHubState, old: str, new: str) -> None:
    """Give a repository another name, with all that belongs to it.

    Args:
        state: the model.
        old: owner/name.
        new: owner/name.
    """
    repository = state.repositories.pop(old)
    repository.owner, repository.name = new.split("/")
    state.repositories[new] = repository
    state.redirects[old.lower()] = repository.id
    for runs in (state._runs_of, state._open_runs):
        runs[new] = runs.pop(old, {})
    for run in state.runs.values():
        run.repository = new if run.repository == old else run.repository
    for job in state.jobs.values():
        job.repository = new if job.repository == old else job.repository
    for runner in state.runners.values():
        if runner.target == f"repos/{old}":
            del state._by_name[runner.target, runner.name]
            runner.target = f"repos/{new}"
            state._by_name[runner.target, runner.name] = runner


class Renames:
    """Redirects calls that name a repository by an old name, and answers those by id.

    Args:
        app: the emulator.
        state: the model.
        base_url: where the emulator is served; known once it listens.
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

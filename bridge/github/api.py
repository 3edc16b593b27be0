"""GitHub's jobs and runners, as the bridge and the worker need them."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
from cachetools import LRUCache

from bridge.concurrency import each
from bridge.core.model import Absent, Deleted, JitConfig, RegistrationToken, Repository, Runner, WaitingRun, WorkflowJob
from bridge.errors import OutcomeUnknown, Rejected
from bridge.github import parse
from bridge.github.auth import Auth, Token
from bridge.github.cache import FlightCache
from bridge.github.transport import Transport, refusal, told

PAGES_KEPT = 20_000
"""Answers kept with their ETags: at some 3 KB each 60 MB, where docs/examples/bridge.service allows 512 MB to all.

A pass over 200 repositories with 500 open runs has 900.
"""

RUNS_LISTED = 1_000
"""Runs that GitHub lists at most of one search, the newest.

https://docs.github.com/rest/actions/workflow-runs#list-workflow-runs-for-a-repository
"""

REGISTRATION_MARGIN = 2700.0
"""s of life that a shared registration token must have left."""

LAG_WAITS = (1.0, 2.0, 4.0)
"""s between tries of a fresh token that GitHub's servers do not all know yet."""

T = TypeVar("T")
Send = Callable[[str, str, Mapping[str, str]], Awaitable[httpx.Response]]


def _runners_of(target: str) -> str:
    return f"/{target}/actions/runners?per_page=100"


@dataclass(frozen=True)
class _Page:
    """One answer of a listing: its validator, what was read from it, and where the next one is."""

    etag: str | None
    items: tuple[Any, ...]
    following: str | None


class GitHub:
    """The client. Every method may raise AuthError, RateLimited, Unavailable or Rejected.

    Args:
        http: made by `bridge.github.transport.http_client`.
        auth: where tokens come from.
        api_url: such as `https://api.github.com`.
        clock: Unix seconds.
        sleep: waits so many seconds of that clock.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        auth: Auth,
        *,
        api_url: str,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._transport = Transport(http, api_url, clock=clock, sleep=sleep)
        self._auth = auth
        self._clock = clock
        # ETags hold per token: https://docs.github.com/rest/using-the-rest-api/best-practices-for-using-the-rest-api
        self._pages: LRUCache[str, _Page] = LRUCache(PAGES_KEPT)
        self._pages_are_of = ""
        self._registrations: FlightCache[str, RegistrationToken] = FlightCache(
            lambda token: token.expires_at - REGISTRATION_MARGIN, clock
        )
        self._groups: FlightCache[tuple[str, str], int] = FlightCache(lambda _: float("inf"), clock)
        self._group_names: dict[tuple[str, int], str] = {}
        self._forks: FlightCache[int, bool] = FlightCache(lambda _: float("inf"), clock)

    @property
    def calls(self) -> Counter[str]:
        """Calls made, the App's own among them: `total`, and those of them `not_modified`."""
        made = Counter(self._transport.calls)
        made.update(self._auth.calls)
        return made

    async def learn_time(self) -> None:
        """Have GitHub answer once, for the clock that hears its answers; this costs nothing of the rate limit."""
        if self._auth.app:
            await self._auth.token()  # which is needed anyway
        else:
            await self._authorised(lambda headers: self._transport.read("GET", "/rate_limit", headers))

    async def repositories(self, owner: str) -> tuple[Repository, ...]:
        """The repositories of `owner` that can be seen; archived and disabled ones left out."""
        if self._auth.app:
            path = "/installation/repositories?per_page=100"
        else:
            path = f"/orgs/{owner}/repos?type=all&per_page=100"
        found = await self._list(path, parse.repositories, self._transport.look_up)
        return tuple(r for r in found if r.full_name.split("/")[0].lower() == owner.lower())

    async def repository(self, name: str) -> Repository | None:
        """A repository under its current name, which GitHub redirects to; None if it is gone or cannot be seen.

        Args:
            name: owner/name, perhaps an earlier one.
        """
        try:
            (found,) = await self._list(f"/repos/{name}", lambda raw: [parse.repository(raw)])
        except Rejected as error:
            if error.status != 404:
                raise
            return None
        return found

    async def open_jobs(self, repository: str) -> tuple[WorkflowJob, ...]:
        """The jobs of all runs that are queued or in progress; either may hold queued jobs."""
        runs: dict[int, Mapping[str, Any]] = {}
        for found in await asyncio.gather(*(self._runs(repository, s) for s in ("queued", "in_progress"))):
            runs |= {run["id"]: run for run in found}
        jobs = await each(runs, lambda run_id: self._jobs(repository, runs[run_id]))
        return tuple(job for of_run in jobs.values() for job in of_run)

    async def waiting_runs(self, repository: str) -> tuple[WaitingRun, ...]:
        """The runs that wait for a deployment review. A run's status is that of its least advanced job."""
        return tuple(parse.waiting_run(run, repository) for run in await self._runs(repository, "waiting"))

    async def run_jobs(self, run: WaitingRun) -> tuple[WorkflowJob, ...]:
        """The jobs of a run; none if it was deleted."""
        try:
            return await self._jobs(run.repository, {**run.details, "id": run.id})
        except Rejected as error:
            if error.status != 404:
                raise
            return ()

    async def job(self, repository: str, job_id: int) -> WorkflowJob | None:
        """One job, None if GitHub does not know it."""
        path = f"/repos/{repository}/actions/jobs/{job_id}"
        try:
            (job,) = await self._list(path, lambda raw: [parse.job(raw, repository, {})], self._transport.look_up)
        except Rejected as error:
            if error.status != 404:
                raise
            return None
        return job

    async def is_fork(self, repository: str, run_id: int) -> bool:
        """Whether a run comes from a fork, which never changes; the events of its jobs do not tell."""

        async def look() -> bool:
            path = f"/repos/{repository}/actions/runs/{run_id}"
            response = await self._authorised(lambda headers: self._transport.read("GET", path, headers))
            return told(response, parse.fork)

        return await self._forks.get(run_id, look)

    async def runners(self, target: str) -> tuple[Runner, ...]:
        """The self-hosted runners registered at `target`: orgs/ORG or repos/OWNER/NAME. Registrations wait for them."""
        return tuple(await self._list(_runners_of(target), parse.runners, self._transport.read))

    async def spare_runners(self, target: str) -> tuple[Runner, ...]:
        """As `runners`, where no registration waits for them."""
        return tuple(await self._list(_runners_of(target), parse.runners))

    async def runner_group_id(self, target: str, name: str) -> int:
        """The id of a runner group; a repository has only the default one."""

        async def look() -> int:
            if target.startswith("repos/"):
                groups = {"default": 1}
            else:
                path = f"/{target}/actions/runner-groups?per_page=100"
                groups = dict(await self._list(path, parse.groups, self._transport.read))
            if name.lower() not in groups:
                raise Rejected(
                    f"GitHub: {target} has no runner group {name!r}; create it, or fix runner_group", status=404
                )
            return groups[name.lower()]

        group_id = await self._groups.get((target, name), look)
        self._group_names[target, group_id] = name
        return group_id

    async def generate_jit_config(self, target: str, *, name: str, labels: list[str], group_id: int) -> JitConfig:
        """Register a just-in-time runner; once more if its group was made anew with another id.

        Raises:
            NameTaken: a runner of this name exists.
            OutcomeUnknown: no answer came; it may have been registered.
        """
        body = {"name": name, "labels": labels, "runner_group_id": group_id, "work_folder": "_work"}
        path = f"/{target}/actions/runners/generate-jitconfig"
        response = await self._authorised(lambda headers: self._transport.change(path, headers, body))
        if response.status_code in (404, 422):
            renewed = await self._renewed_group_id(target, group_id)
            if renewed != group_id:
                body["runner_group_id"] = renewed
                response = await self._authorised(lambda headers: self._transport.change(path, headers, body))
        return told(response, parse.jit_config, OutcomeUnknown)

    async def _renewed_group_id(self, target: str, group_id: int) -> int:
        """The present id of the runner group that was last known by `group_id`."""
        name = self._group_names.get((target, group_id))
        if name is None or target.startswith("repos/"):
            return group_id
        self._groups.evict((target, name), group_id)
        return await self.runner_group_id(target, name)

    async def registration_token(self, target: str) -> RegistrationToken:
        """A token that registers runners at `target`; shared while it has REGISTRATION_MARGIN left."""

        async def mint() -> RegistrationToken:
            path = f"/{target}/actions/runners/registration-token"
            response = await self._authorised(lambda headers: self._transport.read("POST", path, headers))
            return told(response, parse.registration_token)

        return await self._registrations.get(target, mint)

    async def delete_runner(self, target: str, runner_id: int) -> Deleted | Absent | None:
        """Delete a registration.

        Returns:
            Deleted by this call, the proof that its runner holds no job; Absent if there is none of this id; None if
            GitHub refuses, because the runner holds a job.
        """
        path = f"/{target}/actions/runners/{runner_id}"
        response = await self._authorised(lambda headers: self._transport.read("DELETE", path, headers))
        if response.status_code == 204:
            return Deleted(target=target, runner_id=runner_id)
        if response.status_code == 404:
            return Absent(target=target, runner_id=runner_id)
        if response.status_code == 422:
            return None
        raise refusal(response)

    async def _runs(self, repository: str, status: str) -> list[Mapping[str, Any]]:
        """The runs of a status; those beyond the RUNS_LISTED newest are asked for by their creation."""
        runs: dict[int, Mapping[str, Any]] = {}
        path = following = f"/repos/{repository}/actions/runs?status={status}&per_page=100"
        while following:
            found = await self._list(following, parse.runs)
            older = [run for run in found if run["id"] not in runs]
            runs |= {run["id"]: run for run in older}
            oldest = min((str(run["created_at"]) for run in older if run["created_at"]), default="")
            following = f"{path}&created={quote(f'*..{oldest}')}" if oldest and len(found) >= RUNS_LISTED else ""
        return list(runs.values())

    async def _jobs(self, repository: str, run: Mapping[str, Any]) -> tuple[WorkflowJob, ...]:
        path = f"/repos/{repository}/actions/runs/{run['id']}/jobs?filter=latest&per_page=100"
        return tuple(await self._list(path, lambda raw: parse.jobs(raw, repository, run)))

    async def _list(self, path: str, read: Callable[[Any], Iterable[T]], send: Send | None = None) -> list[T]:
        """Every item of a listing, page by page; a page that has not changed is not read again.

        Args:
            path: of the first page.
            read: the items of a page.
            send: how; what a registration waits for is no mere look.
        """
        items: list[T] = []
        following: str | None = path
        while following:
            page = await self._page(following, read, send or self._transport.look)
            items += page.items
            following = page.following
        return items

    async def _page(self, path: str, read: Callable[[Any], Iterable[Any]], send: Send) -> _Page:
        url = self._transport.url(path)
        used, kept = "", None

        async def get(headers: dict[str, str]) -> httpx.Response:
            nonlocal used, kept
            used, kept = headers["Authorization"], self._kept(url, headers["Authorization"])
            condition = {"If-None-Match": kept.etag} if kept and kept.etag else {}
            return await send("GET", path, {**headers, **condition})

        response = await self._authorised(get)
        if response.status_code == 304 and kept:
            return kept
        items = told(response, lambda raw: tuple(read(raw)))
        page = _Page(response.headers.get("etag"), items, response.links.get("next", {}).get("url"))
        if used == self._pages_are_of:
            self._pages[url] = page
        return page

    def _kept(self, url: str, authorization: str) -> _Page | None:
        """The page that GitHub has given to this token; with another, all are forgotten."""
        if authorization != self._pages_are_of:
            self._pages.clear()
            self._pages_are_of = authorization
        return self._pages.get(url)

    async def _authorised(self, send: Callable[[dict[str, str]], Any]) -> httpx.Response:
        """Send with a token; once more with another if GitHub refuses it."""
        token, response = await self._tried(send)
        if response.status_code == 401 and self._auth.app:
            self._auth.evict(token)
            _, response = await self._tried(send)
        return response

    async def _tried(self, send: Callable[[dict[str, str]], Any]) -> tuple[Token, httpx.Response]:
        """Send, and again while a token is so fresh that not every server knows it."""
        token = await self._auth.token()
        headers = {"Authorization": f"Bearer {token.value}"}
        response: httpx.Response = await send(headers)
        for wait in LAG_WAITS:
            lagging = response.status_code == 401 or (response.status_code == 403 and token.narrowed)
            if not lagging or not token.fresh(self._clock()):
                break
            await asyncio.sleep(wait)
            response = await send(headers)
        return token, response

"""GitHub's jobs and runners, as far as the bridge and the worker need them."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
from cachetools import LRUCache

from bridge.concurrency import each
from bridge.core.lost import SeenRun
from bridge.core.model import Absent, Deleted, JitConfig, RegistrationToken, Repository, Runner, WaitingRun, WorkflowJob
from bridge.errors import OutcomeUnknown, Rejected
from bridge.github import parse, reruns, runner_groups
from bridge.github.answers import error_of, value_of
from bridge.github.auth import Auth, Token
from bridge.github.cache import FlightCache
from bridge.github.deprecations import Deprecation, deprecation
from bridge.github.pacing import Priority
from bridge.github.personal import PersonalToken, described_by
from bridge.github.runner_groups import RunnerGroup
from bridge.github.timing import DEFAULT_TIMING, GitHubTiming
from bridge.github.transport import Transport

PAGES_KEPT = 20_000
"""Answers kept with their ETags. At about 3 KB each they take 60 MB; deploy/systemd/bridge.service allows 512 MB.

A pass over 200 repositories with 500 open runs has 900.
"""

RUNS_LISTED = 1_000
"""The most runs that GitHub lists for one search, newest first.

https://docs.github.com/rest/actions/workflow-runs#list-workflow-runs-for-a-repository
"""

T = TypeVar("T")


def _runners_of(target: str) -> str:
    return f"/{target}/actions/runners?per_page=100"


@dataclass(frozen=True)
class _Page:
    """One page of a listing: its ETag, its items, and the URL of the next page."""

    etag: str | None
    items: tuple[Any, ...]
    following: str | None


class GitHub:
    """The client. Every method may raise AuthError, RateLimited, Unavailable or Rejected.

    Args:
        http: made by `bridge.github.transport.http_client`.
        auth: provides tokens.
        api_url: such as `https://api.github.com`.
        timing: the clock and the waiting times.
        runs_listed: the most runs that GitHub lists for one search.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        auth: Auth,
        *,
        api_url: str,
        timing: GitHubTiming = DEFAULT_TIMING,
        runs_listed: int = RUNS_LISTED,
    ) -> None:
        self._transport = Transport(http, api_url, timing)
        self._auth = auth
        self._timing = timing
        self._runs_listed = runs_listed
        # ETags hold per token: https://github.com/eclipse-csi/otterdog/issues/201
        self._pages: LRUCache[str, _Page] = LRUCache(PAGES_KEPT)
        self._pages_are_of = ""
        self._registrations: FlightCache[str, RegistrationToken] = FlightCache(
            lambda token: token.expires_at - timing.registration_margin, timing.clock
        )
        self._groups: FlightCache[tuple[str, str], int] = FlightCache(lambda _: float("inf"), timing.clock)
        self._group_names: dict[tuple[str, int], str] = {}
        self._forks: FlightCache[int, bool] = FlightCache(lambda _: float("inf"), timing.clock)

    @property
    def calls(self) -> Counter[str]:
        """Calls made, including those with the App's JWT: `total`, and how many of them were `not_modified`."""
        made = Counter(self._transport.calls)
        made.update(self._auth.calls)
        return made

    @property
    def calls_left(self) -> int | None:
        """Calls that GitHub allows until its hourly limit is reset; None if no answer has said so."""
        return self._transport.calls_left

    async def learn_time(self) -> None:
        """Make one call, so that the clock learns the time from its answer. It does not count for the rate limit."""
        if self._auth.app:
            await self._auth.token()  # it is needed anyway
        else:
            await self._authorised(lambda headers: self._transport.send("GET", "/rate_limit", headers))

    async def repositories(self, owner: str) -> tuple[Repository, ...]:
        """The repositories of `owner` that the credentials can see, without archived and disabled ones."""
        if self._auth.app:
            path = "/installation/repositories?per_page=100"
        else:
            path = f"/orgs/{owner}/repos?type=all&per_page=100"
        found = await self._list(path, parse.repositories, Priority.JOB)
        return tuple(r for r in found if r.full_name.split("/")[0].lower() == owner.lower())

    async def repository(self, name: str) -> Repository | None:
        """A repository with its current name; None if it is gone or the credentials cannot see it.

        Args:
            name: owner/name. GitHub redirects an earlier name to the current one.
        """
        try:
            (found,) = await self._list(f"/repos/{name}", lambda raw: [parse.repository(raw)])
        except Rejected as error:
            if error.status != 404:
                raise
            return None
        return found

    async def open_jobs(self, repository: str) -> tuple[WorkflowJob, ...]:
        """The jobs of all runs that are queued or in progress. Both kinds of runs can have queued jobs."""
        runs: dict[int, Mapping[str, Any]] = {}
        for found in await asyncio.gather(*(self._runs(repository, s) for s in ("queued", "in_progress"))):
            runs |= {run["id"]: run for run in found}
        jobs = await each(runs, lambda run_id: self._jobs(repository, runs[run_id]))
        return tuple(job for of_run in jobs.values() for job in of_run)

    async def waiting_runs(self, repository: str) -> tuple[WaitingRun, ...]:
        """The runs that wait for a deployment review. Other jobs of such a run may be queued."""
        return tuple(parse.waiting_run(run, repository) for run in await self._runs(repository, "waiting"))

    async def run_jobs(self, run: WaitingRun) -> tuple[WorkflowJob, ...]:
        """The jobs of a run; none if the run was deleted."""
        try:
            return await self._jobs(run.repository, {**run.details, "id": run.id})
        except Rejected as error:
            if error.status != 404:
                raise
            return ()

    async def job(self, repository: str, job_id: int) -> WorkflowJob | None:
        """One job; None if GitHub does not know it."""
        path = f"/repos/{repository}/actions/jobs/{job_id}"
        try:
            (job,) = await self._list(path, lambda raw: [parse.job(raw, repository, {})], Priority.JOB)
        except Rejected as error:
            if error.status != 404:
                raise
            return None
        return job

    async def failed_step(self, repository: str, job_id: int) -> str | None:
        """The name of the first step of a job that failed; None if none did."""
        path = f"/repos/{repository}/actions/jobs/{job_id}"
        response = await self._authorised(lambda headers: self._transport.send("GET", path, headers))
        return next(iter(value_of(response, parse.failed_steps)), None)

    async def is_fork(self, repository: str, run_id: int) -> bool:
        """Whether a run comes from a fork. This never changes, and the events of its jobs do not say it."""

        async def read() -> bool:
            path = f"/repos/{repository}/actions/runs/{run_id}"
            response = await self._authorised(lambda headers: self._transport.send("GET", path, headers))
            return value_of(response, parse.fork)

        return await self._forks.get(run_id, read)

    async def runners(self, target: str) -> tuple[Runner, ...]:
        """The self-hosted runners at `target` (orgs/ORG or repos/OWNER/NAME), for registrations that wait for them."""
        return tuple(await self._list(_runners_of(target), parse.runners, Priority.REGISTRATION))

    async def runners_at_low_priority(self, target: str) -> tuple[Runner, ...]:
        """As `runners`, but in the background: no registration waits for them."""
        return tuple(await self._list(_runners_of(target), parse.runners))

    async def runner_group_id(self, target: str, name: str) -> int:
        """The id of a runner group. A repository has only the default group."""

        async def read() -> int:
            if target.startswith("repos/"):
                groups = {"default": 1}
            else:
                path = f"/{target}/actions/runner-groups?per_page=100"
                groups = dict(await self._list(path, parse.groups, Priority.REGISTRATION))
            if name.lower() not in groups:
                raise Rejected(
                    f"GitHub: {target} has no runner group {name!r}; create it, or correct runner_group", status=404
                )
            return groups[name.lower()]

        group_id = await self._groups.get((target, name), read)
        self._group_names[target, group_id] = name
        return group_id

    async def runner_groups(self, organisation: str) -> tuple[RunnerGroup, ...]:
        """The runner groups of an organization."""
        path = f"/orgs/{organisation}/actions/runner-groups?per_page=100"
        return tuple(await self._list(path, runner_groups.runner_groups, Priority.JOB))

    async def group_repositories(self, organisation: str, group_id: int) -> frozenset[str]:
        """The owner/name of each repository that was selected for a runner group."""
        path = f"/orgs/{organisation}/actions/runner-groups/{group_id}/repositories?per_page=100"
        return frozenset(await self._list(path, runner_groups.names, Priority.JOB))

    async def runner_deprecation(self, target: str, version: str) -> Deprecation | None:
        """Until when GitHub accepts a version of the runner; None if it says nothing about it."""
        path = f"/{target}/actions/runners/deprecations/{quote(version, safe='')}"
        response = await self._authorised(lambda headers: self._transport.send("GET", path, headers))
        return None if response.status_code == 404 else value_of(response, deprecation)

    async def personal_token(self) -> PersonalToken:
        """What GitHub says of the personal access token. The call does not count for the rate limit."""
        response = await self._authorised(lambda headers: self._transport.send("GET", "/rate_limit", headers))
        value_of(response, dict)
        return described_by(response)

    async def generate_jit_config(self, target: str, *, name: str, labels: list[str], group_id: int) -> JitConfig:
        """Register a just-in-time runner. If its group was created again and has a new id, try once more with that id.

        Raises:
            NameTaken: a runner with this name exists.
            OutcomeUnknown: no answer came; the runner may have been registered.
        """
        body = {"name": name, "labels": labels, "runner_group_id": group_id, "work_folder": "_work"}
        path = f"/{target}/actions/runners/generate-jitconfig"
        response = await self._authorised(lambda headers: self._transport.send_once(path, headers, body))
        if response.status_code in (404, 422):
            renewed = await self._renewed_group_id(target, group_id)
            if renewed != group_id:
                body["runner_group_id"] = renewed
                response = await self._authorised(lambda headers: self._transport.send_once(path, headers, body))
        return value_of(response, parse.jit_config, OutcomeUnknown)

    async def _renewed_group_id(self, target: str, group_id: int) -> int:
        """The current id of the runner group that had the id `group_id`."""
        name = self._group_names.get((target, group_id))
        if name is None or target.startswith("repos/"):
            return group_id
        self._groups.evict((target, name), group_id)
        return await self.runner_group_id(target, name)

    async def registration_token(self, target: str) -> RegistrationToken:
        """A token that registers runners at `target`; shared while it is valid for `registration_margin` or longer."""

        async def create() -> RegistrationToken:
            path = f"/{target}/actions/runners/registration-token"
            response = await self._authorised(lambda headers: self._transport.send("POST", path, headers))
            return value_of(response, parse.registration_token)

        return await self._registrations.get(target, create)

    async def delete_runner(self, target: str, runner_id: int) -> Deleted | Absent | None:
        """Delete a registration.

        Returns:
            Deleted if this call deleted it, which proves that the runner has no job; Absent if there is no registration
            with this id; None if GitHub refuses because the runner has a job.
        """
        path = f"/{target}/actions/runners/{runner_id}"
        response = await self._authorised(lambda headers: self._transport.send("DELETE", path, headers))
        if response.status_code == 204:
            return Deleted(target=target, runner_id=runner_id)
        if response.status_code == 404:
            return Absent(target=target, runner_id=runner_id)
        if response.status_code == 422:
            return None
        raise error_of(response)

    async def seen_run(self, repository: str, run_id: int) -> SeenRun | None:
        """A run, and if it has ended, the jobs of its newest attempt; None if GitHub does not know it."""
        path, at = f"/repos/{repository}/actions/runs/{run_id}", self._timing.clock()
        try:
            (run,) = await self._list(path, lambda raw: [reruns.run(raw)], Priority.JOB)
            of_run = f"{path}/jobs?filter=latest&per_page=100"
            jobs = await self._list(of_run, reruns.jobs, Priority.JOB) if run.completed else []
        except Rejected as error:
            if error.status != 404:
                raise
            return None
        return replace(run, at=at, jobs=tuple(jobs))

    async def rerun_job(self, repository: str, job_id: int) -> None:
        """Re-run a job and those that need it, as a new attempt of its run. The run must have ended.

        Raises:
            NotYet: it has not.
            OutcomeUnknown: no answer came; the attempt may have been made.
        """
        path = f"/repos/{repository}/actions/jobs/{job_id}/rerun"
        reruns.check_rerun(await self._authorised(lambda headers: self._transport.send_once(path, headers, None)))

    async def _runs(self, repository: str, status: str) -> list[Mapping[str, Any]]:
        """All runs with a status. GitHub lists the newest `runs_listed`; older ones are found by creation time."""
        runs: dict[int, Mapping[str, Any]] = {}
        path = following = f"/repos/{repository}/actions/runs?status={status}&per_page=100"
        while following:
            found = await self._list(following, parse.runs)
            older = [run for run in found if run["id"] not in runs]
            runs |= {run["id"]: run for run in older}
            oldest = min((str(run["created_at"]) for run in older if run["created_at"]), default="")
            following = f"{path}&created={quote(f'*..{oldest}')}" if oldest and len(found) >= self._runs_listed else ""
        return list(runs.values())

    async def _jobs(self, repository: str, run: Mapping[str, Any]) -> tuple[WorkflowJob, ...]:
        path = f"/repos/{repository}/actions/runs/{run['id']}/jobs?filter=latest&per_page=100"
        return tuple(await self._list(path, lambda raw: parse.jobs(raw, repository, run)))

    async def _list(
        self, path: str, read: Callable[[Any], Iterable[T]], priority: Priority = Priority.BACKGROUND
    ) -> list[T]:
        """All items of a listing, page by page. A page that has not changed is not converted again.

        Args:
            path: of the first page.
            read: converts a page to items.
            priority: of the calls.
        """
        items: list[T] = []
        following: str | None = path
        while following:
            page = await self._page(following, read, priority)
            items += page.items
            following = page.following
        return items

    async def _page(self, path: str, read: Callable[[Any], Iterable[Any]], priority: Priority) -> _Page:
        url = self._transport.url(path)
        used, kept = "", None

        async def get(headers: dict[str, str]) -> httpx.Response:
            nonlocal used, kept
            used, kept = headers["Authorization"], self._kept(url, headers["Authorization"])
            condition = {"If-None-Match": kept.etag} if kept and kept.etag else {}
            return await self._transport.send("GET", path, {**headers, **condition}, priority=priority)

        response = await self._authorised(get)
        if response.status_code == 304 and kept:
            return kept
        items = value_of(response, lambda raw: tuple(read(raw)))
        page = _Page(response.headers.get("etag"), items, response.links.get("next", {}).get("url"))
        if used == self._pages_are_of:
            self._pages[url] = page
        return page

    def _kept(self, url: str, authorization: str) -> _Page | None:
        """The page that GitHub returned for this token. With a new token, all pages are removed."""
        if authorization != self._pages_are_of:
            self._pages.clear()
            self._pages_are_of = authorization
        return self._pages.get(url)

    async def _authorised(self, send: Callable[[dict[str, str]], Any]) -> httpx.Response:
        """Send with a token. If GitHub rejects it, send once more with a new one."""
        token, response = await self._tried(send)
        if response.status_code == 401 and self._auth.app:
            self._auth.evict(token)
            _, response = await self._tried(send)
        return response

    async def _tried(self, send: Callable[[dict[str, str]], Any]) -> tuple[Token, httpx.Response]:
        """Send, and try again while the token is so new that some servers do not accept it yet."""
        token = await self._auth.token()
        headers = {"Authorization": f"Bearer {token.value}"}
        response: httpx.Response = await send(headers)
        for wait in self._timing.token_waits:
            if response.status_code != 401 or self._timing.clock() >= token.new_until:
                break
            await self._timing.sleep(wait)
            response = await send(headers)
        return token, response

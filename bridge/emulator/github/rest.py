"""GitHub's REST API for the model, below /api/v3 as on GitHub Enterprise Server. https://docs.github.com/rest"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from email.utils import formatdate
from itertools import islice
from typing import Any
from urllib.parse import urlencode, urlsplit

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bridge.emulator.github import shapes
from bridge.emulator.github.access import Access, Grant, allows
from bridge.emulator.github.budget import SecondaryLimit, Spending
from bridge.emulator.github.deliveries import DeliveryLog
from bridge.emulator.github.events import hook_config
from bridge.emulator.github.job_calls import JobCalls
from bridge.emulator.github.state import GitHubState, Refused, Run, iso, jit_config

PREFIX = "/api/v3"
RUNS_LISTED = 1000
"""The largest number of runs that GitHub lists: https://docs.github.com/rest/actions/workflow-runs"""

CURSOR = "v1_"
"""The prefix of GitHub's cursors."""

DOCUMENTATION = "https://docs.github.com/rest"

Answer = tuple[int, Any]


class Rest(JobCalls):
    """The API.

    Args:
        state: the model.
        access: authenticates callers.
        base_url: this emulator's URL, once it listens.
        spending: counts the callers' calls.
        deliveries: the log of the App's webhook.
    """

    def __init__(
        self,
        state: GitHubState,
        access: Access,
        base_url: Callable[[], str],
        spending: Spending,
        deliveries: DeliveryLog,
    ) -> None:
        self._state = state
        self._access = access
        self._base_url = base_url
        self._spending = spending
        self._deliveries = deliveries
        self.calls: Counter[str] = Counter()
        self.not_modified = 0

    @property
    def _api(self) -> str:
        return self._base_url() + PREFIX

    def routes(self) -> list[Route]:
        """All calls that the bridge and the worker make."""
        runners, actions = "organization_self_hosted_runners", "actions"
        made = [
            self._by_app("GET", "/orgs/{owner}/installation", self._org_installation),
            self._by_app("GET", "/users/{owner}/installation", self._user_installation),
            self._by_app("POST", "/app/installations/{id:int}/access_tokens", self._access_token),
            self._by_app("GET", "/app", self._app),
            self._by_app("GET", "/app/hook/config", self._hook_config),
            self._by_app("PATCH", "/app/hook/config", self._set_hook_config),
            self._by_app("GET", "/app/hook/deliveries", self._hook_deliveries),
            self._by_app("GET", "/app/hook/deliveries/{id:int}", self._hook_delivery),
            self._by_token("GET", "/installation/repositories", ("metadata", "read"), self._repositories),
            self._by_token("GET", "/orgs/{owner}/repos", ("metadata", "read"), self._owned_repositories),
            self._by_token("GET", "/repos/{owner}/{repo}", ("metadata", "read"), self._one_repository),
            self._by_token("GET", "/repos/{owner}/{repo}/actions/runs", (actions, "read"), self._runs),
            self._by_token("GET", "/repos/{owner}/{repo}/actions/runs/{id:int}", (actions, "read"), self._run),
            self._by_token("GET", "/repos/{owner}/{repo}/actions/runs/{id:int}/jobs", (actions, "read"), self._jobs),
            *self._job_routes(),
            self._by_token("GET", "/orgs/{owner}/actions/runner-groups", (runners, "read"), self._groups),
            self._by_token(
                "GET",
                "/orgs/{owner}/actions/runner-groups/{id:int}/repositories",
                (runners, "read"),
                self._group_repositories,
            ),
            self._route("GET", "/rate_limit", self._rate_limit),
        ]
        for kind, permission in (("orgs/{owner}", runners), ("repos/{owner}/{repo}", "administration")):
            base, may = f"/{kind}/actions/runners", (permission, "write")
            made += [
                self._by_token("GET", base, (permission, "read"), self._runners),
                self._by_token("GET", f"{base}/deprecations/{{version}}", (permission, "read"), self._deprecation),
                self._by_token("POST", f"{base}/registration-token", may, self._registration_token),
                self._by_token("POST", f"{base}/generate-jitconfig", may, self._jit_config),
                self._by_token("DELETE", f"{base}/{{id:int}}", may, self._delete_runner),
            ]
        return made

    # --- installations and repositories ---

    async def _org_installation(self, request: Request) -> Answer:
        if request.path_params["owner"] not in self._state.organisations:
            raise Refused(404, "Not Found")
        return self._installation(request)

    async def _user_installation(self, request: Request) -> Answer:
        return self._installation(request)

    def _installation(self, request: Request) -> Answer:
        app, owner = self._access.app, request.path_params["owner"]
        if owner != app.owner or not app.installed:
            raise Refused(404, "Not Found")
        return 200, shapes.installation(self._state, app, self._api)

    async def _access_token(self, request: Request) -> Answer:
        app = self._access.app
        if request.path_params["id"] != app.installation_id or not app.installed:
            raise Refused(404, "Not Found")
        if app.suspended:
            raise Refused(403, "This installation has been suspended")
        body = json.loads(await request.body() or "{}")
        token, grant = self._access.issue(body.get("permissions"), self._narrowed(body))
        return 201, {"token": token, "expires_at": iso(grant.expires_at), "permissions": grant.permissions}

    def _narrowed(self, body: dict[str, Any]) -> list[str] | None:
        """The names of the repositories that a token is requested for; None for all."""
        app = self._access.app
        owned = (r for r in self._state.repositories.values() if r.owner == app.owner)
        installed = {r.name: r.id for r in owned if app.selects(r.name)}
        names, ids = body.get("repositories"), body.get("repository_ids")
        if not names and not ids:
            return None
        if set(names or ()) - installed.keys() or set(ids or ()) - set(installed.values()):
            raise Refused(422, "There is at least one repository that does not exist or is not accessible.")
        return [
            name for name, repository_id in installed.items() if name in (names or ()) or repository_id in (ids or ())
        ]

    async def _repositories(self, request: Request) -> Answer:
        grant, owner = self._access.check_token(_bearer(request)), self._access.app.owner
        found = [r for r in self._state.repositories.values() if r.owner == owner and grant.reaches(owner, r.name)]
        page = self._paged(request, found)
        listed = [shapes.full_repository(self._state, r, self._api) for r in page]
        return 200, {"total_count": len(found), "repositories": listed}

    async def _owned_repositories(self, request: Request) -> Answer:
        found = [r for r in self._state.repositories.values() if r.owner == request.path_params["owner"]]
        return 200, [shapes.minimal_repository(self._state, r, self._api) for r in self._paged(request, found)]

    async def _one_repository(self, request: Request) -> Answer:
        found = self._state.repositories[self._repository(request)]
        counts = {"network_count": 0, "subscribers_count": 0}  # not in listings
        return 200, shapes.full_repository(self._state, found, self._api) | counts

    # --- the App's webhook ---

    async def _app(self, _request: Request) -> Answer:
        app = self._access.app
        return 200, {
            "id": app.app_id,
            "client_id": app.client_id,
            "slug": app.slug,
            "node_id": f"A_{app.app_id}",
            "name": app.name,
            "owner": shapes.owner(self._state, app.owner, self._api),
            "description": None,
            "external_url": self._base_url(),
            "html_url": f"{self._base_url()}/apps/{app.slug}",
            "created_at": shapes.EPOCH,
            "updated_at": shapes.EPOCH,
            "permissions": app.permissions,
            "events": app.events,
        }

    async def _hook_config(self, _request: Request) -> Answer:
        return 200, hook_config(self._access.app)

    async def _set_hook_config(self, request: Request) -> Answer:
        """Change what is given. https://docs.github.com/rest/apps/webhooks#update-a-webhook-configuration-for-an-app"""
        app, body = self._access.app, json.loads(await request.body())
        url = body.get("url", app.webhook_url)
        if url is not None and urlsplit(url).scheme not in ("http", "https"):
            raise Refused(422, "Validation Failed")
        app.webhook_url, app.webhook_secret = url, body.get("secret", app.webhook_secret)
        app.webhook_insecure_ssl = str(body.get("insecure_ssl", app.webhook_insecure_ssl))
        return 200, hook_config(app)

    async def _hook_deliveries(self, request: Request) -> Answer:
        size, cursor = min(100, int(request.query_params.get("per_page", 30))), request.query_params.get("cursor")
        before = int(cursor.removeprefix(CURSOR)) if cursor else None
        found, more = self._deliveries.newest(before, size)
        if found and more:
            self._link(request, cursor=f"{CURSOR}{found[-1].id}")
        return 200, [logged.item() for logged in found]

    async def _hook_delivery(self, request: Request) -> Answer:
        return 200, self._deliveries.one(request.path_params["id"]).whole()

    # --- runs and jobs ---

    async def _runs(self, request: Request) -> Answer:
        repository, wanted = self._repository(request), request.query_params.get("status")
        # `created` accepts a range as in GitHub's search; only `*..DATE` is supported here.
        # https://docs.github.com/search-github/getting-started-with-searching-on-github/understanding-the-search-syntax
        latest = request.query_params.get("created", "").removeprefix("*..")
        runs = (r for r in self._state.runs_of(repository, wanted) if not latest or str(iso(r.created_at)) <= latest)
        found = list(islice(runs, self._state.runs_listed))
        listed = [shapes.run(self._state, r, self._api) for r in self._paged(request, found)]
        return 200, {"total_count": len(found), "workflow_runs": listed}

    async def _run(self, request: Request) -> Answer:
        return 200, shapes.run(self._state, self._found_run(request), self._api)

    def _found_run(self, request: Request) -> Run:
        run = self._state.runs.get(request.path_params["id"])
        if not run or run.repository != self._repository(request):
            raise Refused(404, "Not Found")
        return run

    async def _jobs(self, request: Request) -> Answer:
        found = list(self._found_run(request).jobs.values())
        listed = [shapes.job(self._state, j, self._api) for j in self._paged(request, found)]
        return 200, {"total_count": len(found), "jobs": listed}

    def _repository(self, request: Request) -> str:
        return self._state.spelled("{owner}/{repo}".format(**request.path_params))

    # --- runners ---

    def _target(self, request: Request) -> str:
        if "repo" in request.path_params:
            return f"repos/{self._repository(request)}"
        return f"orgs/{self._state.spelled(request.path_params['owner'])}"

    async def _groups(self, request: Request) -> Answer:
        target = self._target(request)
        listed = [shapes.group(self._state, number, target, self._api) for number in self._state.groups]
        return 200, {"total_count": len(listed), "runner_groups": self._paged(request, listed)}

    async def _group_repositories(self, request: Request) -> Answer:
        # https://docs.github.com/rest/actions/self-hosted-runner-groups#list-repository-access-to-a-self-hosted-runner-group-in-an-organization
        group_id = request.path_params["id"]
        if group_id not in self._state.groups:
            raise Refused(404, "Not Found")
        names = sorted(self._state.admitted.get(group_id, ()))
        found = [self._state.repositories[name] for name in names if name in self._state.repositories]
        listed = [shapes.minimal_repository(self._state, r, self._api) for r in self._paged(request, found)]
        return 200, {"total_count": len(found), "repositories": listed}

    async def _rate_limit(self, request: Request) -> Answer:
        """The limits; this call does not count, and needs no credential.

        https://docs.github.com/rest/rate-limit/rate-limit
        """
        if "authorization" in request.headers:
            request.state.grant = self._access.check_token(_bearer(request))
            core = self._spending.status(request.state.grant.caller)
        else:
            core = {"limit": 60, "used": 0, "remaining": 60, "reset": int(self._state.clock()) + 3600}
        return 200, {"resources": {"core": core, "search": core}, "rate": core}

    async def _deprecation(self, request: Request) -> Answer:
        return 200, self._state.deprecation(request.path_params["version"])

    async def _runners(self, request: Request) -> Answer:
        name = request.query_params.get("name")
        found = [r for r in self._state.runners_at(self._target(request)) if name in (None, r.name)]
        listed = [shapes.runner(self._state, r) for r in self._paged(request, found)]
        return 200, {"total_count": len(found), "runners": listed}

    async def _registration_token(self, request: Request) -> Answer:
        token, expires_at = self._state.registration_token(self._target(request))
        return 201, {"token": token, "expires_at": iso(expires_at)}

    async def _jit_config(self, request: Request) -> Answer:
        target, body = self._target(request), json.loads(await request.body())
        labels, name = body.get("labels") or [], body.get("name") or ""
        if not 1 <= len(labels) <= 100 or any(not 0 < len(label) <= 256 for label in labels):
            raise Refused(422, "Invalid request: labels must be 1 to 100 of at most 256 characters")
        if not 1 <= len(name) <= 64 or body.get("runner_group_id") not in self._state.groups:
            raise Refused(422, "Invalid request: name or runner_group_id")
        runner = self._state.add_runner(target, name, labels, group_id=body["runner_group_id"])
        return 201, {
            "runner": shapes.runner(self._state, runner),
            "encoded_jit_config": jit_config(runner, self._base_url()),
        }

    async def _delete_runner(self, request: Request) -> Answer:
        self._state.delete_runner(self._target(request), request.path_params["id"])
        return 204, None

    # --- all calls ---

    def _paged(self, request: Request, found: Sequence[Any]) -> list[Any]:
        """One page. `request.state.link` gets the header with the next one."""
        size = min(100, int(request.query_params.get("per_page", 30)))
        page = int(request.query_params.get("page", 1))
        if len(found) > page * size:
            self._link(request, page=page + 1)
        return list(found[(page - 1) * size : page * size])

    def _link(self, request: Request, **following: object) -> None:
        query = urlencode({**request.query_params, **following})
        request.state.link = f'<{self._base_url()}{request.url.path}?{query}>; rel="next"'

    def _by_app(self, method: str, path: str, answer: Any) -> Route:
        async def checked(request: Request) -> Answer:
            self._access.check_jwt(_bearer(request))
            self._spend(request, "app")
            return await answer(request)  # type: ignore[no-any-return]

        return self._route(method, path, checked)

    def _by_token(self, method: str, path: str, needs: tuple[str, str], answer: Any) -> Route:
        async def checked(request: Request) -> Answer:
            grant: Grant = self._access.check_token(_bearer(request))
            if not grant.reaches(
                request.path_params.get("owner", self._access.app.owner), request.path_params.get("repo")
            ):
                raise Refused(404, "Not Found")
            if not allows(grant, *needs):
                request.state.needs = "=".join(needs)
                request.state.grant = grant
                raise Refused(403, "Resource not accessible by integration")
            request.state.grant = grant
            self._spend(request, grant.caller)
            return await answer(request)  # type: ignore[no-any-return]

        return self._route(method, path, checked)

    def _spend(self, request: Request, caller: str) -> None:
        request.state.caller = caller
        self._spending.spend(caller, request.method)

    def _route(self, method: str, path: str, answer: Any) -> Route:
        call = f"{method} {path}".replace(":int}", "}")

        async def endpoint(request: Request) -> Response:
            self.calls[call] += 1
            try:
                status, body = await answer(request)
            except Refused as refused:
                if isinstance(refused, SecondaryLimit):
                    request.state.retry_after = str(refused.retry_after)
                status, body = refused.status, {"message": refused.message, "documentation_url": DOCUMENTATION}
            except (ValueError, TypeError, AttributeError):
                status, body = 400, {"message": "Problems parsing JSON"}
            return self._response(request, status, body)

        return Route(PREFIX + path, endpoint, methods=[method])

    def _response(self, request: Request, status: int, body: Any) -> Response:
        content = b"" if body is None else json.dumps(body).encode()
        etag = ""
        if request.method == "GET" and status == 200:
            # Validators hold per token: https://github.com/eclipse-csi/otterdog/issues/201
            digest = hashlib.sha256(_bearer(request).encode() + content).hexdigest()[:40]
            etag = f'W/"{digest}"'
            if request.headers.get("if-none-match") == etag:
                self.not_modified += 1
                self._spending.not_modified(request.state.caller)
                return Response(status_code=304, headers=self._headers(request, etag))
        return Response(content, status, self._headers(request, etag), media_type="application/json")

    def _headers(self, request: Request, etag: str) -> dict[str, str]:
        headers = {
            **({"etag": etag} if etag else {}),
            "date": formatdate(self._state.clock(), usegmt=True),
            "x-github-request-id": f"EMU:{self._state.next_id()}",
        }
        if caller := getattr(request.state, "caller", None):
            headers |= self._spending.headers(caller)
        if wait := getattr(request.state, "retry_after", None):
            headers["retry-after"] = wait
        if link := getattr(request.state, "link", None):
            headers["link"] = link
        if needs := getattr(request.state, "needs", None):
            headers["x-accepted-github-permissions"] = needs
        if grant := getattr(request.state, "grant", None):
            headers |= grant.headers()
        return headers


def _bearer(request: Request) -> str:
    """The credential, with any authorization scheme: GitHub accepts `Bearer` and `token`."""
    return request.headers.get("authorization", "").partition(" ")[2]

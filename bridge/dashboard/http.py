"""The dashboard's pages: who may see them, what they answer, and the headers that protect them."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import parse_qs

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from bridge.dashboard.access import Visit, is_local, same_site
from bridge.dashboard.attempts import Attempts, Client, client_of
from bridge.dashboard.feed import Feed, Trouble
from bridge.dashboard.ports import GitHubSignIn
from bridge.dashboard.queries import Query, job_id, read
from bridge.dashboard.render import ASSETS, Fragment, Pages
from bridge.dashboard.sessions import TOKEN, Login, Sessions
from bridge.errors import AuthError, BridgeError
from bridge.telemetry import mask

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}
"""Headers of every answer. A page loads only what the bridge serves, and no other site can embed or read it.

https://cheatsheetseries.owasp.org/cheatsheets/HTTP_Headers_Cheat_Sheet.html
"""

LONGEST_FORM = 4096
"""Bytes of a form."""

CLOSED = (
    "The dashboard is open only to browsers on the machine of the bridge. To open it elsewhere, set "
    "BRIDGE_DASHBOARD_TOKEN or BRIDGE_DASHBOARD_CLIENT_SECRET; the documentation explains both."
)

log = structlog.get_logger()
Answer = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, kw_only=True)
class Dashboard:
    """What the pages use.

    Args:
        pages: renders them.
        feed: reads what they show.
        login: how people sign in.
        sessions: who is signed in.
        tokens: limits wrong tokens.
        codes: limits sign-ins with GitHub that fail.
        github: signs people in with GitHub; None if they cannot.
        retry: retries a job for a person, and says whether the job is open; None if people can change nothing.
    """

    pages: Pages
    feed: Feed
    login: Login
    sessions: Sessions
    tokens: Attempts
    codes: Attempts
    github: GitHubSignIn | None = None
    retry: Callable[[int, str], Awaitable[bool]] | None = None


def routes(dashboard: Dashboard) -> list[Route]:
    """The dashboard's addresses."""
    shown, signing = _Shown(dashboard), _SignIn(dashboard)
    actions = [_route("/jobs/{id}/retry", shown.retry, method="POST")] if dashboard.retry else []
    return [
        *actions,
        _route("/", shown.page),
        _route("/jobs/{id}", shown.page),
        _route("/updates", shown.updates),
        _route("/updates/jobs/{id}", shown.updates),
        _route("/static/{name}", shown.asset),
        _route("/login", signing.form),
        _route("/login", signing.with_token, method="POST"),
        _route("/login/github", signing.to_github),
        _route("/login/callback", signing.from_github),
        _route("/logout", signing.out, method="POST"),
    ]


def _route(path: str, answer: Answer, method: str = "GET") -> Route:
    async def endpoint(request: Request) -> Response:
        response = await answer(request)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    return Route(path, endpoint, methods=[method])


def visit_of(request: Request) -> Visit:
    """Where a request comes from."""
    return Visit(
        peer=request.client.host if request.client else None,
        hosts=request.headers.getlist("host"),
        headers=frozenset(request.headers.keys()),
        http_version=request.scope.get("http_version", ""),
    )


class _Shown:
    """The pages with content."""

    def __init__(self, dashboard: Dashboard) -> None:
        self._pages = dashboard.pages
        self._feed = dashboard.feed
        self._sessions = dashboard.sessions
        self._login = dashboard.login
        self._retry = dashboard.retry
        self._can_sign_in = dashboard.login.token is not None or dashboard.github is not None

    async def page(self, request: Request) -> Response:
        person = self._sessions.person(request)
        if refused := self._refused(request, person, RedirectResponse("/login", 303)):
            return refused
        query = _query_of(request)
        try:
            fragment = await self._feed.answer(query) if query else None
        except BridgeError as error:
            text = f"{mask(str(error))}. This page tries again in 30 seconds."
            return HTMLResponse(self._pages.message("The ledger cannot be read", text), 503, {"Refresh": "30"})
        if query is None or fragment is None:
            text = "The ledger has no such job. Jobs that ended long ago are deleted from it."
            return HTMLResponse(self._pages.message("No such job", text, home=True), 404)
        live = f"/updates{query.path if query.job is not None else query.query}"
        visitor, retry = self._sessions.visitor(request), None
        if self._retry and fragment.can_retry:
            retry = f"/jobs/{query.job}/retry", self._sessions.form_token(visitor)
        response = HTMLResponse(self._pages.document(fragment, live=live, person=person, retry=retry))
        if retry:
            self._sessions.remember(request, response, visitor)
        return response

    async def retry(self, request: Request) -> Response:
        """Retry a job, for a person who sent the form of its page."""
        person = self._sessions.person(request)
        if refused := self._refused(request, person, RedirectResponse("/login", 303)):
            return refused
        form = await _form_of(request)
        own = same_site(request.headers.get("origin"), request.headers.getlist("host"))
        if not own or not self._sessions.is_form_token(request, form.get("form", "")):
            text = "The form was not sent from this page, or it is too old. Open the job again."
            return HTMLResponse(self._pages.message("Nothing was changed", text, home=True), 403)
        return await self._retried(job_id(request.path_params["id"]), person or "a browser on this machine")

    async def _retried(self, job: int | None, person: str) -> Response:
        try:
            is_open = self._retry is not None and job is not None and await self._retry(job, person)
        except BridgeError as error:
            return HTMLResponse(self._pages.message("Nothing was changed", f"{mask(str(error))}.", home=True), 503)
        if not is_open:
            text = "The ledger has no open job of this id, so there is nothing to retry."
            return HTMLResponse(self._pages.message("Nothing was changed", text, home=True), 404)
        self._feed.expire()
        return RedirectResponse(f"/jobs/{job}", 303)

    async def updates(self, request: Request) -> Response:
        """Server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html"""
        refusal = HTMLResponse(self._pages.message("Sign in", "You are not signed in."), 401)
        if refused := self._refused(request, self._sessions.person(request), refusal):
            return refused
        query = _query_of(request)
        if query is None:
            return Response(status_code=404)
        if request.method == "HEAD":
            return Response(media_type="text/event-stream")  # without a viewer's place
        if self._feed.is_full:
            return HTMLResponse(self._pages.message("Too many viewers", "Reload the page later."), 503)
        events = _events(self._feed, query, request.headers.get("last-event-id"))
        # X-Accel-Buffering: nginx would collect the events otherwise
        return StreamingResponse(events, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})

    async def asset(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in ASSETS:
            return Response(status_code=404)
        # The address has the version as its query.
        lasting = {"Cache-Control": "public, max-age=31536000, immutable"}
        return Response(self._pages.assets[name], media_type=ASSETS[name], headers=lasting)

    def _refused(self, request: Request, person: str | None, to_sign_in: Response) -> Response | None:
        """The answer to somebody who may not see a page; None to everybody else."""
        if person is not None or (not self._login.is_needed and is_local(visit_of(request))):
            return None
        if self._can_sign_in:
            return to_sign_in
        return HTMLResponse(self._pages.message("Not open here", CLOSED), 403)


def _query_of(request: Request) -> Query | None:
    """What a page asks for; None for a job that cannot exist."""
    given = request.path_params.get("id")
    if given is None:
        return read(request.query_params)
    job = job_id(given)
    return None if job is None else Query(job=job)


async def _events(feed: Feed, query: Query, seen: str | None) -> AsyncIterator[str]:
    yield "retry: 2000\n\n"
    async for update in feed.updates(query, seen):
        match update:
            case Fragment():
                yield f"id: {update.digest}\nevent: main\n{_data(update.html)}\n\n"
            case Trouble():
                yield f"event: trouble\n{_data(update.message)}\n\n"
            case None:
                yield ": still here\n\n"


def _data(text: str) -> str:
    return "\n".join(f"data: {line}" for line in text.splitlines())


def _client(request: Request) -> Client:
    return client_of(request.client.host if request.client else None, request.headers.getlist("x-forwarded-for"))


class _SignIn:
    """Signing in and out."""

    def __init__(self, dashboard: Dashboard) -> None:
        self._pages = dashboard.pages
        self._login = dashboard.login
        self._sessions = dashboard.sessions
        self._tokens = dashboard.tokens
        self._codes = dashboard.codes
        self._github = dashboard.github

    async def form(self, _request: Request) -> Response:
        if self._login.token is None and self._github is None:
            return HTMLResponse(self._pages.message("Not open here", CLOSED), 403)
        return self._form(None, 200)

    def _form(self, problem: str | None, status: int) -> Response:
        github, token = self._github is not None, self._login.token is not None
        return HTMLResponse(self._pages.login(github=github, token=token, problem=problem), status)

    async def with_token(self, request: Request) -> Response:
        if self._login.token is None:
            return HTMLResponse(self._pages.message("Not open here", CLOSED), 403)
        if not same_site(request.headers.get("origin"), request.headers.getlist("host")):
            return self._form("The form came from another site. Try again here.", 403)
        given = (await _form_of(request)).get("token", "")
        client = _client(request)
        if not self._tokens.begin(client):
            return self._form("Too many wrong tokens. Try again in a minute.", 429)
        if not self._sessions.is_token(given):
            peer = request.client.host if request.client else None
            log.warning("dashboard: wrong token", peer=peer, forwarded_for=client.behind or None)
            return self._form("This is not the token of this bridge (BRIDGE_DASHBOARD_TOKEN).", 401)
        self._tokens.succeeded(client)
        return self._signed_in(TOKEN)

    async def to_github(self, _request: Request) -> Response:
        if self._github is None or self._login.public_url is None:
            return Response(status_code=404)
        response = RedirectResponse("/", 303)
        state, challenge = self._sessions.begin(response)
        response.headers["location"] = self._github.address(state=state, challenge=challenge, redirect=self._callback)
        return response

    async def from_github(self, request: Request) -> Response:
        """GitHub sends the browser here, with a code or an error such as `access_denied`."""
        if self._github is None:
            return Response(status_code=404)
        verifier = self._sessions.finish(request, request.query_params.get("state", ""))
        code = request.query_params.get("code", "")
        if verifier is None:
            return self._form("This sign-in began elsewhere or took too long. Try again.", 400)
        client = _client(request)
        if code and not self._codes.begin(client):
            response = self._form("Too many sign-ins failed. Try again in a minute.", 429)
        elif code:
            response = await self._with_code(self._github, code, verifier, client)
        else:
            response = self._form("GitHub signed nobody in.", 401)
        self._sessions.forget(response)
        return response

    async def _with_code(self, github: GitHubSignIn, code: str, verifier: str, client: Client) -> Response:
        try:
            person = await github.person(code, verifier=verifier, redirect=self._callback)
        except AuthError as error:
            log.warning("dashboard: sign-in refused", why=str(error))
            return self._form(mask(error.message), 403)
        except BridgeError as error:
            log.warning("dashboard: sign-in failed", why=str(error))
            return self._form(f"GitHub did not answer as expected: {mask(error.message)}. Try again.", 502)
        self._codes.succeeded(client)
        return self._signed_in(f"@{person}")

    def _signed_in(self, person: str) -> Response:
        log.info("dashboard: signed in", person=person)
        response = RedirectResponse("/", 303)
        self._sessions.start(response, person)
        return response

    @property
    def _callback(self) -> str:
        return f"{self._login.public_url}/login/callback"

    async def out(self, request: Request) -> Response:
        if not same_site(request.headers.get("origin"), request.headers.getlist("host")):
            return self._form("The form came from another site. Try again here.", 403)
        response = RedirectResponse("/login", 303)
        self._sessions.end(response)
        return response


async def _form_of(request: Request) -> dict[str, str]:
    """The fields of a form; none if it is too long or not a form."""
    body = b""
    try:
        async for part in request.stream():
            body += part
            if len(body) > LONGEST_FORM:
                return {}
        return {name: values[0] for name, values in parse_qs(body.decode(), max_num_fields=10).items()}
    except (ClientDisconnect, ValueError):
        return {}

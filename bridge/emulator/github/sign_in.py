"""People sign in to other sites with the App: GitHub's page, the exchange of the code, and what the token may read.

https://docs.github.com/apps/creating-github-apps/authenticating-with-a-github-app/generating-a-user-access-token-for-a-github-app
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from html import escape
from typing import Any
from urllib.parse import parse_qs, urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from bridge.emulator.github import shapes
from bridge.emulator.github.access import App
from bridge.emulator.github.app_registration import Registrations
from bridge.emulator.github.state import GitHubState

CODE_LIFE = 600.0
"""s after which a code expires: https://docs.github.com/apps/oauth-apps/building-oauth-apps/authorizing-oauth-apps"""

TOKEN_LIFE = 28_800
"""s after which a person's token expires."""

_ERRORS = "/apps/managing-oauth-apps/troubleshooting-oauth-app-access-token-request-errors/#"
_DESCRIPTIONS = {
    "incorrect_client_credentials": "The client_id and/or client_secret passed are incorrect.",
    "redirect_uri_mismatch": "The redirect_uri MUST match the registered callback URL for this application.",
    "bad_verification_code": "The code passed is incorrect or expired.",
}
"""https://docs.github.com/apps/oauth-apps/maintaining-oauth-apps/troubleshooting-oauth-app-access-token-request-errors"""


@dataclass(kw_only=True)
class Person:
    """Somebody with an account.

    Args:
        memberships: by organisation, `active`, or `pending` for an invitation that was not accepted.
        teams: as `organisation/team`.
    """

    memberships: dict[str, str] = field(default_factory=dict)
    teams: set[str] = field(default_factory=set)


@dataclass(frozen=True, kw_only=True)
class _Code:
    """What a code stands for; times in Unix seconds."""

    login: str
    redirect: str
    challenge: str
    expires_at: float


class SignIns:
    """The pages and calls. The person of the browser is `registrations.user`.

    Args:
        state: the model.
        registrations: knows who is signed in to GitHub, and the App.
        base_url: where this emulator is served, once it listens.
    """

    def __init__(self, state: GitHubState, registrations: Registrations, base_url: Callable[[], str]) -> None:
        self.people: dict[str, Person] = {}
        self.tokens: dict[str, str] = {}
        """By token, the login of its person."""
        self._state = state
        self._registrations = registrations
        self._base_url = base_url
        self._codes: dict[str, _Code] = {}

    @property
    def _app(self) -> App:
        return self._registrations.app

    def routes(self, api_prefix: str) -> list[Route]:
        """The addresses."""
        return [
            Route("/login/oauth/authorize", self._ask, methods=["GET"]),
            Route("/login/oauth/authorize", self._decide, methods=["POST"]),
            Route("/login/oauth/access_token", self._exchange, methods=["POST"]),
            Route(f"{api_prefix}/user", self._by_person(self._user), methods=["GET"]),
            Route(f"{api_prefix}/user/memberships/orgs/{{org}}", self._by_person(self._membership), methods=["GET"]),
            Route(
                f"{api_prefix}/orgs/{{org}}/teams/{{team}}/memberships/{{username}}",
                self._by_person(self._team_membership),
                methods=["GET"],
            ),
        ]

    async def _ask(self, request: Request) -> Response:
        """The page on which a person agrees. A redirect URL that is not registered ends the flow here."""
        asked = request.query_params
        if asked.get("client_id") != self._app.client_id:
            return HTMLResponse("<!doctype html><title>Page not found</title>", 404)
        if asked.get("redirect_uri", "") not in self._app.callback_urls:
            return HTMLResponse("<!doctype html><title>Error</title><h1>The redirect_uri is not associated</h1>", 400)
        # Only S256 is supported: https://github.blog/changelog/2025-07-14-pkce-support-for-oauth-and-github-app-authentication/
        if asked.get("code_challenge") and asked.get("code_challenge_method") != "S256":
            return HTMLResponse("<!doctype html><title>Error</title><h1>Invalid code_challenge_method</h1>", 400)
        kept = {name: asked.get(name, "") for name in ("redirect_uri", "state", "code_challenge")}
        inputs = "".join(f'<input type="hidden" name="{name}" value="{escape(kept[name])}">' for name in kept)
        title = f"Authorize {escape(self._app.name)}"
        return HTMLResponse(
            f'<!doctype html><title>{title}</title><h1>{title}</h1><form method="post" action="/login/oauth/authorize">'
            f'{inputs}<button name="authorize" value="1">Authorize {escape(self._app.owner)}</button>'
            '<button name="authorize" value="0">Cancel</button></form>'
        )

    async def _decide(self, request: Request) -> Response:
        form = await _form(request)
        answer = {"state": form.get("state", "")}
        if form.get("authorize") == "1":
            code = secrets.token_hex(10)
            self._codes[code] = _Code(
                login=self._registrations.user,
                redirect=form.get("redirect_uri", ""),
                challenge=form.get("code_challenge", ""),
                expires_at=self._state.clock() + CODE_LIFE,
            )
            answer["code"] = code
        else:
            # https://docs.github.com/apps/oauth-apps/maintaining-oauth-apps/troubleshooting-authorization-request-errors
            answer |= {"error": "access_denied", "error_description": "The user has denied your application access."}
        return RedirectResponse(f"{form.get('redirect_uri', '')}?{urlencode(answer)}", 302)

    async def _exchange(self, request: Request) -> Response:
        """GitHub answers 200 to refusals, too."""
        form = await _form(request)
        if error := self._refusal(form):
            return JSONResponse(
                {"error": error, "error_description": _DESCRIPTIONS[error], "error_uri": _ERRORS + error}
            )
        code = self._codes.pop(form["code"])
        token = f"ghu_{secrets.token_hex(18)}"
        self.tokens[token] = code.login
        return JSONResponse(
            {
                "access_token": token,
                "expires_in": TOKEN_LIFE,
                "refresh_token": f"ghr_{secrets.token_hex(38)}",
                "refresh_token_expires_in": 15_897_600,
                "token_type": "bearer",
                "scope": "",
            }
        )

    def _refusal(self, form: dict[str, str]) -> str | None:
        given = (form.get("client_id", ""), form.get("client_secret", ""))
        if not hmac.compare_digest(repr(given), repr((self._app.client_id, self._app.client_secret))):
            return "incorrect_client_credentials"
        code = self._codes.get(form.get("code", ""))
        if code is None or self._state.clock() >= code.expires_at:
            return "bad_verification_code"
        if form.get("redirect_uri", code.redirect) != code.redirect:
            return "redirect_uri_mismatch"
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        # RFC 7636, section 4.6. GitHub's documentation does not name the error of a wrong verifier.
        proved = base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == code.challenge
        return None if proved or not code.challenge else "bad_verification_code"

    def _by_person(self, answer: Callable[[Request, str], Response]) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            login = self.tokens.get(request.headers.get("authorization", "").partition(" ")[2])
            return _refused(401, "Bad credentials") if login is None else answer(request, login)

        return endpoint

    def _user(self, _request: Request, login: str) -> Response:
        """https://docs.github.com/rest/users/users#get-the-authenticated-user"""
        unset = dict.fromkeys(("name", "company", "blog", "location", "email", "hireable", "bio", "twitter_username"))
        counts = dict.fromkeys(("public_repos", "public_gists", "followers", "following"), 0)
        times = dict.fromkeys(("created_at", "updated_at"), shapes.EPOCH)
        return JSONResponse({**self._person(login), **unset, **counts, **times, "user_view_type": "public"})

    def _person(self, login: str) -> dict[str, Any]:
        return shapes.user(login, 583_231, "User", self._base_url())

    def _membership(self, request: Request, login: str) -> Response:
        """https://docs.github.com/rest/orgs/members#get-an-organization-membership-for-the-authenticated-user"""
        org, person = request.path_params["org"], self.people.get(login, Person())
        if "members" not in self._app.permissions or org not in person.memberships:
            return _refused(403, "You do not have access to this organization membership.")
        base = f"{self._base_url()}/orgs/{org}"
        return JSONResponse(
            {
                "url": f"{base}/memberships/{login}",
                "state": person.memberships[org],
                "role": "member",
                "organization_url": base,
                "organization": shapes.organisation(org, self._state.organisations.get(org, 1), base),
                "user": self._person(login),
            }
        )

    def _team_membership(self, request: Request, _login: str) -> Response:
        """https://docs.github.com/rest/teams/members#get-team-membership-for-a-user"""
        named = request.path_params
        if "members" not in self._app.permissions:
            return _refused(403, "Resource not accessible by integration")
        if f"{named['org']}/{named['team']}" not in self.people.get(named["username"], Person()).teams:
            return _refused(404, "Not Found")
        return JSONResponse({"url": str(request.url), "state": "active", "role": "member"})


def _refused(status: int, message: str) -> Response:
    return JSONResponse({"message": message, "documentation_url": "https://docs.github.com/rest"}, status)


async def _form(request: Request) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}

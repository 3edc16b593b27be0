"""Signs a person in with the GitHub App, and checks that they belong to the organisation. Their token is not kept.

https://docs.github.com/apps/creating-github-apps/authenticating-with-a-github-app/generating-a-user-access-token-for-a-github-app
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, urlencode

import httpx

from bridge.errors import AuthError, Unavailable
from bridge.github.answers import described, request_id_of

LARGEST = 256 * 1024
"""Bytes of an answer that are read. GitHub's have a few kB."""


class SignIn:
    """Signs people in.

    Args:
        http: follows no redirects.
        web_url: such as `https://github.com`.
        api_url: such as `https://api.github.com`.
        client_id: of the App.
        client_secret: of the App.
        owner: an organisation, or the only person who may sign in.
        teams: of the organisation, as in their addresses; a person must be in one of them. Empty for all members.
    """

    def __init__(  # noqa: PLR0913 - what the App is, and who may sign in
        self,
        http: httpx.AsyncClient,
        *,
        web_url: str,
        api_url: str,
        client_id: str,
        client_secret: str,
        owner: str,
        teams: Iterable[str] = (),
    ) -> None:
        self._http = http
        self._web_url = web_url
        self._api_url = api_url
        self._client_id = client_id
        self._client_secret = client_secret
        self._owner = owner
        self._teams = tuple(teams)

    def address(self, *, state: str, challenge: str, redirect: str) -> str:
        """The page of GitHub on which a person agrees to sign in.

        Args:
            state: that GitHub repeats when it sends the browser back.
            challenge: of the proof key (PKCE, S256).
            redirect: where GitHub sends the browser; one of the App's callback URLs.
        """
        query = {
            "client_id": self._client_id,
            "redirect_uri": redirect,
            "state": state,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            "allow_signup": "false",
        }
        return f"{self._web_url}/login/oauth/authorize?{urlencode(query)}"

    async def person(self, code: str, *, verifier: str, redirect: str) -> str:
        """The login of the person who agreed.

        Args:
            code: that GitHub sent with the browser.
            verifier: the proof key.
            redirect: as of `address`.

        Raises:
            AuthError: GitHub refused the code, or the person may not sign in.
            Unavailable: GitHub did not answer, or not as expected.
        """
        token = await self._token(code, verifier, redirect)
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/vnd.github+json"}
        login = str(_field(await self._get("/user", headers), "login"))
        if login.lower() != self._owner.lower():
            await self._check_membership(login, headers)
        return login

    async def _token(self, code: str, verifier: str, redirect: str) -> str:
        form = {
            "client_id": self._client_id,
            "client_secret": self._client_secret,
            "code": code,
            "redirect_uri": redirect,
            "code_verifier": verifier,
        }
        url = f"{self._web_url}/login/oauth/access_token"
        response = await self._send("POST", url, {"Accept": "application/json"}, form)
        answer = _object(response)
        # GitHub answers 200 to a wrong code, too:
        # https://docs.github.com/apps/oauth-apps/maintaining-oauth-apps/troubleshooting-oauth-app-access-token-request-errors
        if error := answer.get("error"):
            known = error if error in _FIXES else "another error"
            raise AuthError(f"GitHub refused the sign-in: {known}; {_FIXES.get(error, 'try again')}")
        return str(_field(answer, "access_token"))

    async def _check_membership(self, login: str, headers: Mapping[str, str]) -> None:
        """Refuse a person who is no active member. Both calls need the App's permission to read members."""
        owner = quote(self._owner, safe="")
        # https://docs.github.com/rest/orgs/members#get-an-organization-membership-for-the-authenticated-user
        if not await self._is_active(f"/user/memberships/orgs/{owner}", headers):
            raise AuthError(
                f"{login} is no member of {self._owner}, or the App may not see it; "
                "the App needs the organisation permission Members: read"
            )
        # https://docs.github.com/rest/teams/members#get-team-membership-for-a-user
        for team in self._teams:
            path = f"/orgs/{owner}/teams/{quote(team, safe='')}/memberships/{quote(login, safe='')}"
            if await self._is_active(path, headers):
                return
        if self._teams:
            raise AuthError(f"{login} is in none of the teams that may see this page")

    async def _is_active(self, path: str, headers: Mapping[str, str]) -> bool:
        """Whether a membership exists and was accepted. GitHub answers 403 or 404 if there is none."""
        answer = await self._get(path, headers, absent=(403, 404))
        return answer.get("state") == "active"

    async def _get(self, path: str, headers: Mapping[str, str], absent: tuple[int, ...] = ()) -> Mapping[str, Any]:
        response = await self._send("GET", f"{self._api_url}{path}", headers)
        return {} if response.status_code in absent else _object(response)

    async def _send(
        self, method: str, url: str, headers: Mapping[str, str], form: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """Send once. A code counts once, and a person can try again."""
        try:
            request = self._http.build_request(method, url, headers=headers, data=form)
            response = await self._http.send(request, stream=True, follow_redirects=False)
            try:
                content = await _limited(response)
            finally:
                await response.aclose()
        except httpx.HTTPError as error:
            raise Unavailable(f"GitHub: no answer ({type(error).__name__}); check the network and the proxy") from None
        return httpx.Response(
            response.status_code,
            headers={name: response.headers[name] for name in _KEPT if name in response.headers},
            content=content,
            request=request,
        )


_KEPT = ("content-type", "x-github-request-id")

_FIXES = {
    "bad_verification_code": "it took too long or was used before; try again",
    "incorrect_client_credentials": "correct BRIDGE_DASHBOARD_CLIENT_SECRET or BRIDGE_DASHBOARD_CLIENT_ID",
    "redirect_uri_mismatch": "add BRIDGE_PUBLIC_URL with /login/callback to the App's callback URLs",
    "unverified_user_email": "verify your e-mail address in GitHub",
}


async def _limited(response: httpx.Response) -> bytes:
    content = b""
    async for part in response.aiter_bytes():
        content += part
        if len(content) > LARGEST:
            raise httpx.DecodingError("the answer is too large")
    return content


def _object(response: httpx.Response) -> Mapping[str, Any]:
    """The JSON object of a successful answer."""
    try:
        found = json.loads(response.content) if response.is_success else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        kind = response.headers.get("content-type", "no content type")
        raise Unavailable(
            f"{described(response)}: unexpected answer ({kind}); if you use a proxy, check it",
            request_id=request_id_of(response),
        )
    return found


def _field(answer: Mapping[str, Any], name: str) -> object:
    value = answer.get(name)
    if not value or not isinstance(value, str):
        raise Unavailable(f"GitHub: the answer has no {name}; try again")
    return value

"""Registers a GitHub App from a manifest: the form that is posted, and the exchange of the code in GitHub's answer.

https://docs.github.com/apps/sharing-github-apps/registering-a-github-app-from-a-manifest
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import httpx

from bridge.errors import AuthError, BridgeError, OutcomeUnknown, RateLimited, Rejected, Unavailable
from bridge.github.answers import request_id_of, retry_at
from bridge.github.timing import DEFAULT_TIMING, GitHubTiming

ORGANISATION = {"organization_self_hosted_runners": "write", "actions": "read", "metadata": "read"}
"""The permissions to register runners at an organisation and to find its jobs; no more."""

REPOSITORIES = {"administration": "write", "actions": "read", "metadata": "read"}
"""The permissions to register runners at single repositories, those of a user."""

RERUNS = {"actions": "write"}
"""In place of `actions: read`, if jobs that lost their worker are re-run.

https://docs.github.com/rest/actions/workflow-runs#re-run-a-job-from-a-workflow-run
"""

LONGEST_NAME = 34
"""Characters of an App's name."""

PLACEHOLDER_HOOK = "https://example.com/no-webhook"
"""The URL of an inactive hook. GitHub requires a public address, and nobody can own this reserved domain.

https://www.rfc-editor.org/rfc/rfc2606#section-3
"""

CONVERSION_TIMEOUT = 30.0
"""s; GitHub creates a key before it answers."""

_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError, httpx.UnsupportedProtocol)
_CALL = "GitHub: POST /app-manifests/CODE/conversions"


class CodeRefused(Rejected):
    """GitHub does not know the code: it was used already, or is older than an hour. A new one is needed."""


@dataclass(frozen=True, kw_only=True)
class NewApp:
    """A GitHub App with its secrets, which GitHub shows only once.

    Args:
        client_id: such as `Iv23liExample`.
        slug: its name in URLs.
        owner: the organisation or user that owns it.
        html_url: its page, such as `https://github.com/apps/SLUG`.
        webhook_secret: signs its deliveries; None for an App without a webhook.
        pem: the private key.
    """

    client_id: str
    slug: str
    owner: str
    html_url: str
    webhook_secret: str | None = field(repr=False)
    pem: str = field(repr=False)


def permissions(*, organisation: bool, reruns: bool) -> dict[str, str]:
    """The permissions that the bridge's App needs.

    Args:
        organisation: runners register at an organisation; otherwise at each repository.
        reruns: jobs that lost their worker are re-run.
    """
    return {**(ORGANISATION if organisation else REPOSITORIES), **(RERUNS if reruns else {})}


def web_url(api_url: str) -> str:
    """The address of GitHub's pages for that of its API: `https://github.com` for `https://api.github.com`."""
    parts = urlsplit(api_url)
    return f"{parts.scheme}://{parts.netloc.removeprefix('api.')}"


def form_url(api_url: str, owner: str | None, state: str) -> str:
    """The address that the manifest is posted to.

    Args:
        api_url: such as `https://api.github.com`.
        owner: the organisation that will own the App; None for the user who is signed in.
        state: GitHub returns it with the code.
    """
    path = f"/organizations/{owner}/settings/apps/new" if owner else "/settings/apps/new"
    return f"{web_url(api_url)}{path}?{urlencode({'state': state})}"


def manifest(
    *, name: str, homepage: str, redirect_url: str, permissions: Mapping[str, str], webhook_url: str | None
) -> dict[str, Any]:
    """The manifest of the bridge's App.

    Args:
        name: unique on all of GitHub, at most LONGEST_NAME characters.
        homepage: shown on the App's page.
        redirect_url: where GitHub sends the browser with the code; may be on loopback.
        permissions: made by `permissions`.
        webhook_url: where GitHub sends `workflow_job` events; None for an App without an active webhook.
    """
    hook = {"url": webhook_url or PLACEHOLDER_HOOK, "active": webhook_url is not None}
    return {
        "name": name,
        "url": homepage,
        "hook_attributes": hook,
        "redirect_url": redirect_url,
        "public": False,
        "default_permissions": dict(permissions),
        "default_events": ["workflow_job"] if webhook_url else [],
    }


async def convert(http: httpx.AsyncClient, api_url: str, code: str, timing: GitHubTiming = DEFAULT_TIMING) -> NewApp:
    """Exchange a code for the App and its secrets. No credential is needed; a code works once, within an hour.

    Args:
        http: made by `bridge.github.transport.http_client`.
        api_url: such as `https://api.github.com`.
        code: from GitHub's redirect. It gives access to the App's key, so errors do not contain it.
        timing: the clock, and the waiting times after a rate limit.

    Raises:
        CodeRefused: the code was used or has expired.
        OutcomeUnknown: no readable answer came. The App may exist; the same code may be tried again.
        AuthError, RateLimited, Rejected, Unavailable: GitHub did not convert it.
    """
    url = f"{api_url.rstrip('/')}/app-manifests/{quote(code, safe='')}/conversions"
    try:
        response = await http.post(url, timeout=CONVERSION_TIMEOUT)
    except _NEVER_SENT as error:
        raise Unavailable(f"{_CALL}: {urlsplit(api_url).netloc} cannot be reached ({type(error).__name__})") from None
    except httpx.HTTPError as error:
        raise OutcomeUnknown(f"{_CALL}: no answer ({type(error).__name__})") from None
    if not response.is_success:
        raise _refusal(response, timing)
    try:
        return _new_app(response.json())
    except (ValueError, KeyError, TypeError, AttributeError):
        kind = response.headers.get("content-type", "no content type")
        raise OutcomeUnknown(f"{_CALL}: {response.status_code}, unreadable ({kind})") from None


def _new_app(raw: Mapping[str, Any]) -> NewApp:
    pem = str(raw["pem"])
    if not pem.startswith("-----BEGIN"):
        raise ValueError("no key")
    return NewApp(
        client_id=str(raw.get("client_id") or raw["id"]),
        slug=str(raw["slug"]),
        owner=str(raw["owner"]["login"]),
        html_url=str(raw["html_url"]),
        webhook_secret=raw.get("webhook_secret") or None,
        pem=pem,
    )


def _refusal(response: httpx.Response, timing: GitHubTiming) -> BridgeError:
    status, line, request_id = response.status_code, f"{_CALL}: {response.status_code}", request_id_of(response)
    if status >= 500:
        return OutcomeUnknown(f"{line}, GitHub failed", request_id=request_id)
    if status in (404, 422):
        why = "the code was used already or has expired (a code works once, within 1 hour)"
        return CodeRefused(f"{line}, {why}", status=status, request_id=request_id)
    now = timing.clock()
    if status in (403, 429) and (until := retry_at(response, 0, now, timing)) is not None:
        wait = f"try again in {max(1, round(until - now))} s"
        return RateLimited(f"{line}, rate limit reached; {wait}", retry_at=until, request_id=request_id)
    if status in (401, 403):
        why = "access denied; a policy of the organisation or enterprise may forbid new Apps"
        return AuthError(f"{line}, {why}", request_id=request_id)
    hint = "; is GITHUB_API_URL right?" if status < 400 else ""
    return Rejected(f"{line}{hint}", status=status, request_id=request_id)

"""The App and its installation on an owner: the permissions that were granted, and those that are missing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bridge.errors import AuthError
from bridge.github.answers import value_of
from bridge.github.auth import AppAuth

_STRENGTH = {"read": 1, "write": 2, "admin": 3}


@dataclass(frozen=True, kw_only=True)
class AppPage:
    """An App.

    Args:
        slug: its name in URLs.
        owner: the organisation or user that owns it.
        html_url: its page.
        events: that it subscribes to.
    """

    slug: str
    owner: str
    html_url: str
    events: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Installation:
    """An App's installation on an owner.

    Args:
        permissions: granted, such as `{"actions": "read"}`.
        suspended: whether the owner suspended it; GitHub then issues no tokens.
        html_url: its page in the owner's settings.
    """

    id: int
    permissions: Mapping[str, str]
    suspended: bool
    html_url: str


async def app_page(auth: AppAuth) -> AppPage:
    """The App whose key `auth` has.

    Raises:
        AuthError: there is no such App, or the key is not its key.
        RateLimited, Unavailable, Rejected: see bridge.errors.

    https://docs.github.com/rest/apps/apps#get-the-authenticated-app
    """
    response = await auth.as_app("GET", "/app")
    if response.status_code == 404:
        raise AuthError("GitHub: there is no App with this client id; correct GITHUB_APP_CLIENT_ID")
    return value_of(response, _app_page)


async def installation(auth: AppAuth, owner: str, *, organisation: bool) -> Installation | None:
    """The App's installation on an owner; None if there is none.

    Raises:
        AuthError, RateLimited, Unavailable, Rejected: see bridge.errors.

    https://docs.github.com/rest/apps/apps#get-an-organization-installation-for-the-authenticated-app
    """
    kind = "orgs" if organisation else "users"
    response = await auth.as_app("GET", f"/{kind}/{owner}/installation")
    return None if response.status_code == 404 else value_of(response, _installation)


def missing(granted: Mapping[str, str], needed: Mapping[str, str]) -> dict[str, str]:
    """The permissions of `needed` that were not granted, or at a lower level."""
    return {name: level for name, level in needed.items() if _STRENGTH.get(granted.get(name, ""), 0) < _STRENGTH[level]}


def _app_page(raw: Mapping[str, Any]) -> AppPage:
    return AppPage(
        slug=str(raw["slug"]),
        owner=str(raw["owner"]["login"]),
        html_url=str(raw["html_url"]),
        events=tuple(map(str, raw.get("events") or ())),
    )


def _installation(raw: Mapping[str, Any]) -> Installation:
    return Installation(
        id=int(raw["id"]),
        permissions={str(name): str(level) for name, level in raw["permissions"].items()},
        suspended=raw.get("suspended_at") is not None,
        html_url=str(raw["html_url"]),
    )

"""What GitHub says of a personal access token in the headers of each answer. Pure."""

from dataclasses import dataclass
from datetime import datetime

import httpx


@dataclass(frozen=True, kw_only=True)
class PersonalToken:
    """A personal access token.

    Args:
        scopes: of a classic token; None for a fine-grained one, whose permissions GitHub does not show.
        expires_at: Unix seconds; None if it does not expire.
    """

    scopes: frozenset[str] | None
    expires_at: float | None


def described_by(response: httpx.Response) -> PersonalToken:
    """The token that an answer was given for.

    https://docs.github.com/apps/oauth-apps/building-oauth-apps/scopes-for-oauth-apps
    https://github.blog/changelog/2021-07-26-expiration-options-for-personal-access-tokens/
    """
    listed = response.headers.get("x-oauth-scopes")
    scopes = None if listed is None else frozenset(filter(None, (scope.strip() for scope in listed.split(","))))
    return PersonalToken(
        scopes=scopes, expires_at=_moment(response.headers.get("github-authentication-token-expiration", ""))
    )


def _moment(text: str) -> float | None:
    """Unix seconds of a time such as `2026-12-24 18:00:00 UTC`, or with an offset such as `-0500`."""
    try:
        return datetime.strptime(text.replace("UTC", "+0000"), "%Y-%m-%d %H:%M:%S %z").timestamp()
    except ValueError:
        return None

"""Authenticates calls: of the App by its JWT, of an installation by its token, of a person by a PAT.

https://docs.github.com/apps/creating-github-apps/authenticating-with-a-github-app
"""

import secrets
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from bridge.emulator.github.state import Refused

PERMISSIONS = {
    "actions": "read",
    "administration": "write",
    "metadata": "read",
    "organization_self_hosted_runners": "write",
}
"""The permissions of an App for the bridge."""

_STRENGTH = {"read": 1, "write": 2, "admin": 3}

SCOPES = {
    "repo": ("actions", "administration", "metadata"),
    "admin:org": ("organization_self_hosted_runners",),
}
"""The permissions that a scope of a classic personal access token gives.

https://docs.github.com/apps/oauth-apps/building-oauth-apps/scopes-for-oauth-apps
"""


@dataclass(kw_only=True)
class App:
    """A GitHub App that is installed on one owner.

    Args:
        owner: on which it is installed.
        permissions: that the owner granted.
        webhook_url: where events are sent; None for no webhook. It may change while the App is served.
        webhook_secret: with which they are signed.
        webhook_insecure_ssl: "1" if GitHub does not verify the receiver's certificate.
        events: that it subscribes to. They are only shown: all events are sent.
        client_secret: with which it exchanges codes for tokens of people.
        callback_urls: to which people may be sent back after they have signed in.
        installed: whether the owner has installed it.
        suspended: whether the owner has suspended the installation.
        repositories: names of those that the owner selected; None for all.
    """

    owner: str
    name: str = "emulated"
    slug: str = "emulated"
    installed: bool = True
    suspended: bool = False
    repositories: frozenset[str] | None = None
    permissions: dict[str, str] = field(default_factory=lambda: dict(PERMISSIONS))
    app_id: int = 4242
    client_id: str = "Iv23liEmulated"
    installation_id: int = 777
    webhook_url: str | None = None
    events: list[str] = field(default_factory=lambda: ["workflow_job"])
    client_secret: str = field(default="emulated-client-secret", repr=False)
    callback_urls: list[str] = field(default_factory=list)
    webhook_secret: str = field(default_factory=lambda: secrets.token_hex(20), repr=False)
    webhook_insecure_ssl: str = "0"
    key: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65537, 2048), repr=False)

    def selects(self, repository: str) -> bool:
        """Whether the installation includes a repository of the owner."""
        return self.repositories is None or repository in self.repositories

    @property
    def pem(self) -> str:
        """The private key, in the format of GitHub's download."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()


@dataclass(frozen=True, kw_only=True)
class Grant:
    """The permissions of a token.

    Args:
        expires_at: Unix seconds.
        caller: whose rate limit it uses; all tokens of an installation share one.
        owner: whose repositories and runners it can access; None for all owners.
        repositories: names of the repositories that it is limited to; None for all of the owner.
        scopes: of a classic personal access token; None for other tokens.
        person: whether it is a personal access token.
    """

    permissions: Mapping[str, str]
    expires_at: float
    caller: str
    owner: str | None = None
    repositories: frozenset[str] | None = None
    scopes: tuple[str, ...] | None = None
    person: bool = False

    def reaches(self, owner: str, repository: str | None = None) -> bool:
        """Whether the token can access a repository, or the owner itself."""
        if self.owner not in (None, owner):
            return False
        return repository is None or self.repositories is None or repository in self.repositories

    def headers(self) -> dict[str, str]:
        """The headers of a personal access token: a classic one's scopes, and when it expires.

        https://docs.github.com/apps/oauth-apps/building-oauth-apps/scopes-for-oauth-apps
        https://github.blog/changelog/2021-07-26-expiration-options-for-personal-access-tokens/
        """
        if not self.person:
            return {}
        headers = {} if self.scopes is None else {"x-oauth-scopes": ", ".join(self.scopes)}
        if self.expires_at == float("inf"):
            return headers
        until = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(self.expires_at))
        return headers | {"github-authentication-token-expiration": until}


class Access:
    """Checks credentials.

    Args:
        app: the only App.
        clock: Unix seconds.
        life: s after which an installation token expires.
    """

    def __init__(self, app: App, clock: Callable[[], float], life: float) -> None:
        self.app = app
        self._clock = clock
        self._life = life
        self._grants: dict[str, Grant] = {}

    def add_pat(
        self, token: str, *, scopes: tuple[str, ...] | None = tuple(SCOPES), expires_at: float = float("inf")
    ) -> None:
        """Accept a personal access token.

        Args:
            token: the token.
            scopes: of a classic token; None for a fine-grained one, which has all permissions.
            expires_at: Unix seconds.
        """
        names = PERMISSIONS if scopes is None else [name for scope in scopes for name in SCOPES.get(scope, ())]
        self._grants[token] = Grant(
            permissions=dict.fromkeys(names, "admin"),
            expires_at=expires_at,
            caller=f"person {len(self._grants)}",
            scopes=scopes,
            person=True,
        )

    def revoke(self) -> None:
        """Revoke all tokens."""
        self._grants.clear()

    def check_jwt(self, bearer: str) -> None:
        """Accept the App's own JWT; refuse others as GitHub does.

        https://docs.github.com/apps/creating-github-apps/authenticating-with-a-github-app/generating-a-json-web-token-jwt-for-a-github-app
        """
        now = self._clock()
        try:
            claims = jwt.decode(
                bearer,
                self.app.key.public_key(),
                algorithms=["RS256"],
                options={"verify_exp": False, "verify_iat": False, "require": ["iss", "iat", "exp"]},
            )
        except jwt.InvalidTokenError:
            raise Refused(401, "A JSON web token could not be decoded") from None
        if str(claims["iss"]) not in (self.app.client_id, str(self.app.app_id)):
            raise Refused(404, "Integration not found")
        if claims["exp"] <= now:
            raise Refused(401, "'Expiration time' claim ('exp') must be a numeric value representing the future time")
        if claims["exp"] > now + 600:
            raise Refused(401, "'Expiration time' claim ('exp') is too far in the future")
        if claims["iat"] > now:
            raise Refused(401, "'Issued at' claim ('iat') must be an Integer representing a time in the past")

    def issue(
        self, permissions: Mapping[str, str] | None, repositories: Collection[str] | None = None
    ) -> tuple[str, Grant]:
        """A new installation token, which may have fewer permissions than the installation.

        https://docs.github.com/rest/apps/apps#create-an-installation-access-token-for-an-app

        Args:
            permissions: levels by name; None for those of the installation.
            repositories: names of the installation's repositories; None for all.
        """
        if repositories is None:
            repositories = self.app.repositories
        wanted = dict(permissions or self.app.permissions)
        for name, level in wanted.items():
            if level not in _STRENGTH:
                raise Refused(422, f"'{level}' is not a permitted value for '{name}'.")
            if _STRENGTH[level] > _STRENGTH.get(self.app.permissions.get(name, ""), 0):
                raise Refused(422, "The permissions requested are not granted to this installation.")
        token = f"ghs_{secrets.token_urlsafe(30).replace('-', 'x').replace('_', 'y')}"
        self._grants[token] = Grant(
            permissions=wanted,
            expires_at=self._clock() + self._life,
            caller="installation",
            owner=self.app.owner,
            repositories=None if repositories is None else frozenset(repositories),
        )
        return token, self._grants[token]

    def check_token(self, bearer: str) -> Grant:
        """Accept a token that has not expired."""
        grant = self._grants.get(bearer)
        if grant is None or self._clock() >= grant.expires_at:
            raise Refused(401, "Bad credentials")
        return grant


def allows(grant: Grant, permission: str, level: str) -> bool:
    """Whether a token has this permission."""
    return _STRENGTH.get(grant.permissions.get(permission, ""), 0) >= _STRENGTH[level]

"""Authentication to GitHub: as an installation of an App, or with a personal access token."""

import base64
import binascii
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Protocol, Self

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from bridge.errors import AuthError, ConfigError
from bridge.github.answers import value_of
from bridge.github.cache import FlightCache
from bridge.github.pacing import Priority
from bridge.github.timing import DEFAULT_TIMING, GitHubTiming
from bridge.github.transport import Transport


@dataclass(frozen=True, kw_only=True, eq=False)
class Token:
    """An access token.

    Args:
        value: secret; its format is not defined.
        new_until: Unix seconds until which GitHub's servers may not all accept it.
        use_until: Unix seconds until which it may be used.
    """

    value: str = field(repr=False)
    new_until: float = 0.0
    use_until: float = float("inf")


class Auth(Protocol):
    """Provides access tokens."""

    app: bool  # whether the tokens belong to an installation of an App

    @property
    def calls(self) -> Counter[str]:
        """Calls made to create tokens."""

    async def token(self) -> Token: ...
    def evict(self, token: Token) -> None: ...


class PatAuth:
    """A personal access token.

    Args:
        token: secret.
    """

    app = False

    def __init__(self, token: str) -> None:
        self.calls: Counter[str] = Counter()
        self._token = Token(value=token)

    async def token(self) -> Token:
        """The token."""
        return self._token

    def evict(self, token: Token) -> None:
        """Does nothing: there is no other token."""


@dataclass(frozen=True)
class AppKey:
    """An App's private key, parsed once: parsing takes a hundred times as long as signing."""

    key: RSAPrivateKey = field(repr=False)

    @classmethod
    def load(cls, text: str, setting: str = "GITHUB_APP_PRIVATE_KEY") -> Self:
        """Parse a key.

        Args:
            text: PEM, PEM with `\\n` instead of line breaks, or base64 of PEM.
            setting: the setting that holds it, for the error.

        Raises:
            ConfigError: it is none of these.
        """
        try:
            key = load_pem_private_key(_pem(text), password=None)
        except (ValueError, TypeError, binascii.Error):
            key = None
        if not isinstance(key, RSAPrivateKey):
            raise ConfigError(f"{setting}: not an RSA private key; give the App's PEM, or base64 of it")
        return cls(key)


def _pem(text: str) -> bytes:
    # `docker run --env-file` keeps quotes, and editors on Windows write \r\n.
    text = text.strip().strip("\"'").replace("\\r", "").replace("\\n", "\n").strip()
    return text.encode() if text.startswith("-----BEGIN") else base64.b64decode(text, validate=False)


class AppAuth:
    """Creates installation tokens of a GitHub App.

    Args:
        http: sends the calls.
        api_url: such as `https://api.github.com`.
        issuer: the App's client id or App id.
        key: the App's private key.
        owner: the organisation or user that the App is installed on.
        installation_id: if None, it is looked up by `owner`.
        timing: the clock and the waiting times.

    https://docs.github.com/apps/creating-github-apps/authenticating-with-a-github-app
    """

    app = True

    def __init__(  # noqa: PLR0913 - each is a separate fact
        self,
        http: httpx.AsyncClient,
        *,
        api_url: str,
        issuer: str,
        key: AppKey,
        owner: str,
        installation_id: int | None = None,
        timing: GitHubTiming = DEFAULT_TIMING,
    ) -> None:
        self._transport = Transport(http, api_url, timing)
        # With rate limits of its own: reading the delivery log must never delay a token.
        self._log_transport = Transport(http, api_url, timing)
        self._issuer = issuer
        self._key = key
        self._owner = owner
        self._installation_id = installation_id
        self._timing = timing
        self._clock = timing.clock
        self._skew = 0.0
        self._tokens: FlightCache[str, Token] = FlightCache(lambda token: token.use_until, timing.clock)

    async def token(self) -> Token:
        """A token that is valid for some minutes. Concurrent calls share one new token."""
        return await self._tokens.get(self._owner, self._create)

    def evict(self, token: Token) -> None:
        """Remove a token that GitHub rejected."""
        self._tokens.evict(self._owner, token)

    @property
    def calls(self) -> Counter[str]:
        """Calls made with the App's JWT."""
        return self._transport.calls + self._log_transport.calls

    async def as_app(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """Send a call with the App's JWT. If GitHub rejects the JWT's times, learn its clock and try once more.

        Raises:
            AuthError: GitHub rejects the JWT.
            RateLimited, Unavailable: see bridge.errors.
        """
        return await self._signed(lambda headers: self._transport.send(method, path, headers, body))

    async def read_as_app(self, path: str) -> httpx.Response:
        """GET as `as_app` does, in the background. Rate limits that these calls reach do not stop `as_app`."""
        return await self._signed(
            lambda headers: self._log_transport.send("GET", path, headers, priority=Priority.BACKGROUND)
        )

    async def _signed(self, send: Callable[[dict[str, str]], Awaitable[httpx.Response]]) -> httpx.Response:
        response = await send(self._bearer())
        if response.status_code == 401 and (there := _time_there(response)) is not None:
            self._skew = there - self._clock()
            response = await send(self._bearer())
        if response.status_code == 401:
            raise AuthError(
                f"GitHub: the App {self._issuer} was rejected; check that GITHUB_APP_CLIENT_ID is right and that the "
                "private key belongs to this App"
            )
        return response

    async def _create(self) -> Token:
        # The installation is looked up for each token: if the App is installed again, its id changes.
        installation = self._installation_id or await self._find_installation()
        response = await self.as_app("POST", f"/app/installations/{installation}/access_tokens", {})
        if response.status_code == 404:
            raise await self._not_found(
                f"has no installation {installation}; correct GITHUB_APP_INSTALLATION_ID, or remove it"
            )
        value, expires_at = value_of(response, _token)
        margin = self._timing.token_margin + self._timing.jitter(0, self._timing.token_jitter)
        return Token(
            value=value,
            new_until=self._clock() + self._timing.token_is_new,
            use_until=expires_at - self._skew - margin,
        )

    async def _find_installation(self) -> int:
        for kind in ("orgs", "users"):
            response = await self.as_app("GET", f"/{kind}/{self._owner}/installation")
            if response.status_code != 404:
                return value_of(response, lambda raw: int(raw["id"]))
        raise await self._not_found(f"is not installed on {self._owner}; install it there")

    async def _not_found(self, why: str) -> AuthError:
        """The error for a 404: `why`, or that the App itself does not exist."""
        if (await self.as_app("GET", "/app")).status_code == 404:
            return AuthError(f"GitHub: there is no App {self._issuer}; correct GITHUB_APP_CLIENT_ID")
        return AuthError(f"GitHub: the App {self._issuer} {why}")

    def _bearer(self) -> dict[str, str]:
        now = int(self._clock() + self._skew)
        # GitHub allows 600 s, but if its clock is behind ours, an `exp` of exactly 600 s is too late.
        claims = {"iss": self._issuer, "iat": now - 60, "exp": now + 540}
        return {"Authorization": f"Bearer {jwt.encode(claims, self._key.key, algorithm='RS256')}"}


def _token(raw: Mapping[str, Any]) -> tuple[str, float]:
    """The token in an answer, and when it expires in Unix seconds."""
    return str(raw["token"]), datetime.fromisoformat(raw["expires_at"]).timestamp()


def _time_there(response: httpx.Response) -> float | None:
    """GitHub's time in Unix seconds if it rejected a JWT because of its times; otherwise None."""
    if not any(claim in response.text for claim in ("'exp'", "'iat'")):
        return None
    try:
        return parsedate_to_datetime(response.headers.get("date", "")).timestamp()
    except (ValueError, OverflowError):
        return None

"""Who we are to GitHub: an App's installation, or a personal access token."""

import base64
import binascii
import random
import time
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
from bridge.github.cache import FlightCache
from bridge.github.transport import Transport, told

REFRESH_EARLY = 300.0
"""s before its end that a token is no longer handed out; up to a minute more, by chance."""

FRESH = 10.0
"""s within which GitHub may not yet know a token that it has issued."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Token:
    """An access token; opaque."""

    value: str = field(repr=False)
    issued_at: float = 0.0  # Unix seconds
    use_until: float = float("inf")  # Unix seconds
    narrowed: bool = False  # has fewer permissions than the installation

    def fresh(self, now: float) -> bool:
        """Whether GitHub's servers may not all know it yet."""
        return now < self.issued_at + FRESH


class Auth(Protocol):
    """Where access tokens come from."""

    app: bool  # tokens are an App installation's

    @property
    def calls(self) -> Counter[str]:
        """Calls made for them."""

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
        """Nothing: there is no other."""


@dataclass(frozen=True)
class AppKey:
    """An App's private key, parsed once: parsing costs a hundred times what signing does."""

    key: RSAPrivateKey = field(repr=False)

    @classmethod
    def load(cls, text: str, setting: str = "GITHUB_APP_PRIVATE_KEY") -> Self:
        """Parse a key.

        Args:
            text: PEM, PEM with `\\n` written out, or base64 of PEM.
            setting: that the key comes from, for the error.

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
    # Quotes and a written-out \r\n are what `docker run --env-file` and Windows' editors leave.
    text = text.strip().strip("\"'").replace("\\r", "").replace("\\n", "\n").strip()
    return text.encode() if text.startswith("-----BEGIN") else base64.b64decode(text, validate=False)


class AppAuth:
    """Installation tokens of a GitHub App.

    Args:
        http: for the calls.
        api_url: such as `https://api.github.com`.
        issuer: the App's client id, or its id.
        key: the App's.
        owner: the organisation or user that the App is installed on.
        installation_id: looked up by `owner` if None.
        permissions: narrows the tokens, such as `{"administration": "write"}`; None takes all there are.
        clock: Unix seconds.

    https://docs.github.com/apps/creating-github-apps/authenticating-with-a-github-app
    """

    app = True

    def __init__(  # noqa: PLR0913 - each is a fact of its own
        self,
        http: httpx.AsyncClient,
        *,
        api_url: str,
        issuer: str,
        key: AppKey,
        owner: str,
        installation_id: int | None = None,
        permissions: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._transport = Transport(http, api_url, clock=clock)
        # Limits of its own: reading the delivery log must never keep a token from being minted.
        self._look_transport = Transport(http, api_url, clock=clock)
        self._issuer = issuer
        self._key = key
        self._owner = owner
        self._installation_id = installation_id
        self._permissions = dict(sorted((permissions or {}).items()))
        self._clock = clock
        self._skew = 0.0
        self._tokens: FlightCache[str, Token] = FlightCache(lambda token: token.use_until, clock)

    async def token(self) -> Token:
        """A token with some life left; minted at most once however many ask."""
        return await self._tokens.get(self._owner, self._mint)

    def evict(self, token: Token) -> None:
        """Forget a token that GitHub refused."""
        self._tokens.evict(self._owner, token)

    @property
    def calls(self) -> Counter[str]:
        """Calls made with the App's own JWT."""
        return self._transport.calls + self._look_transport.calls

    async def as_app(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """Call with the App's own JWT; a clock that GitHub finds wrong is learnt, once.

        Raises:
            AuthError: GitHub does not take the JWT.
            RateLimited, Unavailable: see bridge.errors.
        """
        return await self._signed(lambda headers: self._transport.read(method, path, headers, body))

    async def look_as_app(self, path: str) -> httpx.Response:
        """GET as `as_app` does, for what can wait. The rate limits that it meets do not hold back `as_app`."""
        return await self._signed(lambda headers: self._look_transport.look("GET", path, headers))

    async def _signed(self, send: Callable[[dict[str, str]], Awaitable[httpx.Response]]) -> httpx.Response:
        response = await send(self._bearer())
        if response.status_code == 401 and (there := _time_there(response)) is not None:
            self._skew = there - self._clock()
            response = await send(self._bearer())
        if response.status_code == 401:
            raise AuthError(
                f"GitHub: the App {self._issuer} was refused; is GITHUB_APP_CLIENT_ID right, and the key this App's?"
            )
        return response

    async def _mint(self) -> Token:
        # Looked up anew for each token: an App that is installed again has another id.
        installation = self._installation_id or await self._find_installation()
        body = {"permissions": self._permissions} if self._permissions else {}
        response = await self.as_app("POST", f"/app/installations/{installation}/access_tokens", body)
        if response.status_code == 404:
            raise await self._absent(
                f"has no installation {installation}; correct GITHUB_APP_INSTALLATION_ID, or leave it out"
            )
        value, expires_at = told(response, _token)
        early = REFRESH_EARLY + random.uniform(0, 60)  # noqa: S311 - jitter
        return Token(
            value=value,
            issued_at=self._clock(),
            use_until=expires_at - self._skew - early,
            narrowed=bool(self._permissions),
        )

    async def _find_installation(self) -> int:
        for kind in ("orgs", "users"):
            response = await self.as_app("GET", f"/{kind}/{self._owner}/installation")
            if response.status_code != 404:
                return told(response, lambda raw: int(raw["id"]))
        raise await self._absent(f"is not installed on {self._owner}; install it there")

    async def _absent(self, why: str) -> AuthError:
        """What a 404 stands for: `why`, unless there is no such App at all."""
        if (await self.as_app("GET", "/app")).status_code == 404:
            return AuthError(f"GitHub: there is no App {self._issuer}; correct GITHUB_APP_CLIENT_ID")
        return AuthError(f"GitHub: the App {self._issuer} {why}")

    def _bearer(self) -> dict[str, str]:
        now = int(self._clock() + self._skew)
        # exp at GitHub's ceiling of 600 s fails when its clock is behind ours.
        claims = {"iss": self._issuer, "iat": now - 60, "exp": now + 540}
        return {"Authorization": f"Bearer {jwt.encode(claims, self._key.key, algorithm='RS256')}"}


def _token(raw: Mapping[str, Any]) -> tuple[str, float]:
    """The token in an answer, and its end in Unix seconds."""
    return str(raw["token"]), datetime.fromisoformat(raw["expires_at"]).timestamp()


def _time_there(response: httpx.Response) -> float | None:
    """GitHub's clock, in Unix seconds, if it refuses a JWT for its times; else None."""
    if not any(claim in response.text for claim in ("'exp'", "'iat'")):
        return None
    try:
        return parsedate_to_datetime(response.headers.get("date", "")).timestamp()
    except (ValueError, OverflowError):
        return None

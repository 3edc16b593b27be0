"""Signed cookies: who is signed in, and which sign-in with GitHub has begun."""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from time import time
from urllib.parse import urlsplit

from itsdangerous import BadData, TimestampSigner, URLSafeTimedSerializer
from starlette.requests import Request
from starlette.responses import Response

from bridge.dashboard.access import is_loopback

LIFE = 12 * 3600
"""s that a session lasts."""

SIGN_IN_LIFE = 600
"""s in which a sign-in with GitHub must be finished."""

TOKEN = "token"  # noqa: S105 - a name, not a secret
"""Who is signed in if they used the token. A person who used GitHub has an @ before their name."""


@dataclass(frozen=True, kw_only=True)
class Login:
    """How people sign in.

    Args:
        token: the access token; None if nobody signs in with one.
        secret: signs the sessions; None for a random one, which only this process knows.
        public_url: the address that browsers use; None if it is not known.
    """

    token: str | None = field(default=None, repr=False)
    secret: str | None = field(default=None, repr=False)
    public_url: str | None = None

    @property
    def is_needed(self) -> bool:
        """Whether browsers on this machine have to sign in, too: requests come through a proxy."""
        return self.public_url is not None and not is_loopback(urlsplit(self.public_url).hostname or "")

    @property
    def is_encrypted(self) -> bool:
        """Whether browsers use https."""
        return (self.public_url or "").startswith("https:")


class Sessions:
    """Reads and writes the cookies.

    Args:
        login: how people sign in.
        clock: Unix seconds.
    """

    def __init__(self, login: Login, clock: Callable[[], float] = time) -> None:
        self._login = login
        # A new token ends the sessions of the old one.
        self._key = hmac.digest(
            (login.secret or secrets.token_hex(32)).encode(), (login.token or "").encode(), hashlib.sha256
        )

        class _Signer(TimestampSigner):
            def get_timestamp(self) -> int:
                return int(clock())

        self._sessions = URLSafeTimedSerializer(self._key, salt="session", signer=_Signer, signer_kwargs=_SIGNING)
        self._begun = URLSafeTimedSerializer(self._key, salt="sign-in", signer=_Signer, signer_kwargs=_SIGNING)
        # https://developer.mozilla.org/docs/Web/HTTP/Reference/Headers/Set-Cookie#cookie_prefixes
        prefix = "__Host-" if login.is_encrypted else ""
        self._cookie, self._begun_cookie = f"{prefix}bridge-session", f"{prefix}bridge-sign-in"
        self._visitor_cookie = f"{prefix}bridge-visitor"

    def is_token(self, given: str) -> bool:
        """Whether a text is the token. It takes as long whatever the text is."""
        expected = self._login.token
        if expected is None:
            return False
        digests = [hashlib.sha256(text.encode(errors="replace")).digest() for text in (given, expected)]
        return hmac.compare_digest(*digests)

    def person(self, request: Request) -> str | None:
        """Who is signed in; None for nobody."""
        found = _read(self._sessions, request.cookies.get(self._cookie, ""), LIFE)
        return found if isinstance(found, str) else None

    def start(self, response: Response, person: str) -> None:
        """Sign a person in."""
        self._set(response, self._cookie, str(self._sessions.dumps(person)), LIFE)

    def end(self, response: Response) -> None:
        """Sign a person out."""
        self._delete(response, self._cookie)

    def visitor(self, request: Request) -> str:
        """What the forms of a browser belong to: its session, or a random text if it needs none."""
        return self._known(request) or secrets.token_urlsafe(24)

    def remember(self, request: Request, response: Response, visitor: str) -> None:
        """Give the browser a cookie with that random text. It opens nothing."""
        if not self._known(request):
            self._set(response, self._visitor_cookie, visitor, LIFE)

    def form_token(self, visitor: str) -> str:
        """A token for a visitor's forms, which another site cannot know."""
        return hmac.digest(self._key, f"form {visitor}".encode(errors="replace"), hashlib.sha256).hex()

    def is_form_token(self, request: Request, given: str) -> bool:
        """Whether a form was made for the browser that sends it."""
        known = self._known(request)
        return bool(known) and hmac.compare_digest(self.form_token(known).encode(), given.encode(errors="replace"))

    def _known(self, request: Request) -> str:
        names = (self._cookie, self._visitor_cookie)
        return next((request.cookies[name] for name in names if request.cookies.get(name)), "")

    def begin(self, response: Response) -> tuple[str, str]:
        """Begin a sign-in with GitHub; its state, and the challenge of its proof key (PKCE, S256)."""
        state = secrets.token_urlsafe(24)
        self._set(response, self._begun_cookie, str(self._begun.dumps(state)), SIGN_IN_LIFE)
        digest = hashlib.sha256(self._verifier(state).encode()).digest()
        return state, base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    def finish(self, request: Request, state: str) -> str | None:
        """The proof key of the sign-in that this browser began with `state`; None if it began none."""
        begun = _read(self._begun, request.cookies.get(self._begun_cookie, ""), SIGN_IN_LIFE)
        if not isinstance(begun, str) or not hmac.compare_digest(begun.encode(), state.encode(errors="replace")):
            return None
        return self._verifier(begun)

    def forget(self, response: Response) -> None:
        """Forget the sign-in that was begun, so that its state counts once."""
        self._delete(response, self._begun_cookie)

    def _verifier(self, state: str) -> str:
        # Computed, so that neither the cookie nor another copy of the bridge has to keep it.
        digest = hmac.digest(self._key, f"verifier {state}".encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    def _set(self, response: Response, name: str, value: str, life: int) -> None:
        secure = self._login.is_encrypted
        response.set_cookie(name, value, max_age=life, httponly=True, secure=secure, samesite="lax", path="/")

    def _delete(self, response: Response, name: str) -> None:
        secure = self._login.is_encrypted
        response.delete_cookie(name, httponly=True, secure=secure, samesite="lax", path="/")


_SIGNING = {"digest_method": hashlib.sha256, "key_derivation": "hmac"}


def _read(serializer: URLSafeTimedSerializer, value: str, life: int) -> object:
    """What a cookie says; None if it was not signed here or is too old."""
    try:
        found: object = serializer.loads(value, max_age=life)
    except BadData:
        return None
    return found

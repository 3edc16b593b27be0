"""The App's webhook: its settings, and how its last deliveries ended. https://docs.github.com/rest/apps/webhooks"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bridge.errors import Rejected
from bridge.github.answers import value_of
from bridge.github.auth import AppAuth
from bridge.github.parse import moment


@dataclass(frozen=True, kw_only=True)
class Hook:
    """The webhook's settings. GitHub never shows its secret.

    Args:
        url: that GitHub posts to.
        verifies: whether GitHub verifies the certificate of that URL.
    """

    url: str
    verifies: bool


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """A delivery.

    Args:
        at: Unix seconds by GitHub's clock.
        status: of the receiver's answer, or GitHub's own: 502 if it could not connect, 504 after 10 s.
        ok: whether the answer was accepted.
    """

    at: float
    status: int
    ok: bool


async def hook(auth: AppAuth) -> Hook | None:
    """The webhook; None if the App has none.

    Raises:
        AuthError, RateLimited, Unavailable, Rejected: see bridge.errors.

    https://docs.github.com/rest/apps/webhooks#get-a-webhook-configuration-for-an-app
    """
    try:
        return value_of(await auth.as_app("GET", "/app/hook/config"), _hook)
    except Rejected as error:
        if error.status != 404:
            raise
        return None


async def set_hook(auth: AppAuth, *, url: str, secret: str) -> None:
    """Change the webhook's URL and secret. It can be repeated.

    Args:
        auth: the App.
        url: that GitHub posts to.
        secret: that signs the deliveries.

    Raises:
        AuthError, RateLimited, Unavailable, Rejected: see bridge.errors.

    https://docs.github.com/rest/apps/webhooks#update-a-webhook-configuration-for-an-app
    """
    body = {"url": url, "content_type": "json", "secret": secret}
    value_of(await auth.as_app("PATCH", "/app/hook/config", body), _hook)


async def attempts(auth: AppAuth) -> tuple[Attempt, ...]:
    """The last 100 deliveries, newest first.

    Raises:
        AuthError, RateLimited, Unavailable, Rejected: see bridge.errors.

    https://docs.github.com/rest/apps/webhooks#list-deliveries-for-an-app-webhook
    """
    response = await auth.as_app("GET", "/app/hook/deliveries?per_page=100")
    return value_of(response, lambda raw: tuple(_attempt(each) for each in raw))


def _hook(raw: Mapping[str, Any]) -> Hook | None:
    url = raw.get("url")
    return Hook(url=str(url), verifies=str(raw.get("insecure_ssl", "0")) == "0") if url else None


def _attempt(raw: Mapping[str, Any]) -> Attempt:
    status = int(raw.get("status_code") or 0)
    return Attempt(at=moment(raw["delivered_at"]) or 0.0, status=status, ok=raw.get("status") == "OK")

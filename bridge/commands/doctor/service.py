"""Whether the service can be reached at its public address."""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import httpx

from bridge.commands.doctor.asking import Failure, asked, unanswered
from bridge.commands.doctor.check import Check, failed, ok, skipped
from bridge.commands.doctor.context import Context
from bridge.errors import Unavailable
from bridge.telemetry import plain

LARGEST = 65_536
"""Bytes of an answer that are read."""

LONGEST = 200
"""Characters of another server's text that are shown."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a server answered.

    Args:
        call: such as `GET https://bridge.example.org/healthz`.
        status: of HTTP.
        headers: with names in lower case.
        document: the JSON object in it; empty if it is something else.
    """

    call: str
    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    document: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shown(self) -> str:
        """The call and its answer, in one line."""
        kind = self.headers.get("content-type", "no content type")
        to = f", redirects to {self.headers['location']}" if "location" in self.headers else ""
        return f"{self.call}: {self.status}, {plain(kind)[:LONGEST]}{plain(to)[:LONGEST]}"


async def checks(context: Context) -> list[Check]:
    """The checks of the public address."""
    public = context.settings.scope.public_url
    if public is None:
        return [skipped("service.healthz", "BRIDGE_PUBLIC_URL is not set: passes come from cron or --watch")]
    async with httpx.AsyncClient(follow_redirects=False) as http:
        calls = (("GET", f"{public}/healthz"), ("GET", f"{public}/readyz"), ("POST", f"{public}/webhook"))
        health, ready, webhook = await asyncio.gather(*(asked(_call(http, *call)) for call in calls))
    alive = judged("service.healthz", health, public, is_alive)
    if alive.fix:
        why = "the bridge does not answer at its public address"
        return [alive, skipped("service.readyz", why), skipped("service.webhook", why)]
    return [
        alive,
        judged("service.readyz", ready, public, is_ready),
        judged("service.webhook", webhook, public, refuses_unsigned),
    ]


def judged(id_: str, answer: Answer | Failure, public: str, right: Callable[[Answer], str | None]) -> Check:
    """The check of one answer.

    Args:
        id_: of the check.
        answer: of the service.
        public: BRIDGE_PUBLIC_URL.
        right: what is wrong with the answer; empty if nothing is, None if it is not the bridge that answers.
    """
    if isinstance(answer, Failure):
        return unanswered(id_, answer)
    wrong = right(answer)
    if wrong is None:
        return failed(id_, answer.shown, f"let the proxy forward {public} to the bridge, or correct BRIDGE_PUBLIC_URL")
    if wrong:
        return failed(id_, f"the service is not ready: {wrong}", "see docs/troubleshooting.md and the service's log")
    return ok(id_, f"{answer.call}: {answer.status}")


def is_alive(answer: Answer) -> str | None:
    """Whether `/healthz` answers as the bridge does."""
    return "" if answer.status == HTTPStatus.OK and answer.document == {"status": "ok"} else None


def is_ready(answer: Answer) -> str | None:
    """What `/readyz` says is wrong."""
    checks = answer.document.get("checks")
    if answer.status not in (HTTPStatus.OK, HTTPStatus.SERVICE_UNAVAILABLE) or not isinstance(checks, Mapping):
        return None
    return plain(", ".join(f"{name}: {why}" for name, why in checks.items() if why != "ok"))[:LONGEST]


def refuses_unsigned(answer: Answer) -> str | None:
    """Whether `/webhook` refuses a delivery without a signature. A proxy that wants a password names a scheme."""
    refused = answer.status == HTTPStatus.UNAUTHORIZED and "www-authenticate" not in answer.headers
    return "" if refused else None


async def _call(http: httpx.AsyncClient, method: str, url: str) -> Answer:
    """Call the service.

    Raises:
        Unavailable: there was no answer.
    """
    try:
        async with http.stream(method, url) as response:
            body = await _beginning(response)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Unavailable(f"{method} {url}: {_why(error)}") from None
    return Answer(
        call=f"{method} {url}", status=response.status_code, headers=dict(response.headers), document=_document(body)
    )


async def _beginning(response: httpx.Response) -> bytes:
    """The first LARGEST bytes: an answer may be endless."""
    body = b""
    async for part in response.aiter_bytes():
        body += part
        if len(body) >= LARGEST:
            break
    return body[:LARGEST]


def _document(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _why(error: Exception) -> str:
    """What happened and what to do."""
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        reason = str(error).rpartition("failed: ")[2].partition(" (_ssl")[0]
        return f"its certificate is refused: {plain(reason)[:LONGEST]}; renew the certificate, and send the whole chain"
    if isinstance(error, httpx.TimeoutException):
        return "no answer in time; start the service, and check the firewall and the proxy"
    return f"no connection ({type(error).__name__}); start the service, and check DNS, the firewall and the proxy"

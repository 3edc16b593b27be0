"""The manifest that is sent to GitHub, and what the answer to its code means."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from bridge.errors import AuthError, BridgeError, OutcomeUnknown, RateLimited, Rejected, Unavailable
from bridge.github.manifest import (
    ORGANISATION,
    PLACEHOLDER_HOOK,
    REPOSITORIES,
    CodeRefused,
    NewApp,
    convert,
    form_url,
    manifest,
)
from bridge.github.timing import GitHubTiming

CODE = "a1b2c3"
ANSWER: dict[str, Any] = {
    "id": 7,
    "client_id": "Iv23liNew",
    "slug": "bridge",
    "owner": {"login": "acme"},
    "html_url": "https://github.com/apps/bridge",
    "webhook_secret": "s" * 40,
    "pem": "-----BEGIN RSA PRIVATE KEY-----\nx\n",
}


def converted(answer: Callable[[httpx.Request], httpx.Response], api: str = "https://api.github.com") -> NewApp:
    async def main() -> NewApp:
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
            return await convert(http, api, CODE, GitHubTiming(clock=lambda: 1000.0))

    return asyncio.run(main())


def document(**changed: Any) -> dict[str, Any]:
    given = {"name": "n", "homepage": "https://github.com/acme", "redirect_url": "http://127.0.0.1:1/callback"}
    return manifest(**{**given, "permissions": ORGANISATION, "webhook_url": None, **changed})


@pytest.mark.parametrize(
    ("api", "owner", "expected"),
    [
        ("https://api.github.com", "acme", "https://github.com/organizations/acme/settings/apps/new?state=s"),
        ("https://api.github.com", None, "https://github.com/settings/apps/new?state=s"),
        ("https://ghe.corp/api/v3", "acme", "https://ghe.corp/organizations/acme/settings/apps/new?state=s"),
        ("https://api.acme.ghe.com", None, "https://acme.ghe.com/settings/apps/new?state=s"),
    ],
)
def test_the_form_is_the_owners_at_each_kind_of_github(api: str, owner: str | None, expected: str) -> None:
    assert form_url(api, owner, "s") == expected


def test_without_a_webhook_the_hook_is_inactive_and_its_address_public() -> None:
    made = document()
    assert made["hook_attributes"] == {"url": PLACEHOLDER_HOOK, "active": False}
    assert (made["default_events"], made["public"]) == ([], False)


def test_with_a_webhook_only_workflow_job_is_asked_for() -> None:
    made = document(webhook_url="https://bridge.example.org/webhook")
    assert made["hook_attributes"] == {"url": "https://bridge.example.org/webhook", "active": True}
    assert made["default_events"] == ["workflow_job"]


@pytest.mark.parametrize("permissions", [ORGANISATION, REPOSITORIES])
def test_three_permissions_are_asked_for_and_no_more(permissions: dict[str, str]) -> None:
    assert len(permissions) == 3
    assert document(permissions=permissions)["default_permissions"] == permissions


def test_the_app_and_its_secrets_are_read_and_not_shown() -> None:
    made = converted(lambda request: httpx.Response(201, json=ANSWER), "https://ghe.corp/api/v3")
    assert (made.client_id, made.owner, made.webhook_secret) == ("Iv23liNew", "acme", "s" * 40)
    assert "ssss" not in repr(made)
    assert "BEGIN" not in repr(made)


def test_the_call_has_no_body_and_goes_to_the_api() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(201, json=ANSWER | {"webhook_secret": None, "client_id": None})

    made = converted(answer, "https://ghe.corp/api/v3")
    assert str(seen[0].url) == "https://ghe.corp/api/v3/app-manifests/a1b2c3/conversions"
    assert seen[0].content == b""
    assert (made.client_id, made.webhook_secret) == ("7", None)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (httpx.Response(404, json={"message": "Not Found"}), CodeRefused),
        (httpx.Response(422, json={"message": "Validation Failed"}), CodeRefused),
        (httpx.Response(403, json={"message": "Forbidden"}), AuthError),
        (httpx.Response(401), AuthError),
        (httpx.Response(403, json={"message": "API rate limit exceeded"}), RateLimited),
        (httpx.Response(429, headers={"retry-after": "5"}), RateLimited),
        (httpx.Response(502, text="<html>"), OutcomeUnknown),
        (httpx.Response(201, text="<html>"), OutcomeUnknown),
        (httpx.Response(201, json=ANSWER | {"pem": "none"}), OutcomeUnknown),
        (httpx.Response(201, json=[]), OutcomeUnknown),
        (httpx.Response(301, headers={"location": "https://elsewhere/"}), Rejected),
        (httpx.ReadTimeout("x"), OutcomeUnknown),
        (httpx.RemoteProtocolError("x"), OutcomeUnknown),
        (httpx.ConnectError("x"), Unavailable),
    ],
)
def test_each_answer_has_a_name_and_the_code_is_not_shown(
    answer: httpx.Response | Exception, error: type[BridgeError]
) -> None:
    def respond(_request: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    with pytest.raises(error) as told:
        converted(respond)
    assert type(told.value) is error
    assert CODE not in str(told.value)

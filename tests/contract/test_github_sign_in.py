"""Signing a person in with GitHub: our client against the emulator, and against answers that no GitHub gives."""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from githubkit import TokenAuthStrategy

from bridge.emulator.github import GitHubEmulator, github_emulator
from bridge.emulator.github.access import PERMISSIONS
from bridge.emulator.github.sign_in import CODE_LIFE, Person
from bridge.errors import AuthError, Unavailable
from bridge.github.sign_in import LARGEST, SignIn
from bridge.github.transport import http_client
from tests.emulator.test_github_emulator import client
from tests.support.clock import Clock
from tests.support.github import a_github, an_app

T = TypeVar("T")
CALLBACK = "https://bridge.example.org/login/callback"
VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
MEMBER = Person(memberships={"acme": "active"})


def signing(
    work: Callable[[GitHubEmulator, SignIn, httpx.AsyncClient], Awaitable[T]], clock: Clock | None = None, **given: Any
) -> T:
    """Do `work` with an emulated GitHub that has one App, our client, and a browser."""

    async def main() -> T:
        app = an_app(callback_urls=[CALLBACK], permissions={**PERMISSIONS, "members": "read"})
        async with (
            github_emulator(a_github(**({"clock": clock} if clock else {})), app) as emulator,
            http_client() as http,
            httpx.AsyncClient() as browser,
        ):
            emulator.sign_ins.people["octocat"] = MEMBER
            values = {
                "web_url": emulator.url,
                "api_url": emulator.api_url,
                "client_id": app.client_id,
                "client_secret": app.client_secret,
                "owner": "acme",
            }
            return await work(emulator, SignIn(http, **{**values, **given}), browser)

    return asyncio.run(main())


async def agreed(sign_in: SignIn, browser: httpx.AsyncClient, *, yes: bool = True) -> dict[str, str]:
    """What GitHub sends with the browser when the person has decided."""
    address = sign_in.address(state="a state", challenge=CHALLENGE, redirect=CALLBACK)
    page = await browser.get(address)
    assert page.status_code == 200, page.text
    fields = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
    answer = await browser.post(
        urlsplit(address)._replace(query="").geturl(), data={**fields, "authorize": str(int(yes))}
    )
    there = urlsplit(answer.headers["location"])
    assert there._replace(query="").geturl() == CALLBACK
    return {name: values[0] for name, values in parse_qs(there.query).items()}


async def signed_in(_emulator: GitHubEmulator, sign_in: SignIn, browser: httpx.AsyncClient, **given: str) -> str:
    sent = await agreed(sign_in, browser)
    return await sign_in.person(sent["code"], **{"verifier": VERIFIER, "redirect": CALLBACK, **given})


def test_a_member_of_the_organisation_may_sign_in() -> None:
    assert signing(signed_in) == "octocat"


def test_github_returns_the_state_and_says_if_the_person_refuses() -> None:
    async def work(_emulator: GitHubEmulator, sign_in: SignIn, browser: httpx.AsyncClient) -> dict[str, str]:
        return await agreed(sign_in, browser, yes=False)

    assert signing(work).items() >= {"state": "a state", "error": "access_denied"}.items()


@pytest.mark.parametrize(
    ("person", "given", "permissions", "why"),
    [
        (Person(), {}, None, "octocat is no member of acme"),
        (Person(memberships={"acme": "pending"}), {}, None, "octocat is no member of acme"),
        (Person(memberships={"other": "active"}), {}, None, "octocat is no member of acme"),
        (MEMBER, {}, PERMISSIONS, "the App needs the organisation permission Members: read"),
        (MEMBER, {"teams": ["gpu"]}, None, "octocat is in none of the teams that may see this page"),
        (Person(memberships={"acme": "active"}, teams={"acme/web"}), {"teams": ["gpu"]}, None, "none of the teams"),
    ],
)
def test_others_may_not(person: Person, given: dict[str, Any], permissions: dict[str, str] | None, why: str) -> None:
    async def work(emulator: GitHubEmulator, sign_in: SignIn, browser: httpx.AsyncClient) -> None:
        emulator.sign_ins.people["octocat"] = person
        emulator.app.permissions = permissions or emulator.app.permissions
        with pytest.raises(AuthError, match=why):
            await signed_in(emulator, sign_in, browser)

    signing(work, **given)


def test_members_of_one_of_the_teams_may() -> None:
    async def work(emulator: GitHubEmulator, sign_in: SignIn, browser: httpx.AsyncClient) -> str:
        emulator.sign_ins.people["octocat"] = Person(memberships={"acme": "active"}, teams={"acme/gpu"})
        return await signed_in(emulator, sign_in, browser)

    assert signing(work, teams=["web", "gpu"]) == "octocat"


def test_the_owner_of_their_own_repositories_may() -> None:
    async def work(emulator: GitHubEmulator, sign_in: SignIn, browser: httpx.AsyncClient) -> str:
        emulator.sign_ins.people.clear()
        return await signed_in(emulator, sign_in, browser)

    assert signing(work, owner="Octocat") == "octocat"


@pytest.mark.parametrize(
    ("given", "changed", "why"),
    [
        ({}, {"verifier": "w" * 43}, "bad_verification_code"),
        ({}, {"redirect": "https://evil.example/"}, "redirect_uri_mismatch"),
        (
            {"client_secret": "another secret"},
            {},
            "incorrect_client_credentials; correct BRIDGE_DASHBOARD_CLIENT_SECRET",
        ),
    ],
)
def test_github_refuses_what_does_not_belong_together(given: dict[str, Any], changed: dict[str, str], why: str) -> None:
    async def work(emulator: GitHubEmulator, sign_in: SignIn, browser: httpx.AsyncClient) -> None:
        with pytest.raises(AuthError, match=why):
            await signed_in(emulator, sign_in, browser, **changed)

    signing(work, **given)


def test_a_code_counts_once_and_not_for_long() -> None:
    clock = Clock()

    async def work(_emulator: GitHubEmulator, sign_in: SignIn, browser: httpx.AsyncClient) -> None:
        used, late = (await agreed(sign_in, browser))["code"], (await agreed(sign_in, browser))["code"]
        assert await sign_in.person(used, verifier=VERIFIER, redirect=CALLBACK) == "octocat"
        clock.now += CODE_LIFE
        for code in (used, late, "made up"):
            with pytest.raises(AuthError, match="bad_verification_code; it took too long or was used before"):
                await sign_in.person(code, verifier=VERIFIER, redirect=CALLBACK)

    signing(work, clock)


def test_github_sends_nobody_to_an_address_that_the_app_does_not_have() -> None:
    async def work(_emulator: GitHubEmulator, sign_in: SignIn, browser: httpx.AsyncClient) -> int:
        address = sign_in.address(state="x", challenge=CHALLENGE, redirect="https://evil.example/")
        return (await browser.get(address)).status_code

    assert signing(work) == 400


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield b" " * LARGEST


STRANGE: list[tuple[Callable[[], httpx.Response], str]] = [
    (lambda: httpx.Response(200, html="<html>blocked</html>"), r"unexpected answer \(text/html; charset=utf-8\)"),
    (lambda: httpx.Response(200, json=[]), "unexpected answer"),
    (lambda: httpx.Response(200, json={"token_type": "bearer"}), "the answer has no access_token"),
    (lambda: httpx.Response(200, json={"access_token": {"x": 1}}), "the answer has no access_token"),
    (lambda: httpx.Response(200, text="[" * 100_000), "unexpected answer"),
    (lambda: httpx.Response(302, headers={"location": "https://evil.example/"}), "302 Found"),
    (lambda: httpx.Response(502), "502 Bad Gateway"),
    (lambda: httpx.Response(200, content=endless()), r"no answer \(DecodingError\)"),
]


@pytest.mark.parametrize(("answer", "why"), STRANGE, ids=range(len(STRANGE)))
def test_a_strange_answer_signs_nobody_in(answer: Callable[[], httpx.Response], why: str) -> None:
    asked: list[str] = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return answer()

    async def main() -> None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(handle)) as http:
            sign_in = SignIn(
                http,
                web_url="https://g.test",
                api_url="https://api.g.test",
                client_id="i",
                client_secret="s",
                owner="acme",
            )
            with pytest.raises(Unavailable, match=why) as caught:
                await sign_in.person("code", verifier=VERIFIER, redirect=CALLBACK)
            assert "blocked" not in str(caught.value)

    asyncio.run(main())
    assert asked == ["https://g.test/login/oauth/access_token"]


def test_no_answer_signs_nobody_in() -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("slow", request=request)

    async def main() -> None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(handle)) as http:
            sign_in = SignIn(
                http,
                web_url="https://g.test",
                api_url="https://api.g.test",
                client_id="i",
                client_secret="s",
                owner="acme",
            )
            with pytest.raises(Unavailable, match=r"no answer \(ReadTimeout\)"):
                await sign_in.person("code", verifier=VERIFIER, redirect=CALLBACK)

    asyncio.run(main())


def test_the_emulated_answers_match_githubs_description() -> None:
    async def work(emulator: GitHubEmulator, sign_in: SignIn, browser: httpx.AsyncClient) -> None:
        emulator.sign_ins.people["octocat"] = Person(memberships={"acme": "active"}, teams={"acme/gpu"})
        await signed_in(emulator, sign_in, browser)
        (token,) = emulator.sign_ins.tokens
        async with client(TokenAuthStrategy(token), emulator) as github:
            assert (await github.rest.users.async_get_authenticated()).parsed_data.login == "octocat"
            member = await github.rest.orgs.async_get_membership_for_authenticated_user("acme")
            assert (member.parsed_data.state, member.parsed_data.organization.login) == ("active", "acme")
            team = await github.rest.teams.async_get_membership_for_user_in_org("acme", "gpu", "octocat")
            assert team.parsed_data.state == "active"

    signing(work)

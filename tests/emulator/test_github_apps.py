"""The emulated GitHub's App pages: what they accept as GitHub does, and what githubkit reads from the conversion."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from githubkit import AppAuthStrategy, UnauthAuthStrategy
from githubkit.exception import RequestFailed

from bridge.emulator.github import GitHubEmulator, GitHubState, github_emulator
from tests.emulator.test_github_emulator import client, status_of
from tests.support.forms import Form
from tests.support.github import a_github, an_app

GOOD: dict[str, Any] = {
    "name": "runner-bridge",
    "url": "https://example.com",
    "redirect_url": "http://127.0.0.1:9/callback",
    "hook_attributes": {"url": "https://example.com/hook", "active": False},
    "public": False,
    "default_permissions": {"actions": "read", "metadata": "read"},
    "default_events": [],
}


def visited(drive: Callable[[GitHubEmulator, httpx.AsyncClient], Awaitable[None]], state: GitHubState) -> None:
    """Run `drive` with the emulator and a browser's HTTP, which follows no redirect."""

    async def main() -> None:
        async with github_emulator(state, an_app()) as emulator, httpx.AsyncClient(base_url=emulator.url) as browser:
            await drive(emulator, browser)

    asyncio.run(main())


async def posted(browser: httpx.AsyncClient, manifest: object, path: str = "/organizations/acme") -> httpx.Response:
    return await browser.post(f"{path}/settings/apps/new?state=s-1", data={"manifest": json.dumps(manifest)})


async def confirmed(browser: httpx.AsyncClient, page: httpx.Response, **changed: str) -> httpx.Response:
    form = Form(page)
    return await browser.post(form.action, data=form.values | changed)


async def code_for(browser: httpx.AsyncClient, **changed: Any) -> str:
    answer = await confirmed(browser, await posted(browser, GOOD | changed))
    return dict(httpx.URL(answer.headers["location"]).params)["code"]


def test_a_code_becomes_an_app_that_githubkit_can_read_and_sign_for() -> None:
    async def drive(emulator: GitHubEmulator, browser: httpx.AsyncClient) -> None:
        answer = await confirmed(browser, await posted(browser, GOOD))
        location = httpx.URL(answer.headers["location"])
        assert (answer.status_code, location.host, location.path) == (302, "127.0.0.1", "/callback")
        assert location.params["state"] == "s-1"
        async with client(UnauthAuthStrategy(), emulator) as github:
            made = (await github.rest.apps.async_create_from_manifest(location.params["code"])).parsed_data
            assert (made.name, made.slug, made.owner.login) == ("runner-bridge", "runner-bridge", "acme")
            with pytest.raises(RequestFailed) as twice:
                await github.rest.apps.async_create_from_manifest(location.params["code"])
            assert status_of(twice) == 404
        async with client(AppAuthStrategy(made.client_id, made.pem), emulator) as github:
            assert (await github.rest.apps.async_get_authenticated()).parsed_data.id == made.id
            with pytest.raises(RequestFailed) as absent:
                await github.rest.apps.async_get_org_installation("acme")
            assert status_of(absent) == 404

    visited(drive, a_github())


def test_a_code_expires_after_an_hour() -> None:
    now = [1000.0]
    state = a_github(clock=lambda: now[0])

    async def drive(emulator: GitHubEmulator, browser: httpx.AsyncClient) -> None:
        code = await code_for(browser)
        now[0] += 3600
        answer = await browser.post(f"{emulator.api_url}/app-manifests/{code}/conversions")
        assert answer.status_code == 404

    visited(drive, state)


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ([], "does not appear to be a valid GitHub App manifest"),
        ({**GOOD, "url": ""}, "&quot;url&quot; wasn&#x27;t supplied"),
        ({**GOOD, "hook_attributes": {"active": False}}, "&quot;url&quot; wasn&#x27;t supplied"),
        ({**GOOD, "hook_attributes": {"url": "http://127.0.0.1:8080/webhook", "active": False}}, "public Internet"),
        ({**GOOD, "hook_attributes": {"url": "http://localhost/webhook"}}, "public Internet (localhost)"),
        ({**GOOD, "redirect_url": ""}, "Redirect url"),
        ({**GOOD, "default_permissions": {"everything": "write"}}, "Default permission records"),
        ({**GOOD, "default_events": ["installation"]}, "Default events unsupported: installation"),
        ({**GOOD, "default_permissions": {}, "default_events": ["workflow_job"]}, "not supported by permissions"),
    ],
)
def test_a_manifest_that_github_refuses_is_refused(manifest: object, message: str) -> None:
    async def drive(_: GitHubEmulator, browser: httpx.AsyncClient) -> None:
        page = await posted(browser, manifest)
        assert page.status_code == 422
        assert message in page.text

    visited(drive, a_github())


def test_a_name_is_used_once_and_can_be_corrected_on_the_page() -> None:
    async def drive(_: GitHubEmulator, browser: httpx.AsyncClient) -> None:
        await code_for(browser)
        page = await confirmed(browser, await posted(browser, GOOD | {"name": "Runner-Bridge"}))
        assert "Name is already taken" in page.text
        long = await confirmed(browser, page, name="x" * 35)
        assert "maximum is 34 characters" in long.text
        assert (await confirmed(browser, long, name="another")).status_code == 302

    visited(drive, a_github())


def test_the_settings_of_an_organisation_are_shown_to_its_owners_only() -> None:
    async def drive(emulator: GitHubEmulator, browser: httpx.AsyncClient) -> None:
        assert (await posted(browser, GOOD, "/organizations/unknown")).status_code == 404
        emulator.registrations.not_owned.add("acme")
        assert (await posted(browser, GOOD)).status_code == 404
        assert (await posted(browser, GOOD, "")).status_code == 200

    visited(drive, a_github())


def test_an_installation_has_the_repositories_that_were_selected() -> None:
    state = a_github()
    state.add_repository("acme/site")

    async def drive(emulator: GitHubEmulator, browser: httpx.AsyncClient) -> None:
        code = await code_for(browser)
        raw = (await browser.post(f"{emulator.api_url}/app-manifests/{code}/conversions")).json()
        page = await browser.get(raw["html_url"] + "/installations/new")
        form = Form(page)
        none = await browser.post(form.action, data={"selection": "selected"})
        assert none.status_code == 422
        chosen = await browser.post(form.action, data={"selection": "selected", "repository": "site"})
        assert (await browser.get(chosen.headers["location"])).status_code == 200
        async with client(AppAuthStrategy(raw["client_id"], raw["pem"]), emulator) as github:
            found = (await github.rest.apps.async_get_org_installation("acme")).parsed_data
            assert found.repository_selection == "selected"
            token = (await github.rest.apps.async_create_installation_access_token(found.id)).parsed_data.token
            listed = await browser.get(
                f"{emulator.api_url}/installation/repositories", headers={"authorization": f"Bearer {token}"}
            )
            assert [each["full_name"] for each in listed.json()["repositories"]] == ["acme/site"]
            emulator.app.suspended = True
            with pytest.raises(RequestFailed) as refused:
                await github.rest.apps.async_create_installation_access_token(found.id)
            assert status_of(refused) == 403

    visited(drive, state)


def test_a_name_is_shown_as_text() -> None:
    async def drive(_: GitHubEmulator, browser: httpx.AsyncClient) -> None:
        page = await posted(browser, GOOD | {"name": '"><script>x</script>'})
        assert "<script>" not in page.text

    visited(drive, a_github())

"""The parts of `bridge setup`: options, the local page, the files."""

import stat
from pathlib import Path
from typing import Any

import httpx
import pytest

from bridge.commands.setup.folder import Folder
from bridge.commands.setup.inputs import Given, given
from bridge.commands.setup.page import LocalPage, submitting_page
from bridge.commands.setup.progress import Progress, app_name, load, save
from bridge.commands.setup.register import pasted_code
from bridge.commands.setup.texts import secrets_text
from bridge.emulator.github import App
from bridge.errors import ConfigError
from bridge.github.manifest import NewApp
from tests.support.setting_up import options


def checked(environment: dict[str, str] | None = None, **changed: Any) -> Given:
    return given(options(**changed), environment or {})


# --- options and environment ---


@pytest.mark.parametrize(
    ("environment", "changed", "message"),
    [
        ({}, {"org": None}, "--org: give --org ORG"),
        ({}, {"account": "octocat"}, "--org: give --org ORG"),
        ({}, {"org": "a/b"}, "--org: must be the name"),
        ({}, {"webhook_url": "http://127.0.0.1:8080/webhook"}, "--webhook-url: must be https:// and a public"),
        ({}, {"webhook_url": "https://10.0.0.1/webhook"}, "--webhook-url: must be https:// and a public"),
        (
            {"GITHUB_APP_CLIENT_ID": "Iv23liX", "GITHUB_APP_PRIVATE_KEY": "x"},
            {"webhook_url": "https://bridge.example.org/webhook"},
            "GITHUB_WEBHOOK_SECRET: missing",
        ),
        ({}, {"webhook_url": "bridge.example.org"}, "--webhook-url: must be"),
        ({}, {"app_name": "x" * 35}, "--app-name: must have 1 to 34"),
        ({}, {"endpoint": "a b"}, "--endpoint: must be"),
        ({"GITHUB_API_URL": "http://ghe.corp/api/v3"}, {}, "GITHUB_API_URL: must begin with https://"),
        ({"GITHUB_APP_CLIENT_ID": "Iv23liX"}, {}, "GITHUB_APP_PRIVATE_KEY: missing"),
        ({"GITHUB_APP_PRIVATE_KEY": "x"}, {}, "GITHUB_APP_CLIENT_ID: missing"),
        (
            {"GITHUB_APP_CLIENT_ID": "Iv23liX", "GITHUB_APP_PRIVATE_KEY_FILE": "/none"},
            {},
            "cannot be read: No such file",
        ),
        ({"RUNPOD_API_KEY": "ghp_secretpersonaltoken"}, {}, "RUNPOD_API_KEY"),
        ({"RUNPOD_ENDPOINT_ID": "rpa_12345678"}, {}, "RUNPOD_ENDPOINT_ID: must be"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_done(
    environment: dict[str, str], changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as told:
        checked(environment, **changed)
    for value in environment.values():
        assert not value.startswith(("ghp_", "rpa_")) or value not in str(told.value)


def test_the_organisation_may_come_from_the_environment() -> None:
    assert checked({"GITHUB_ORG": "acme"}, org=None).owner == "acme"
    assert not checked({"GITHUB_ORG": "acme"}, org=None, account="octocat").organisation


# --- the local page ---


def page(state: str = "s-1") -> LocalPage:
    return LocalPage(lambda redirect: f"redirects to {redirect}", state)


def test_the_page_is_shown_at_its_own_address_only() -> None:
    with page() as local, httpx.Client() as client:
        host = local.url.rpartition("/")[0]
        assert client.get(local.url).text == f"redirects to {host}/callback"
        assert client.get(f"{host}/").status_code == 404
        assert client.get(f"{host}/", headers={"host": "evil.example"}).status_code == 421
        assert client.get(local.url).headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("query", ["code=c", "code=c&state=other", "state=s-1", "code=c&state=", ""])
def test_an_answer_without_our_state_or_a_code_is_refused(query: str) -> None:
    with page() as local:
        answer = httpx.get(f"{local.url.rpartition('/')[0]}/callback?{query}")
        assert answer.status_code == 400
        assert local.code is None


def test_of_two_answers_the_first_counts() -> None:
    with page() as local:
        callback = f"{local.url.rpartition('/')[0]}/callback?state=s-1&code="
        assert [httpx.get(callback + code).status_code for code in ("one", "two")] == [200, 200]
        assert local.code == "one"


def test_the_manifest_is_text_within_the_page() -> None:
    made = submitting_page("https://github.com/settings/apps/new?state=a&b", {"name": '"><b>'}, "acme")
    assert "<b>" not in made
    assert "state=a&amp;b" in made


@pytest.mark.parametrize(
    "answer", ["abc123", "http://127.0.0.1:9/callback?code=abc123&state=s-1", "/callback?state=s-1&code=abc123"]
)
def test_the_code_is_found_in_what_is_pasted(answer: str) -> None:
    assert pasted_code(answer, "s-1") == "abc123"


@pytest.mark.parametrize("answer", ["", "two words", "http://127.0.0.1:9/callback?code=a&state=old", "code=&state=s-1"])
def test_what_is_no_code_or_of_another_registration_is_refused(answer: str) -> None:
    with pytest.raises(ConfigError):
        pasted_code(answer, "s-1")


# --- files ---


def test_a_file_is_whole_and_private_whatever_the_umask(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "new")
    folder.write("secrets.env", "one")
    folder.write("secrets.env", "two")
    assert folder.read("secrets.env") == "two"
    assert stat.S_IMODE((folder.path / "secrets.env").stat().st_mode) == 0o600
    assert [each.name for each in folder.path.iterdir()] == ["secrets.env"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cannot be written: .*; choose another folder with --dir"):
        Folder(tmp_path / "file").write("secrets.env", "x")


def test_progress_is_read_as_it_was_written(tmp_path: Path) -> None:
    app = NewApp(
        client_id="Iv1", slug="s", owner="acme", html_url="https://x", webhook_secret="w", pem=App(owner="acme").pem
    )
    made = Progress(owner="acme", organisation=True, api_url="https://x", webhook_url=None, app=app, code="c")
    folder = Folder(tmp_path)
    save(folder, made)
    assert load(folder) == made
    for secret in (made.state, made.callback_key, app.pem):
        assert secret not in repr(made)


def test_names_of_apps_fit_and_differ() -> None:
    names = {app_name(owner) for owner in ("a", "a", "x" * 39, "acme-and-its-very-long-name")}
    assert len(names) == 4
    assert all(len(name) <= 34 and "--" not in name for name in names)


def test_secrets_are_quoted_only_where_a_shell_needs_it() -> None:
    made = Progress(
        owner="acme", organisation=True, api_url="https://x", webhook_url="https://y", callback_key="k" * 64
    )
    made.runpod_api_key = "a b'c"
    assert secrets_text(made).splitlines()[1:] == [
        f"BRIDGE_CALLBACK_KEY={'k' * 64}",
        """RUNPOD_API_KEY='a b'"'"'c'""",
    ]

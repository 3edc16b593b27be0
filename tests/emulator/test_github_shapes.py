"""The emulated GitHub's answers match GitHub's OpenAPI description in fields, values and formats.

githubkit's models are generated from that description. They do not check formats, so these tests do.
"""

import asyncio
import json
import re
from collections.abc import Iterator
from typing import Any, get_args
from urllib.parse import urlsplit

import httpx
import pytest
from githubkit import AppAuthStrategy, AppInstallationAuthStrategy
from githubkit_schemas.latest.models import Job, MinimalRepository, Repository, WorkflowRun

from bridge.emulator.github import GitHubEmulator, github_emulator
from bridge.emulator.github.model import ADVANCE
from bridge.emulator.github.state import GitHubState
from bridge.emulator.jobs import Gate
from tests.emulator.test_github_emulator import client
from tests.support.background import until_async
from tests.support.github import GPU, a_github, a_run, a_spec, an_app

EMAIL = re.compile(r"[\w.+-]+@[\w-]+(\.[\w-]+)+")
APP = ("app", "app/hook/config", "app/hook/deliveries", "orgs/acme/installation")


def texts(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every string in a JSON value, with its path."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from texts(each, f"{path}/{key}")
    elif isinstance(value, list):
        for each in value:
            yield from texts(each, path)
    elif isinstance(value, str):
        yield path, value


def invalid(value: Any) -> list[tuple[str, str]]:
    """The strings that are not a URL or e-mail address although their name says so."""
    wrong = []
    for path, text in texts(value):
        name = path.rpartition("/")[2]
        parts = urlsplit(text)
        if (name == "url" or name.endswith("_url")) and not (parts.scheme in ("http", "https") and parts.netloc):
            wrong.append((path, text))
        if name == "email" and not EMAIL.fullmatch(text):
            wrong.append((path, text))
    return wrong


def a_state() -> GitHubState:
    state = a_github()
    state.add_repository("acme/old", archived=True)
    state.add_repository("acme/off", disabled=True)
    state.add_runner("orgs/acme", "r-1", GPU)
    state.add_run("acme/web", a_run(a_spec("gated", gate=Gate.REVIEW), a_spec("free")))
    return state


def test_every_url_and_address_is_valid() -> None:
    """GitHub's description gives them the formats `uri` and `email`."""
    state = a_state()
    (run,) = state.runs.values()
    job = next(iter(run.jobs.values()))

    async def main() -> None:
        async with github_emulator(state, an_app(webhook_url="http://127.0.0.1:9/webhook")) as emulator:
            app = emulator.app
            emulator.webhooks.ping()
            emulator.webhooks.workflow_job("queued", job)
            installation = AppInstallationAuthStrategy(app.client_id, app.pem, app.installation_id)
            base = "repos/acme/web/actions"
            paths = ["installation/repositories", "orgs/acme/repos", f"{base}/runs", f"{base}/runs/{run.id}"]
            paths += [f"{base}/runs/{run.id}/jobs", f"{base}/jobs/{job.id}", "orgs/acme/actions/runner-groups"]
            async with client(installation, emulator) as github:
                for path in paths:
                    assert invalid((await github.arequest("GET", f"/{path}")).json()) == [], path
            await until_async(lambda: not emulator.webhooks.pending)
            deliveries = [logged.whole() for logged in emulator.webhooks.log.newest(None, 10)[0]]
            assert len(deliveries) == 2
            assert invalid(deliveries) == []
            async with client(AppAuthStrategy(app.client_id, app.pem), emulator) as github:
                for path in APP:
                    assert invalid((await github.arequest("GET", f"/{path}")).json()) == [], path
            async with httpx.AsyncClient() as nobody:
                refused = (await nobody.get(f"{emulator.api_url}/installation/repositories")).json()
            assert (refused["message"], invalid(refused)) == ("Bad credentials", [])

    asyncio.run(main())


def test_an_organisations_repositories_show_which_are_archived_or_disabled() -> None:
    """GitHub's description has both also in `minimal-repository`, so a pass with a PAT need not scan them."""

    async def main() -> None:
        async with github_emulator(a_state(), an_app()) as emulator:
            owned = await listed(emulator, "orgs/acme/repos")
            installed = (await listed(emulator, "installation/repositories"))["repositories"]
            for found, model in ((owned, MinimalRepository), (installed, Repository)):
                parsed = [model.model_validate(each) for each in found]
                shown = {r.name: (r.archived, r.disabled, r.visibility) for r in parsed}
                assert shown == {
                    "web": (False, False, "private"),
                    "old": (True, False, "private"),
                    "off": (False, True, "private"),
                }

    asyncio.run(main())


async def listed(emulator: GitHubEmulator, path: str) -> Any:
    app = emulator.app
    async with client(AppInstallationAuthStrategy(app.client_id, app.pem, app.installation_id), emulator) as github:
        return (await github.arequest("GET", f"/{path}")).json()


def test_the_statuses_of_jobs_are_githubs() -> None:
    named = {value for each in get_args(Job.model_fields["status"].annotation) for value in _values(each)}
    assert set(ADVANCE) <= named


def _values(annotation: Any) -> set[str]:
    values = {annotation} if isinstance(annotation, str) else set()
    return values.union(*(_values(each) for each in get_args(annotation)))


@pytest.mark.parametrize("with_review", [True, False])
def test_a_run_is_listed_only_with_the_status_of_its_least_advanced_job(with_review: bool) -> None:
    state = a_github()
    gate = Gate.REVIEW if with_review else None
    state.add_run("acme/web", a_run(a_spec("one", gate=gate), a_spec("two")))
    found: dict[str, list[str | None]] = {}

    async def main() -> None:
        async with github_emulator(state, an_app()) as emulator:
            for status in ("queued", "in_progress", "waiting", "completed"):
                answer = await listed(emulator, f"repos/acme/web/actions/runs?status={status}")
                found[status] = [WorkflowRun.model_validate(run).status for run in answer["workflow_runs"]]

    asyncio.run(main())
    shown = "waiting" if with_review else "queued"
    assert found == {"queued": [], "in_progress": [], "waiting": [], "completed": []} | {shown: [shown]}


def test_an_invalid_url_or_address_is_found() -> None:
    wrong = {"url": "", "head_commit": {"author": {"email": "emulator@localhost"}}, "html_url": "/acme", "ok_url": None}
    assert [path for path, _ in invalid(json.loads(json.dumps([wrong])))] == [
        "/url",
        "/head_commit/author/email",
        "/html_url",
    ]

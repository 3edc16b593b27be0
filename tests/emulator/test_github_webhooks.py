"""The emulated GitHub's webhooks: githubkit parses them, and tests can lose, delay and duplicate them."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from githubkit import AppAuthStrategy, webhooks
from githubkit.exception import RequestFailed
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bridge.emulator.github import GitHubEmulator, GitHubState, github_emulator
from bridge.emulator.github.state import Job
from bridge.emulator.jobs import Gate
from bridge.emulator.serving import serving
from tests.emulator.test_github_emulator import client, driven
from tests.support.background import until_async
from tests.support.clock import Clock
from tests.support.github import a_github, a_run, a_spec, an_app


@dataclass
class Receiver:
    """Receives webhooks; `got` has them in order."""

    url: str = ""
    status: int = 200
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    async def take(self, request: Request) -> Response:
        self.got.append((dict(request.headers), await request.body()))
        return Response("taken", self.status)

    def events(self) -> list[Any]:
        return [webhooks.parse(headers["x-github-event"], body) for headers, body in self.got]

    def actions(self) -> list[str]:
        return [json.loads(body).get("action") for _, body in self.got]


@asynccontextmanager
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver()
    async with serving(Starlette(routes=[Route("/webhook", made.take, methods=["POST"])])) as url:
        made.url = f"{url}/webhook"
        yield made


def told(state: GitHubState, drive: Callable[[GitHubEmulator, Receiver], Awaitable[None]]) -> None:
    """Run `drive` with the emulator and a receiver of its webhooks."""

    async def main() -> None:
        async with receiver() as heard, github_emulator(state, an_app(webhook_url=heard.url)) as emulator:
            await drive(emulator, heard)

    asyncio.run(main())


async def sent(emulator: GitHubEmulator) -> None:
    await until_async(lambda: not emulator.webhooks.pending)


def queue(state: GitHubState, **given: Any) -> Job:
    (job,) = state.add_run("acme/web", a_run(a_spec(**given))).jobs.values()
    return job


def run_job(state: GitHubState, job: Job) -> None:
    runner = state.add_runner("orgs/acme", f"r-{job.id}", job.spec.labels)
    state.open_session(runner, "2.338.0")
    assert state.assigned(runner) is job
    state.acquire(runner, job.id)
    state.complete(runner, job.id, "Succeeded", {}, "")


def test_a_jobs_events_are_sent_in_order_signed_and_match_githubs_description() -> None:
    state = a_github()

    async def drive(emulator: GitHubEmulator, heard: Receiver) -> None:
        job = queue(state)
        run_job(state, job)
        await sent(emulator)
        queued, started, ended = heard.events()
        assert [e.action for e in (queued, started, ended)] == ["queued", "in_progress", "completed"]
        assert {e.workflow_job.id for e in (queued, started, ended)} == {job.id}
        assert (queued.workflow_job.runner_id, queued.workflow_job.runner_name) == (None, None)
        assert queued.workflow_job.started_at is not None, "as at GitHub, although nothing runs yet"
        assert started.workflow_job.runner_name == ended.workflow_job.runner_name == f"r-{job.id}"
        assert (ended.workflow_job.conclusion, ended.workflow_job.status) == ("success", "completed")
        assert queued.repository.full_name == "acme/web"
        assert (queued.organization.login, queued.installation.id) == ("acme", emulator.app.installation_id)
        for headers, body in heard.got:
            assert webhooks.verify(emulator.app.webhook_secret, body, headers["x-hub-signature-256"])
            assert not webhooks.verify("other", body, headers["x-hub-signature-256"])
            assert headers["x-github-hook-installation-target-id"] == str(emulator.app.app_id)
            assert headers["x-github-hook-installation-target-type"] == "integration"
            assert headers["content-type"] == "application/json"
            assert 8_000 < len(body) < 11_000
        assert len({headers["x-github-delivery"] for headers, _ in heard.got}) == 3

    told(state, drive)


def test_a_job_cancelled_while_queued_had_runner_0() -> None:
    state = a_github()

    async def drive(emulator: GitHubEmulator, heard: Receiver) -> None:
        state.cancel_job(queue(state, labels=()))
        await sent(emulator)
        queued, ended = heard.events()
        assert (queued.workflow_job.labels, ended.workflow_job.conclusion) == ([], "cancelled")
        assert (ended.workflow_job.runner_id, ended.workflow_job.runner_name) == (0, "")

    told(state, drive)


def test_a_skipped_job_sends_only_completed() -> None:
    state = a_github()

    async def drive(emulator: GitHubEmulator, heard: Receiver) -> None:
        queue(state, message=lambda _results: None)
        await sent(emulator)
        (ended,) = heard.events()
        assert (ended.action, ended.workflow_job.conclusion) == ("completed", "skipped")
        assert (ended.workflow_job.runner_id, ended.workflow_job.runner_name) == (0, "")

    told(state, drive)


def test_a_job_that_waits_for_a_review_sends_waiting_and_then_queued() -> None:
    state = a_github()

    async def drive(emulator: GitHubEmulator, heard: Receiver) -> None:
        job = queue(state, gate=Gate.REVIEW)
        emulator.webhooks.workflow_job("queued", job)
        state.release(job)
        await sent(emulator)
        states = [(e.action, e.workflow_job.status) for e in heard.events()]
        assert states == [("waiting", "waiting"), ("queued", "waiting"), ("queued", "queued")]

    told(state, drive)


def test_events_of_the_hook_and_the_installation_are_sent_on_request() -> None:
    state = a_github()

    async def drive(emulator: GitHubEmulator, heard: Receiver) -> None:
        web = state.repositories["acme/web"]
        emulator.webhooks.ping()
        for action in ("created", "suspend", "unsuspend", "deleted", "new_permissions_accepted"):
            emulator.webhooks.installation(action)
        emulator.webhooks.installation_repositories("added", added=[web])
        emulator.webhooks.installation_repositories("removed", removed=[web])
        await sent(emulator)
        ping, created, *_, added, removed = heard.events()
        assert (ping.hook.app_id, created.installation.id) == (emulator.app.app_id, emulator.app.installation_id)
        assert [r.full_name for r in created.repositories] == ["acme/web"]
        assert [r.id for r in added.repositories_added] == [r.id for r in removed.repositories_removed] == [web.id]
        assert [headers["x-github-event"] for headers, _ in heard.got] == [
            "ping", *["installation"] * 5, "installation_repositories", "installation_repositories",
        ]  # fmt: skip

    told(state, drive)


def test_deliveries_can_be_lost_duplicated_and_reordered_and_the_log_shows_it() -> None:
    state = a_github()

    async def drive(emulator: GitHubEmulator, heard: Receiver) -> None:
        fates = {"queued": [0.3], "in_progress": [], "completed": [0.0, 0.0]}
        emulator.webhooks.mishap = lambda delivery: fates[delivery.action or ""]
        job = queue(state)
        run_job(state, job)
        await sent(emulator)
        assert heard.actions() == ["completed", "completed", "queued"]
        assert len({headers["x-github-delivery"] for headers, _ in heard.got}) == 2
        logged, _ = emulator.webhooks.log.newest(None, 100)
        assert sorted((x.delivery.action, x.answer.status, x.answer.status_code) for x in logged) == [
            ("completed", "OK", 200), ("completed", "OK", 200),
            ("in_progress", "failed to connect", 502), ("queued", "OK", 200),
        ]  # fmt: skip
        assert {x.delivery.subject for x in logged} == {job.id}

    told(state, drive)


def test_the_same_seed_causes_the_same_mishaps() -> None:
    def heard_with(seed: int) -> list[str]:
        state, chance, heard_actions = a_github(), random.Random(seed), list[str]()

        async def drive(emulator: GitHubEmulator, heard: Receiver) -> None:
            emulator.webhooks.mishap = lambda _: [0.0] * chance.choice((0, 1, 2))
            for _ in range(10):
                run_job(state, queue(state))
            await sent(emulator)
            heard_actions.extend(heard.actions())

        told(state, drive)
        return heard_actions

    first = heard_with(7)
    assert first == heard_with(7)
    assert first != ["queued", "in_progress", "completed"] * 10


def as_app(state: GitHubState, drive: Callable[[GitHubEmulator, Receiver, Any], Awaitable[None]]) -> None:
    """Run `drive` with githubkit, which authenticates as the App."""

    async def main(emulator: GitHubEmulator, heard: Receiver) -> None:
        async with client(AppAuthStrategy(emulator.app.client_id, emulator.app.pem), emulator) as github:
            await drive(emulator, heard, github.rest.apps)

    told(state, main)


def test_the_delivery_log_has_pages_and_contains_every_payload() -> None:
    state = a_github()

    async def drive(emulator: GitHubEmulator, heard: Receiver, apps: Any) -> None:
        app = (await apps.async_get_authenticated()).parsed_data
        assert (app.id, app.events) == (emulator.app.app_id, ["workflow_job"])
        config = (await apps.async_get_webhook_config_for_app()).parsed_data
        assert (config.url, config.content_type, config.secret) == (heard.url, "json", "********")
        for _ in range(2):
            queue(state)
        await sent(emulator)
        heard.status = 500
        queue(state)
        await sent(emulator)
        first = await apps.async_list_webhook_deliveries(per_page=2)
        link = first.headers["link"]
        assert 'rel="next"' in link
        cursor = link.partition("cursor=")[2].partition(">")[0]
        second = await apps.async_list_webhook_deliveries(per_page=2, cursor=cursor)
        assert "link" not in second.headers
        listed = [*first.parsed_data, *second.parsed_data]
        assert [item.guid for item in listed] == [headers["x-github-delivery"] for headers, _ in reversed(heard.got)]
        assert [item.status_code for item in listed] == [500, 200, 200]
        assert [item.status == "OK" for item in listed] == [False, True, True]
        assert {(item.event, item.action) for item in listed} == {("workflow_job", "queued")}
        assert listed[0].repository_id == state.repositories["acme/web"].id
        whole = await apps.async_get_webhook_delivery(listed[0].id)
        raw = whole.json()
        assert raw["request"]["payload"] == json.loads(heard.got[-1][1])
        assert raw["request"]["headers"]["X-GitHub-Delivery"] == listed[0].guid
        with pytest.raises(RequestFailed) as missing:
            await apps.async_get_webhook_delivery(1)
        assert missing.value.response.status_code == 404

    as_app(state, drive)


def test_a_failed_delivery_is_in_the_log_for_three_days() -> None:
    state = a_github(clock=(clock := Clock()))

    async def main() -> None:
        app = an_app(webhook_url="http://127.0.0.1:9/webhook")
        async with github_emulator(state, app) as emulator:
            queue(state)
            await sent(emulator)
            ((failed,), _) = emulator.webhooks.log.newest(None, 10)
            assert (failed.answer.status, failed.answer.status_code) == ("failed to connect", 502)
            clock.now += 3 * 86_400 - 1
            assert emulator.webhooks.log.newest(None, 10) == ([failed], False)
            clock.now += 2
            assert emulator.webhooks.log.newest(None, 10) == ([], False)

    asyncio.run(main())


def test_without_a_url_nothing_is_sent_and_with_a_new_one_it_is() -> None:
    state = a_github()

    async def drive(emulator: GitHubEmulator, heard: Receiver) -> None:
        emulator.app.webhook_url = None
        queue(state)
        emulator.webhooks.ping()
        emulator.app.webhook_url = heard.url
        queue(state)
        await sent(emulator)
        assert heard.actions() == ["queued"]

    told(state, drive)


@pytest.mark.parametrize("fork", [False, True])
def test_a_run_names_the_repository_of_its_commit(fork: bool) -> None:
    state = a_github()
    run = a_run()
    made = state.add_run("acme/web", type(run)(**{**vars(run), "fork": fork}))

    async def drive(_: GitHubEmulator, github: Any) -> None:
        shown = (await github.rest.actions.async_get_workflow_run("acme", "web", made.id)).parsed_data
        assert shown.repository.full_name == "acme/web"
        assert shown.head_repository.full_name == ("contributor/web" if fork else "acme/web")
        assert (shown.head_repository.id != shown.repository.id) is fork
        with pytest.raises(RequestFailed) as missing:
            await github.rest.actions.async_get_workflow_run("acme", "web", 1)
        assert missing.value.response.status_code == 404

    driven(state, drive)

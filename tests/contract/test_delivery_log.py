"""Reading the App's delivery log, against the emulator."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from bridge.core.model import JobStatus
from bridge.emulator.faults import Fault, FaultKind
from bridge.emulator.github import GitHubEmulator, github_emulator
from bridge.errors import AuthError, BridgeError, RateLimited, Rejected, TooManyDeliveries, Unavailable
from bridge.github.auth import AppAuth, AppKey
from bridge.github.deliveries import PAGES, DeliveryLog
from bridge.github.timing import GitHubTiming
from bridge.github.transport import http_client
from tests.support.github import a_github, a_run, a_spec, an_app

NOWHERE = "http://127.0.0.1:9/webhook"


def reading(drive: Callable[[GitHubEmulator, DeliveryLog], Awaitable[None]], *, pages: int = PAGES, **app: Any) -> None:
    """Run `drive` with an emulator, and a reader of its delivery log."""

    async def main() -> None:
        async with github_emulator(a_github(), an_app(**app)) as emulator, http_client() as http:
            await drive(emulator, DeliveryLog(an_auth(emulator, http), pages=pages))

    asyncio.run(main())


def an_auth(emulator: GitHubEmulator, http: httpx.AsyncClient) -> AppAuth:
    app = emulator.app
    return AppAuth(
        http,
        api_url=emulator.api_url,
        issuer=app.client_id,
        key=AppKey.load(app.pem),
        owner=app.owner,
        timing=GitHubTiming(retry_wait=0.001),
    )


async def queue(emulator: GitHubEmulator, count: int) -> list[int]:
    """Queue jobs whose deliveries fail; return their ids."""
    runs = [emulator.state.add_run("acme/web", a_run(a_spec(f"job {n}"))) for n in range(count)]
    while emulator.webhooks.pending:  # noqa: ASYNC110 - there is no event for it
        await asyncio.sleep(0.005)
    return [job.id for run in runs for job in run.jobs.values()]


@pytest.mark.parametrize(
    ("app", "kept"),
    [
        ({"webhook_url": NOWHERE}, True),
        ({"webhook_url": None}, False),
        ({"webhook_url": NOWHERE, "events": ["push"]}, False),
    ],
)
def test_github_keeps_a_log_for_an_app_with_a_webhook_that_subscribes_to_jobs(app: dict[str, Any], kept: bool) -> None:
    async def drive(_: GitHubEmulator, log: DeliveryLog) -> None:
        assert await log.is_kept() is kept

    reading(drive, **app)


def test_deliveries_that_never_arrived_are_listed_page_by_page_and_read_in_full() -> None:
    async def drive(emulator: GitHubEmulator, log: DeliveryLog) -> None:
        emulator.webhooks.ping()
        ids = await queue(emulator, 130)
        sent = await log.since(0.0)
        assert len(sent) == len({each.guid for each in sent}) == 130, "the ping is not about a job"
        assert emulator.calls["GET /app/hook/deliveries"] == 2, "one call for each hundred"
        assert {each.action for each in sent} == {"queued"}
        assert {each.repository_id for each in sent} == {emulator.state.repositories["acme/web"].id}
        job = await log.job(sent[-1].id)
        assert job is not None
        assert (job.id, job.status, job.repository, job.fork) == (ids[0], JobStatus.QUEUED, "acme/web", None)
        assert await log.since(sent[0].at + 1) == ()

    reading(drive, webhook_url=NOWHERE)


@pytest.mark.parametrize("events", ["5", "true"])
def test_events_of_an_app_that_are_not_a_list_are_an_error(events: str) -> None:
    odd = Fault(method="GET", path="/app$", kind=FaultKind.ERROR, status=200, body=f'{{"events": {events}}}')

    async def drive(emulator: GitHubEmulator, log: DeliveryLog) -> None:
        emulator.faults.add(odd)
        with pytest.raises(Unavailable):
            await log.is_kept()

    reading(drive, webhook_url=NOWHERE)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"status": 500}, Unavailable),
        ({"status": 200, "body": "<html>"}, Unavailable),
        ({"status": 200, "body": '[{"id": 1}]'}, Unavailable),
        ({"status": 401}, AuthError),
        ({"status": 422}, Rejected),
    ],
)
def test_a_log_that_cannot_be_read_has_the_error_that_says_what_to_do(
    fault: dict[str, Any], error: type[BridgeError]
) -> None:
    async def drive(emulator: GitHubEmulator, log: DeliveryLog) -> None:
        emulator.faults.add(Fault(method="GET", path="/deliveries$", kind=FaultKind.ERROR, times=9, **fault))
        with pytest.raises(error):
            await log.since(0.0)

    reading(drive, webhook_url=NOWHERE)


def test_a_log_with_too_many_new_deliveries_is_an_error_of_its_own() -> None:
    """A scan of the repositories is cheaper then."""

    async def drive(emulator: GitHubEmulator, log: DeliveryLog) -> None:
        await queue(emulator, 210)
        with pytest.raises(TooManyDeliveries) as error:
            await log.since(0.0)
        assert error.value.newest == max(each.delivered_at for each in emulator.webhooks.log.newest(None, 1)[0]) // 1
        assert emulator.calls["GET /app/hook/deliveries"] == 2

    reading(drive, webhook_url=NOWHERE, pages=2)


def test_a_rate_limit_of_the_log_does_not_prevent_a_new_token() -> None:
    headers = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(time.time()) + 900)}

    async def main() -> None:
        async with github_emulator(a_github(), an_app(webhook_url=NOWHERE)) as emulator, http_client() as http:
            auth = an_auth(emulator, http)
            log = DeliveryLog(auth)
            emulator.faults.add(
                Fault(method="GET", path="/deliveries$", kind=FaultKind.ERROR, status=403, headers=headers)
            )
            for _ in range(2):
                with pytest.raises(RateLimited):
                    await log.since(0.0)
            assert emulator.calls["GET /app/hook/deliveries"] == 0, "the second was not sent"
            assert await auth.token()

    asyncio.run(main())

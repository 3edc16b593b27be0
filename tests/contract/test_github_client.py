"""The bridge's GitHub client against the emulator: its calls, what it caches, and the error for each failure."""

import asyncio
import base64
import itertools
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from bridge.core.model import Absent, Deleted, JobStatus, Repository
from bridge.emulator.faults import Fault, FaultKind
from bridge.emulator.github import Budget, GitHubEmulator, GitHubState, github_emulator
from bridge.emulator.jobs import Gate
from bridge.errors import (
    AuthError,
    BridgeError,
    ConfigError,
    NameTaken,
    OutcomeUnknown,
    RateLimited,
    Rejected,
    Unavailable,
)
from bridge.github.api import GitHub
from bridge.github.auth import AppAuth, AppKey, PatAuth
from bridge.github.cache import FlightCache
from bridge.github.deliveries import DeliveryLog
from bridge.github.timing import GitHubTiming
from bridge.github.transport import MOST_REDIRECTS, http_client
from tests.support.github import GPU, a_github, a_run, a_spec, an_app
from tests.support.service import free_port

Drive = Callable[[GitHubEmulator, GitHub], Awaitable[None]]
TOKENS = r"/access_tokens$"


QUICK = GitHubTiming(retry_wait=0.001, token_waits=(0.001, 0.001, 0.001))


@pytest.fixture(autouse=True)
def _quiet() -> None:
    logging.getLogger("httpx").setLevel(logging.WARNING)


def driven(
    state: GitHubState,
    drive: Drive,
    *,
    clock: Callable[[], float] = time.time,
    runs_listed: int = 1000,
    **given: Any,
) -> GitHubEmulator:
    """Run `drive` with an emulator and our client, authenticated as the App."""
    timing = replace(QUICK, clock=clock)

    async def main() -> GitHubEmulator:
        async with github_emulator(state, an_app(), **given) as emulator, http_client() as http:
            app = emulator.app
            made = AppAuth(
                http,
                api_url=emulator.api_url,
                issuer=app.client_id,
                key=AppKey.load(app.pem),
                owner=app.owner,
                timing=timing,
            )
            await drive(emulator, GitHub(http, made, api_url=emulator.api_url, timing=timing, runs_listed=runs_listed))
            return emulator

    return asyncio.run(main())


def failing(drive: Callable[[GitHubEmulator, GitHub], Awaitable[Any]], *faults: Fault, **given: Any) -> BridgeError:
    """The error that `drive` ends with."""
    caught: list[BridgeError] = []

    async def catch(emulator: GitHubEmulator, github: GitHub) -> None:
        for fault in faults:
            emulator.faults.add(fault)
        with pytest.raises(BridgeError) as error:
            await drive(emulator, github)
        caught.append(error.value)

    driven(given.pop("state", None) or a_github(), catch, **given)
    assert "\n" not in str(caught[0])
    return caught[0]


# --- reading ---


def test_queued_jobs_are_found_in_queued_runs_and_in_runs_in_progress() -> None:
    state = a_github()
    state.add_run("acme/web", a_run(a_spec("first"), a_spec("second"))).shown = "in_progress"
    state.add_run("acme/web", a_run(a_spec("third")))
    running = next(iter(state.jobs.values()))
    running.status = "in_progress"

    async def drive(_: GitHubEmulator, github: GitHub) -> None:
        jobs = await github.open_jobs("acme/web")
        found = sorted((job.name, job.status) for job in jobs)
        assert found == [
            ("first", JobStatus.IN_PROGRESS),
            ("second", JobStatus.QUEUED),
            ("third", JobStatus.QUEUED),
        ]
        job = min(jobs, key=lambda j: j.id)
        assert (job.labels, job.workflow_name, job.head_branch, job.runner_id) == (GPU, "ci", "main", None)
        assert not job.public
        assert not job.fork
        assert await github.job("acme/web", job.id) is not None
        assert await github.job("acme/web", 1) is None

    driven(state, drive)


def test_repositories_are_listed_page_by_page_without_archived_ones() -> None:
    state = a_github()
    for number in range(250):
        state.add_repository(f"acme/r{number}", archived=number == 7, disabled=number == 8)

    async def drive(_: GitHubEmulator, github: GitHub) -> None:
        assert len(await github.repositories("Acme")) == 249

    emulator = driven(state, drive)
    assert emulator.calls["GET /installation/repositories"] == 3


def test_reading_again_what_has_not_changed_is_answered_with_304_only() -> None:
    state = a_github()
    for number in range(120):
        state.add_repository(f"acme/r{number}")
    state.add_run("acme/r3", a_run())

    async def read(github: GitHub) -> Any:
        repositories = await github.repositories("acme")
        jobs = await asyncio.gather(*(github.open_jobs(r.full_name) for r in repositories))
        return jobs, await github.runners("orgs/acme")

    async def drive(_: GitHubEmulator, github: GitHub) -> None:
        first = await read(github)
        before = github.calls.copy()
        assert await read(github) == first
        now = github.calls - before
        assert now["total"] == now["not_modified"] == 2 + 2 * 121 + 1 + 1

    driven(state, drive)


def test_with_a_new_token_everything_is_read_again() -> None:
    async def drive(emulator: GitHubEmulator, github: GitHub) -> None:
        await github.runners("orgs/acme")
        emulator.access.revoke()
        await github.runners("orgs/acme")
        assert github.calls["not_modified"] == 0

    driven(a_github(), drive)


def test_runs_that_wait_for_a_review_are_listed_separately() -> None:
    state = a_github()
    made = state.add_run("acme/web", a_run(a_spec("deploy", gate=Gate.REVIEW)))

    async def drive(_: GitHubEmulator, github: GitHub) -> None:
        assert await github.open_jobs("acme/web") == ()
        (run,) = await github.waiting_runs("acme/web")
        assert (run.id, run.repository) == (made.id, "acme/web")
        (job,) = await github.run_jobs(run)
        assert (job.name, job.status, job.workflow_name, job.fork) == ("deploy", JobStatus.WAITING, "ci", False)
        assert await github.run_jobs(replace(run, id=1)) == (), "it was deleted"

    driven(state, drive)


def test_a_renamed_repository_is_found_by_its_new_and_by_its_old_name() -> None:
    state = a_github()
    repository = state.repositories["acme/web"]
    state.add_run("acme/web", a_run())
    state.rename_repository("acme/web", "acme/site")

    async def drive(emulator: GitHubEmulator, github: GitHub) -> None:
        found = await github.repository("Acme/Web")
        assert found == Repository(id=repository.id, full_name="acme/site", public=False)
        assert await github.repository("acme/Site") == found
        assert await github.repository("acme/other") is None
        assert len(await github.open_jobs("acme/web")) == len(await github.open_jobs("acme/site")) == 1
        made = await github.generate_jit_config("repos/acme/web", name="r-1", labels=["gpu"], group_id=1)
        (runner,) = await github.runners("repos/acme/site")
        assert runner.id == made.runner_id
        before = github.calls["not_modified"]
        assert await github.repository("Acme/Web") == found
        assert github.calls["not_modified"] == before + 1

    driven(state, drive)


def test_a_job_with_an_unknown_status_does_not_hide_other_jobs() -> None:
    state = a_github()
    state.add_run("acme/web", a_run(a_spec("odd"), a_spec("good")))
    state.jobs[min(state.jobs)].status = "dancing"

    async def drive(_: GitHubEmulator, github: GitHub) -> None:
        assert [job.name for job in await github.open_jobs("acme/web")] == ["good"]
        with pytest.raises(Unavailable):
            await github.job("acme/web", min(state.jobs))

    driven(state, drive)


def test_the_texts_of_a_job_can_be_stored_in_any_database() -> None:
    odd = {"id": 7, "run_id": 1, "name": "x", "status": "completed", "conclusion": ["?"], "html_url": "a\0b"}
    answer = Fault(method="GET", path="/jobs/7$", kind=FaultKind.ERROR, status=200, body=json.dumps(odd))

    async def drive(emulator: GitHubEmulator, github: GitHub) -> None:
        emulator.faults.add(answer)
        job = await github.job("acme/web", 7)
        assert job is not None
        assert (job.conclusion, job.html_url) == ("['?']", "a\N{REPLACEMENT CHARACTER}b")

    driven(a_github(), drive)


@pytest.mark.parametrize(("told", "read"), [(3, 3), (0, None), (-1, None), (None, None), ("2", None), (2**31, None)])
def test_the_attempt_of_a_job_is_read_if_it_is_one(told: object, read: int | None) -> None:
    body = json.dumps({"id": 7, "run_id": 1, "name": "x", "status": "queued", "run_attempt": told})
    answer = Fault(method="GET", path="/jobs/7$", kind=FaultKind.ERROR, status=200, body=body)

    async def drive(emulator: GitHubEmulator, github: GitHub) -> None:
        emulator.faults.add(answer)
        job = await github.job("acme/web", 7)
        assert job is not None
        assert job.run_attempt == read

    driven(a_github(), drive)


# --- registering ---


def test_a_jit_runner_is_registered_listed_and_deleted() -> None:
    async def drive(_: GitHubEmulator, github: GitHub) -> None:
        group = await github.runner_group_id("orgs/acme", "default")
        made = await github.generate_jit_config("orgs/acme", name="r-1", labels=["gpu"], group_id=group)
        assert ".runner" in base64.b64decode(made.encoded).decode()
        assert made.encoded not in repr(made)
        (runner,) = await github.runners("orgs/acme")
        assert (runner.id, runner.name, runner.online, runner.busy) == (made.runner_id, "r-1", False, False)
        gone: dict[str, Any] = {"target": "orgs/acme", "runner_id": made.runner_id}
        assert await github.delete_runner("orgs/acme", made.runner_id) == Deleted(**gone)
        assert await github.delete_runner("orgs/acme", made.runner_id) == Absent(**gone), (
            "this is no proof that it had no job"
        )

    driven(a_github(), drive)


def test_a_busy_runner_is_not_deleted() -> None:
    state = a_github()
    runner = state.add_runner("orgs/acme", "r-1", GPU)
    state.open_session(runner, "2.338.0")
    state.add_run("acme/web", a_run())

    async def drive(_: GitHubEmulator, github: GitHub) -> None:
        assert await github.delete_runner("orgs/acme", runner.id) is None

    driven(state, drive)


def test_many_workers_share_one_registration_token() -> None:
    async def drive(_: GitHubEmulator, github: GitHub) -> None:
        tokens = await asyncio.gather(*(github.registration_token("repos/acme/web") for _ in range(20)))
        assert len({token.token for token in tokens}) == 1
        assert tokens[0].expires_at > time.time() + 3000

    emulator = driven(a_github(), drive)
    assert emulator.calls["POST /repos/{owner}/{repo}/actions/runners/registration-token"] == 1


def test_a_registration_token_is_shared_only_while_most_of_its_hour_is_left() -> None:
    """It must not expire while a request waits for a worker."""
    ahead = 0.0

    async def drive(emulator: GitHubEmulator, _: GitHub) -> None:
        nonlocal ahead
        emulator.access.add_pat("ghp_a")
        timing = GitHubTiming(clock=lambda: time.time() + ahead)
        async with http_client() as http:
            github = GitHub(http, PatAuth("ghp_a"), api_url=emulator.api_url, timing=timing)
            first = await github.registration_token("orgs/acme")
            ahead = first.expires_at - time.time() - timing.registration_margin - 5
            assert await github.registration_token("orgs/acme") == first
            ahead += 10
            assert await github.registration_token("orgs/acme") != first

    driven(a_github(), drive)


def register(_: GitHubEmulator, github: GitHub) -> Awaitable[Any]:
    return github.generate_jit_config("orgs/acme", name="r-1", labels=["gpu"], group_id=1)


def test_a_name_that_is_taken_has_its_own_error() -> None:
    state = a_github()
    state.add_runner("orgs/acme", "r-1", GPU)
    assert isinstance(failing(register, state=state), NameTaken)


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": FaultKind.ACCEPT_THEN_ERROR, "status": 502, "body": "<html>"},
        {"kind": FaultKind.ACCEPT_THEN_HANG, "seconds": 0.05},
        {"kind": FaultKind.DROP},
        {"kind": FaultKind.ERROR, "status": 201, "body": "<html>hello</html>"},
        {"kind": FaultKind.ERROR, "status": 200, "body": "<html>sign in</html>"},
    ],
)
def test_a_registration_without_a_readable_answer_is_unknown_and_never_repeated(fault: dict[str, Any]) -> None:
    state = a_github()
    error = failing(register, Fault(method="POST", path="generate-jitconfig", times=5, **fault), state=state)
    assert isinstance(error, OutcomeUnknown)
    assert len(state.runners) <= 1


def test_the_error_names_an_unknown_runner_group() -> None:
    error = failing(lambda _, github: github.runner_group_id("orgs/acme", "gpu-team"))
    assert "orgs/acme has no runner group 'gpu-team'" in str(error)


def test_a_runner_group_that_was_created_again_is_found_by_its_new_id() -> None:
    state = a_github()
    state.groups[4711] = "gpu-team"

    async def drive(emulator: GitHubEmulator, github: GitHub) -> None:
        old = await github.runner_group_id("orgs/acme", "gpu-team")
        del state.groups[4711]
        state.groups[4712] = "gpu-team"
        for name in ("r-1", "r-2"):
            await github.generate_jit_config("orgs/acme", name=name, labels=["gpu"], group_id=old)
            old = await github.runner_group_id("orgs/acme", "gpu-team")
        assert {runner.group_id for runner in state.runners.values()} == {4712}
        assert emulator.calls["POST /orgs/{owner}/actions/runners/generate-jitconfig"] == 3

    driven(state, drive)


def test_a_runner_group_that_was_deleted_is_named_and_looked_up_once() -> None:
    state = a_github()
    state.groups[4711] = "gpu-team"

    async def drive(emulator: GitHubEmulator, github: GitHub) -> None:
        old = await github.runner_group_id("orgs/acme", "gpu-team")
        del state.groups[4711]
        with pytest.raises(Rejected, match="orgs/acme has no runner group 'gpu-team'"):
            await github.generate_jit_config("orgs/acme", name="r-1", labels=["gpu"], group_id=old)
        assert emulator.calls["POST /orgs/{owner}/actions/runners/generate-jitconfig"] == 1

    driven(state, drive)


# --- failures and rate limits ---


def read_runners(_: GitHubEmulator, github: GitHub) -> Awaitable[Any]:
    return github.runners("orgs/acme")


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ({"kind": FaultKind.ERROR, "status": 500}, Unavailable),
        ({"kind": FaultKind.ERROR, "status": 503, "body": "<html>"}, Unavailable),
        ({"kind": FaultKind.ERROR, "status": 200, "body": "<html>sign in</html>"}, Unavailable),
        ({"kind": FaultKind.ERROR, "status": 200, "body": "[]"}, Unavailable),
        ({"kind": FaultKind.ERROR, "status": 204, "body": ""}, Unavailable),
        ({"kind": FaultKind.DROP}, Unavailable),
        ({"kind": FaultKind.ERROR, "status": 401}, AuthError),
        ({"kind": FaultKind.ERROR, "status": 403}, AuthError),
        ({"kind": FaultKind.ERROR, "status": 429}, RateLimited),
    ],
)
def test_a_read_that_keeps_failing_has_the_error_that_says_what_to_do(
    fault: dict[str, Any], kind: type[BridgeError]
) -> None:
    error = failing(read_runners, Fault(method="GET", path="/actions/runners", times=20, **fault))
    assert type(error) is kind
    assert "sign in" not in str(error)


def test_a_read_that_fails_twice_succeeds() -> None:
    async def drive(emulator: GitHubEmulator, github: GitHub) -> None:
        emulator.faults.add(Fault(method="GET", path="/actions/runners", kind=FaultKind.DROP))
        emulator.faults.add(Fault(method="GET", path="/actions/runners", kind=FaultKind.ERROR, status=502))
        assert await github.runners("orgs/acme") == ()

    driven(a_github(), drive)


def test_the_error_names_a_missing_permission() -> None:
    async def drive(emulator: GitHubEmulator, github: GitHub) -> None:
        del emulator.app.permissions["organization_self_hosted_runners"]
        with pytest.raises(AuthError, match="needs the permission organization_self_hosted_runners=read"):
            await github.runners("orgs/acme")

    driven(a_github(), drive)


@pytest.mark.parametrize(
    ("headers", "body", "until"),
    [
        ({"retry-after": "17"}, "{}", lambda now: now + 17),
        (
            {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "{in_half_an_hour}"},
            "{}",
            lambda now: now + 1800,
        ),
        (
            {"x-ratelimit-remaining": "40"},
            '{"message": "You have exceeded a secondary rate limit."}',
            lambda now: now + 60,
        ),
    ],
)
def test_no_call_is_made_before_the_time_that_a_rate_limit_states(
    headers: dict[str, str], body: str, until: Callable[[float], float]
) -> None:
    async def drive(emulator: GitHubEmulator, github: GitHub) -> None:
        given = {name: value.format(in_half_an_hour=int(time.time()) + 1800) for name, value in headers.items()}
        limit: dict[str, Any] = {"kind": FaultKind.ERROR, "status": 403, "headers": given, "body": body}
        emulator.faults.add(Fault(method="GET", path="/actions/runners", **limit))
        with pytest.raises(RateLimited) as first:
            await github.runners("orgs/acme")
        assert first.value.retry_at == pytest.approx(until(time.time()), abs=2)
        made = emulator.calls.total()
        with pytest.raises(RateLimited, match="not sent"):
            await github.job("acme/web", 1)
        assert emulator.calls.total() == made

    driven(a_github(), drive)


def test_a_rate_limit_that_many_calls_reach_together_counts_once() -> None:
    """A burst of registrations waits one minute, not a minute that doubles for each of them."""

    async def drive(emulator: GitHubEmulator, github: GitHub) -> None:
        await github.runners("orgs/acme")
        limit: dict[str, Any] = {
            "kind": FaultKind.ERROR,
            "status": 403,
            "body": '{"message": "You have exceeded a secondary rate limit."}',
        }
        emulator.faults.add(Fault(method="POST", path="generate-jitconfig", times=12, **limit))
        registrations = (
            github.generate_jit_config("orgs/acme", name=f"runpod-{n}-1", labels=["gpu"], group_id=1) for n in range(12)
        )
        answers = await asyncio.gather(*registrations, return_exceptions=True)
        waits = [answer.retry_at - time.time() for answer in answers if isinstance(answer, RateLimited)]
        assert len(waits) == 12
        assert max(waits) <= 61

    driven(a_github(), drive)


def test_rate_limits_in_a_row_are_waited_for_longer_and_longer() -> None:
    """Also if other calls, sent before the limit was known, succeed."""
    now = [time.time()]
    timing = GitHubTiming(clock=lambda: now[0])

    async def main() -> list[float]:
        waits = []
        async with github_emulator(a_github(), an_app()) as emulator, http_client() as http:
            emulator.access.add_pat("ghp_personal")
            github = GitHub(http, PatAuth("ghp_personal"), api_url=emulator.api_url, timing=timing)
            for _ in range(3):
                emulator.faults.add(Fault(method="GET", path="/orgs/acme/repos", kind=FaultKind.DELAY, seconds=0.2))
                emulator.faults.add(Fault(method="GET", path="/actions/runners", kind=FaultKind.ERROR, status=429))
                earlier = asyncio.create_task(github.repositories("acme"))
                await asyncio.sleep(0.05)
                now[0] += 1
                with pytest.raises(RateLimited) as refused:
                    await github.runners("orgs/acme")
                await earlier
                waits.append(refused.value.retry_at - now[0])
                now[0] = refused.value.retry_at
        return waits

    assert asyncio.run(main()) == pytest.approx([60, 120, 240])


def test_background_calls_leave_the_rest_of_the_rate_limit_to_registrations() -> None:
    """A job waits for its runner; everything else can wait longer."""
    calls = 100

    async def drive(emulator: GitHubEmulator, github: GitHub) -> None:
        with pytest.raises(RateLimited, match="is reserved for registrations") as refused:
            for number in range(calls):
                await github.job("acme/web", number)
        assert refused.value.retry_at == pytest.approx(time.time() + 3600, abs=60)
        before = emulator.calls.total()
        await github.registration_token("orgs/acme")
        registered = await github.generate_jit_config("orgs/acme", name="runpod-1-1", labels=["gpu"], group_id=1)
        assert await github.delete_runner("orgs/acme", registered.runner_id)
        with pytest.raises(RateLimited, match="not sent"):
            await github.job("acme/web", 1)
        assert emulator.calls.total() == before + 3

    driven(a_github(), drive, budget=Budget(calls=calls))


def test_what_registrations_need_is_read_from_the_reserved_rest() -> None:
    """Without the list of runners nothing is registered, so background calls must not prevent reading it."""
    calls = 100

    async def drive(emulator: GitHubEmulator, github: GitHub) -> None:
        with pytest.raises(RateLimited):
            for number in range(calls):
                await github.job("acme/web", number)
        for _ in range(2):
            assert await github.runners("orgs/acme") == ()
        group = await github.runner_group_id("orgs/acme", "default")
        await github.generate_jit_config("orgs/acme", name="runpod-1-1", labels=["gpu"], group_id=group)
        with pytest.raises(RateLimited, match="is reserved for registrations"):
            await github.open_jobs("acme/web")
        with pytest.raises(RateLimited, match="is reserved for registrations"):
            await github.runners_at_low_priority("repos/acme/web")

    driven(a_github(), drive, budget=Budget(calls=calls))


def test_a_scan_is_paced_and_leaves_the_minute_to_registrations() -> None:
    """In virtual time: 700 runs are read within two minutes, with at most 600 calls a minute."""
    state = a_github()
    for number in range(700):
        state.add_run("acme/web", a_run(a_spec(f"job {number}")))
    now, sent = [time.time()], []

    async def sleep(seconds: float) -> None:
        now[0] += seconds
        await asyncio.sleep(0)

    timing = GitHubTiming(clock=lambda: now[0], sleep=sleep)

    async def main() -> None:
        async with github_emulator(state, an_app(), budget=Budget(calls=15_000)) as emulator, http_client() as http:
            emulator.access.add_pat("ghp_personal")
            github = GitHub(http, PatAuth("ghp_personal"), api_url=emulator.api_url, timing=timing)

            async def counted(_request: object) -> None:
                sent.append(now[0])

            http.event_hooks["request"].append(counted)
            jobs = await github.open_jobs("acme/web")
            assert len({job.id for job in jobs}) == 700

    asyncio.run(main())
    assert max(sum(at <= later < at + 60 for later in sent) for at in set(sent)) <= 600 + 40, "some were already sent"
    assert 59 <= now[0] - min(sent) <= 120


def test_runs_that_github_leaves_out_of_a_long_list_are_found() -> None:
    """GitHub lists the newest thousand; here it lists a hundred."""
    now = [1_800_000_000.0]
    state = a_github(clock=lambda: now[0])
    state.runs_listed = 100
    for number in range(231):
        state.add_run("acme/web", a_run(a_spec(f"job {number}")))
        now[0] += number % 3 == 0

    async def drive(emulator: GitHubEmulator, github: GitHub) -> None:
        jobs = await github.open_jobs("acme/web")
        assert {job.name for job in jobs} == {f"job {number}" for number in range(231)}
        assert emulator.calls["GET /repos/{owner}/{repo}/actions/runs"] == 1 + 3, "one for the runs in progress"

    driven(state, drive, clock=lambda: now[0], runs_listed=100)


def test_every_call_that_github_receives_is_counted() -> None:
    async def drive(emulator: GitHubEmulator, github: GitHub) -> None:
        await github.runners("orgs/acme")
        await github.runners("orgs/acme")
        assert github.calls["total"] == emulator.calls.total() == 4, "also those for the installation and its token"
        assert github.calls["not_modified"] == 1
        emulator.faults.add(Fault(method="GET", path="/actions/runners", kind=FaultKind.ACCEPT_THEN_HANG))
        await github.runners("orgs/acme")
        assert github.calls["total"] == emulator.calls.total() == 6, "also the one that was never answered"

    driven(a_github(), drive)


@pytest.mark.parametrize("headers", [{"x-ratelimit-reset": "9" * 10}, {"retry-after": "9" * 10}])
def test_no_wait_is_longer_than_the_hour_for_which_github_counts_calls(headers: dict[str, str]) -> None:
    headers = {"x-ratelimit-limit": "5000", "x-ratelimit-remaining": "0", **headers}
    limit = Fault(method="GET", path="/actions/runners", kind=FaultKind.ERROR, status=403, headers=headers)
    error = failing(read_runners, limit)
    assert isinstance(error, RateLimited)
    assert error.retry_at == pytest.approx(time.time() + 3600, abs=2)


def test_calls_that_github_never_receives_are_not_counted() -> None:
    async def main() -> int:
        async with http_client() as http:
            github = GitHub(http, PatAuth("ghp_personal"), api_url=f"http://127.0.0.1:{free_port()}")
            with pytest.raises(Unavailable):
                await github.runners("orgs/acme")
            return github.calls["total"]

    assert asyncio.run(main()) == 0


@asynccontextmanager
async def answering(head: str, body: str = "[]") -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server with the same answer to all requests: its address, and the requests that it received."""
    received: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(f"{head}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n{body}".encode())
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1") as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", received


ELSEWHERE = {
    "a next page": 'HTTP/1.1 200 OK\r\nlink: <{there}/page-2>; rel="next"',
    "a next page of another scheme": 'HTTP/1.1 200 OK\r\nlink: <https://127.0.0.1:1/page-2>; rel="next"',
    "a next page that continues the host's name": 'HTTP/1.1 200 OK\r\nlink: <.example.org/page-2>; rel="next"',
    "a next page that makes the host a user": 'HTTP/1.1 200 OK\r\nlink: <@127.0.0.1:1/page-2>; rel="next"',
    "a redirect": "HTTP/1.1 302 Found\r\nlocation: {there}/x",
    "a redirect that keeps the method": "HTTP/1.1 307 Temporary Redirect\r\nlocation: {there}/x",
}


@pytest.mark.parametrize("head", ELSEWHERE.values(), ids=ELSEWHERE)
def test_neither_a_token_nor_a_jwt_is_sent_to_another_origin(head: str) -> None:
    async def main() -> None:
        key = AppKey.load(an_app().pem)
        sent = '"id": 1, "guid": "g", "event": "workflow_job", "delivered_at": "2027-01-15T08:00:00Z"'
        body = f'[{{"full_name": "acme/web", {sent}}}]'
        async with answering("HTTP/1.1 200 OK") as (there, stolen), http_client() as http:
            async with answering(head.format(there=there), body) as (here, _):
                app = AppAuth(http, api_url=here, issuer="Iv1", key=key, owner="acme")
                github = GitHub(http, PatAuth("ghp_personal"), api_url=here)
                for call in (github.repositories("acme"), DeliveryLog(app).since(0.0)):
                    with pytest.raises(Rejected, match="a link in an answer"):
                        await call
            assert stolen == []

    asyncio.run(main())


def test_redirects_within_github_are_followed_up_to_a_limit() -> None:
    async def main() -> None:
        async with answering("HTTP/1.1 302 Found\r\nlocation: /again") as (here, received), http_client() as http:
            github = GitHub(http, PatAuth("ghp_personal"), api_url=here)
            with pytest.raises(Rejected, match="302"):
                await github.repositories("acme")
            assert len(received) == github.calls["total"] == 1 + MOST_REDIRECTS
            assert all(b"ghp_personal" in each for each in received)

    asyncio.run(main())


def test_if_a_proxy_requires_a_password_nothing_was_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """So the claim ends at once, and not when its lease expires."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    async def main() -> None:
        async with await asyncio.start_server(refuse, "127.0.0.1") as proxy:
            monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}")
            async with http_client() as http:
                github = GitHub(http, PatAuth("ghp_personal"), api_url="https://api.github.example")
                with pytest.raises(Unavailable):
                    await github.generate_jit_config("orgs/acme", name="r-1", labels=["gpu"], group_id=1)

    asyncio.run(main())


ODD = {
    "a job without fields": ("/jobs/7$", "{}", lambda github: github.job("acme/web", 7)),
    "a job with an unknown status": (
        "/jobs/7$",
        '{"id": 7, "run_id": 1, "name": "x", "status": "dancing"}',
        lambda github: github.job("acme/web", 7),
    ),
    "runs that are not objects": ("/runs$", '{"workflow_runs": ["x"]}', lambda github: github.open_jobs("acme/web")),
    "runs without an id": ("/runs$", '{"workflow_runs": [{"id": []}]}', lambda github: github.open_jobs("acme/web")),
    "runners that are not a list": ("/runners$", '{"runners": {"id": 1}}', lambda github: github.runners("orgs/acme")),
    "a token that is not an object": (TOKENS, "[]", lambda github: github.runners("orgs/acme")),
}


@pytest.mark.parametrize("what", ODD)
def test_an_answer_that_github_does_not_document_is_an_error_without_a_crash(what: str) -> None:
    path, body, read = ODD[what]
    method, status = ("POST", 201) if path is TOKENS else ("GET", 200)
    odd = Fault(method=method, path=path, kind=FaultKind.ERROR, status=status, body=body, times=2)

    async def drive(_: GitHubEmulator, github: GitHub) -> None:
        try:
            await read(github)
        finally:
            await asyncio.sleep(0.05)  # for other calls that were sent

    error = failing(drive, odd)
    assert isinstance(error, Unavailable)
    assert "unreadable" in str(error)


@pytest.mark.parametrize(
    "headers",
    [
        {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "soon"},
        {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "9" * 20},
        {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1"},
        {"retry-after": "9" * 5000},
    ],
    ids=["not a number", "not a time", "in the past", "too long"],
)
def test_an_impossible_waiting_time_is_replaced_by_a_minute(headers: dict[str, str]) -> None:
    """A reset in the past comes from a wrong clock. A call at once would only reach the limit again."""
    body = '{"message": "API rate limit exceeded"}'
    limit = Fault(method="GET", path="/actions/runners", kind=FaultKind.ERROR, status=403, headers=headers, body=body)

    async def drive(_: GitHubEmulator, github: GitHub) -> None:
        await github.runners("orgs/acme")

    error = failing(drive, limit)
    assert isinstance(error, RateLimited)
    assert error.retry_at == pytest.approx(time.time() + 60, abs=2)


def test_pages_of_a_token_that_has_expired_are_removed() -> None:
    """ETags hold per token, so these pages would only use memory."""

    async def drive(emulator: GitHubEmulator, github: GitHub) -> None:
        for _ in range(3):
            await github.open_jobs("acme/web")
            kept = len(github._pages)
            emulator.access.revoke()
        assert kept == 2

    driven(a_github(), drive)


# --- authentication ---


def test_twenty_first_calls_create_one_token() -> None:
    async def drive(_: GitHubEmulator, github: GitHub) -> None:
        await asyncio.gather(*(github.runners("orgs/acme") for _ in range(20)))

    assert driven(a_github(), drive).calls["POST /app/installations/{id}/access_tokens"] == 1


def test_a_token_that_could_not_be_created_is_tried_again() -> None:
    async def drive(emulator: GitHubEmulator, github: GitHub) -> None:
        emulator.faults.add(Fault(method="POST", path=TOKENS, kind=FaultKind.ERROR, status=500, times=3))
        with pytest.raises(Unavailable):
            await github.runners("orgs/acme")
        assert await github.runners("orgs/acme") == ()

    driven(a_github(), drive)


def test_a_token_is_renewed_before_it_expires() -> None:
    now = [1_800_000_000.0]
    state = a_github(clock=lambda: now[0])

    async def drive(emulator: GitHubEmulator, github: GitHub) -> None:
        await github.runners("orgs/acme")
        now[0] += 3600 - QUICK.token_margin
        await github.runners("orgs/acme")
        assert emulator.calls["POST /app/installations/{id}/access_tokens"] == 2

    driven(state, drive, clock=lambda: now[0])


def test_a_value_that_expires_while_it_is_read_is_made_again() -> None:
    """The clock advances each time it is read."""
    now = itertools.count()
    cache: FlightCache[str, str] = FlightCache(lambda _: 10.0, lambda: float(next(now)))

    async def make() -> str:
        return "token"

    async def main() -> None:
        for _ in range(20):
            assert await cache.get("acme", make) == "token"

    asyncio.run(main())


@pytest.mark.parametrize("minutes", [-12, 12])
def test_a_wrong_clock_is_corrected(minutes: int) -> None:
    """GitHub names `exp` or `iat` and sends its Date; the second try succeeds."""

    async def drive(_: GitHubEmulator, github: GitHub) -> None:
        assert await github.runners("orgs/acme") == ()

    driven(a_github(), drive, clock=lambda: time.time() + 60 * minutes)


def test_a_new_token_that_github_rejects_at_first_is_tried_again_and_not_replaced() -> None:
    async def drive(emulator: GitHubEmulator, github: GitHub) -> None:
        lag: dict[str, Any] = {"kind": FaultKind.ERROR, "status": 401, "body": '{"message": "Bad credentials"}'}
        emulator.faults.add(Fault(method="GET", path="/actions/runners", times=2, **lag))
        assert await github.runners("orgs/acme") == ()
        assert emulator.calls["POST /app/installations/{id}/access_tokens"] == 1

    driven(a_github(), drive)


def test_a_revoked_token_is_replaced_once() -> None:
    async def drive(emulator: GitHubEmulator, github: GitHub) -> None:
        await github.runners("orgs/acme")
        emulator.access.revoke()
        assert await github.runners("orgs/acme") == ()
        assert emulator.calls["POST /app/installations/{id}/access_tokens"] == 2

    driven(a_github(), drive)


def test_the_error_says_where_to_install_an_app_that_is_not_installed() -> None:
    async def main() -> None:
        async with github_emulator(a_github(), an_app()) as emulator, http_client() as http:
            key = AppKey.load(emulator.app.pem)
            other = AppAuth(http, api_url=emulator.api_url, issuer="4242", key=key, owner="other")
            with pytest.raises(AuthError, match="the App 4242 is not installed on other; install it there"):
                await other.token()

    asyncio.run(main())


async def _error_of(emulator: GitHubEmulator, **given: Any) -> str:
    """The error of an App that asks for a token."""
    async with http_client() as http:
        app = emulator.app
        known = {"issuer": app.client_id, "key": AppKey.load(app.pem), "owner": app.owner}
        with pytest.raises(AuthError) as refused:
            await AppAuth(http, api_url=emulator.api_url, **{**known, **given}).token()
        return str(refused.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"issuer": "Iv23nobody"}, "GITHUB_APP_CLIENT_ID"),
        ({"key": AppKey(rsa.generate_private_key(65537, 2048))}, "the private key belongs to this App"),
        ({"issuer": "Iv23nobody", "installation_id": 777}, "GITHUB_APP_CLIENT_ID"),
        ({"installation_id": 404}, "correct GITHUB_APP_INSTALLATION_ID"),
    ],
    ids=["another App's id", "another App's key", "another App's id, with an installation", "another installation"],
)
def test_the_error_names_the_setting_of_an_app_that_github_does_not_know(given: dict[str, Any], said: str) -> None:
    async def main() -> None:
        async with github_emulator(a_github(), an_app()) as emulator:
            assert said in await _error_of(emulator, **given)

    asyncio.run(main())


def test_the_error_names_the_setting_of_an_app_that_is_unknown_when_a_token_is_created() -> None:
    """GitHub may answer 404 for an unknown App as it does for an App without this installation."""

    async def main() -> None:
        async with github_emulator(a_github(), an_app()) as emulator:
            for method, path in (("POST", TOKENS), ("GET", "/app$")):
                emulator.faults.add(Fault(method=method, path=path, kind=FaultKind.ERROR, status=404))
            assert "correct GITHUB_APP_CLIENT_ID" in await _error_of(emulator, installation_id=777)

    asyncio.run(main())


def test_an_app_that_is_installed_again_is_found() -> None:
    async def drive(emulator: GitHubEmulator, github: GitHub) -> None:
        await github.runners("orgs/acme")
        emulator.access.revoke()
        emulator.app.installation_id += 1
        assert await github.runners("orgs/acme") == ()

    driven(a_github(), drive)


def test_a_rejection_without_a_readable_date_is_an_error_without_a_crash() -> None:
    about: dict[str, Any] = {"headers": {"date": "today"}, "body": '{"message": "\'exp\' is too far in the future"}'}
    refused = Fault(method="GET", path="/installation$", kind=FaultKind.ERROR, status=401, **about)
    assert isinstance(failing(read_runners, refused), AuthError)


def test_a_personal_access_token_works_like_the_app() -> None:
    state = a_github()
    state.add_run("acme/web", a_run())

    async def main() -> None:
        async with github_emulator(state, an_app()) as emulator, http_client() as http:
            emulator.access.add_pat("ghp_personal")
            github = GitHub(http, PatAuth("ghp_personal"), api_url=emulator.api_url)
            assert [r.full_name for r in await github.repositories("acme")] == ["acme/web"]
            assert len(await github.open_jobs("acme/web")) == 1
            wrong = GitHub(http, PatAuth("ghp_wrong"), api_url=emulator.api_url)
            with pytest.raises(AuthError) as refused:
                await wrong.runners("orgs/acme")
            assert "ghp_" not in str(refused.value)
            assert "ghp_" not in repr(await PatAuth("ghp_personal").token())

    asyncio.run(main())


def test_a_key_is_accepted_as_pem_or_base64_of_it_and_otherwise_refused() -> None:
    pem = an_app().pem
    written_out, encoded = pem.replace("\n", "\\n"), base64.b64encode(pem.encode()).decode()
    with_returns = (pem.replace("\n", "\r\n"), pem.replace("\n", "\\r\\n"))
    quoted = [f"{quote}{text}{quote}" for quote in "\"'" for text in (pem, written_out, *with_returns, encoded)]
    for text in (pem, f"\n{pem}\n", written_out, encoded, *with_returns, *quoted):
        assert AppKey.load(text).key.key_size == 2048
    assert "key_size" not in repr(AppKey.load(pem))
    for text in ("", "secret", "-----BEGIN nonsense", base64.b64encode(b"x").decode()):
        with pytest.raises(ConfigError, match="GITHUB_APP_PRIVATE_KEY: not an RSA private key") as refused:
            AppKey.load(text)
        assert "secret" not in str(refused.value)

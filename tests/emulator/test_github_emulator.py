"""The emulated GitHub, called with githubkit: a client that is generated from GitHub's OpenAPI description."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from githubkit import AppAuthStrategy, AppInstallationAuthStrategy, GitHub, TokenAuthStrategy
from githubkit.cache import MemCacheStrategy
from githubkit.exception import RequestFailed

from bridge.emulator.github import App, Budget, GitHubEmulator, GitHubState, Limits, github_emulator
from bridge.emulator.github.state import Job, Refused
from bridge.emulator.jobs import Gate, JobResult, JobSpec, Strategy
from tests.support.clock import Clock
from tests.support.github import GPU, a_github, a_run, a_spec, an_app


def client(auth: Any, emulator: GitHubEmulator) -> GitHub[Any]:
    """A githubkit client that shares no token between tests."""
    return GitHub(
        auth,
        base_url=emulator.api_url,
        http_cache=False,
        auto_retry=False,
        cache_strategy=MemCacheStrategy(),
    )


def driven(state: GitHubState, drive: Callable[[GitHubEmulator, Any], Awaitable[None]], **given: Any) -> None:
    """Run `drive` with the emulator and githubkit, which authenticates as the App's installation."""

    async def main() -> None:
        async with github_emulator(state, an_app(), **given) as emulator:
            auth = AppInstallationAuthStrategy(emulator.app.client_id, emulator.app.pem, emulator.app.installation_id)
            async with client(auth, emulator) as github:
                await drive(emulator, github)

    asyncio.run(main())


def status_of(failure: pytest.ExceptionInfo[RequestFailed]) -> int:
    return int(failure.value.response.status_code)


def test_every_listing_matches_githubs_description() -> None:
    state = a_github()
    run = state.add_run("acme/web", a_run())

    async def drive(_: GitHubEmulator, github: Any) -> None:
        rest = github.rest
        repositories = await rest.apps.async_list_repos_accessible_to_installation()
        assert [r.full_name for r in repositories.parsed_data.repositories] == ["acme/web"]
        assert (await rest.repos.async_get("acme", "web")).parsed_data.full_name == "acme/web"
        owned = await rest.repos.async_list_for_org("acme")
        assert [r.full_name for r in owned.parsed_data] == ["acme/web"]
        runs = await rest.actions.async_list_workflow_runs_for_repo("acme", "web", status="queued")
        assert [r.id for r in runs.parsed_data.workflow_runs] == [run.id]
        jobs = await rest.actions.async_list_jobs_for_workflow_run("acme", "web", run.id)
        (job,) = jobs.parsed_data.jobs
        assert (job.status, tuple(job.labels)) == ("queued", GPU)
        one = await rest.actions.async_get_job_for_workflow_run("acme", "web", job.id)
        assert one.parsed_data.id == job.id
        groups = await rest.actions.async_list_self_hosted_runner_groups_for_org("acme")
        assert [(g.id, g.name) for g in groups.parsed_data.runner_groups] == [(1, "Default")]

    driven(state, drive)


@pytest.mark.parametrize("at", ["org", "repo"])
def test_runners_are_registered_listed_and_deleted(at: str) -> None:
    async def drive(_: GitHubEmulator, github: Any) -> None:
        actions, where = github.rest.actions, ("acme",) if at == "org" else ("acme", "web")
        token = await getattr(actions, f"async_create_registration_token_for_{at}")(*where)
        assert token.parsed_data.token
        make = getattr(actions, f"async_generate_runner_jitconfig_for_{at}")
        made = await make(*where, name="r-1", runner_group_id=1, labels=["gpu"])
        assert made.parsed_data.encoded_jit_config
        with pytest.raises(RequestFailed) as taken:
            await make(*where, name="r-1", runner_group_id=1, labels=["gpu"])
        assert status_of(taken) == 409
        with pytest.raises(RequestFailed) as refused:
            await make(*where, name="r-2", runner_group_id=1, labels=["x" * 257])
        assert status_of(refused) == 422
        listed = await getattr(actions, f"async_list_self_hosted_runners_for_{at}")(*where)
        (runner,) = listed.parsed_data.runners
        assert (runner.name, runner.status, runner.busy) == ("r-1", "offline", False)
        delete = getattr(actions, f"async_delete_self_hosted_runner_from_{at}")
        assert (await delete(*where, runner.id)).status_code == 204
        with pytest.raises(RequestFailed) as gone:
            await delete(*where, runner.id)
        assert status_of(gone) == 404

    driven(a_github(), drive)


def test_only_the_app_finds_its_installation() -> None:
    async def main() -> None:
        async with github_emulator(a_github(), an_app()) as emulator:
            app = AppAuthStrategy(emulator.app.client_id, emulator.app.pem)
            async with client(app, emulator) as github:
                found = await github.rest.apps.async_get_org_installation("acme")
                assert found.parsed_data.id == emulator.app.installation_id
                with pytest.raises(RequestFailed) as missing:
                    await github.rest.apps.async_get_org_installation("other")
                assert status_of(missing) == 404
                narrow = await github.rest.apps.async_create_installation_access_token(
                    found.parsed_data.id, permissions={"metadata": "read"}
                )
            token = TokenAuthStrategy(narrow.parsed_data.token)
            async with client(token, emulator) as github:
                with pytest.raises(RequestFailed) as lacking:
                    await github.rest.actions.async_list_self_hosted_runners_for_org("acme")
                assert status_of(lacking) == 403
                needed = lacking.value.response.headers["x-accepted-github-permissions"]
                assert needed == "organization_self_hosted_runners=read"
            wrong_key = AppAuthStrategy(emulator.app.client_id, App(owner="acme").pem)
            async with client(wrong_key, emulator) as github:
                with pytest.raises(RequestFailed) as unknown:
                    await github.rest.apps.async_get_org_installation("acme")
                assert status_of(unknown) == 401

    asyncio.run(main())


def test_pages_are_linked_and_unchanged_pages_cost_nothing() -> None:
    state = a_github()
    for number in range(5):
        state.add_repository(f"acme/r{number}")

    async def drive(emulator: GitHubEmulator, github: Any) -> None:
        first = await github.rest.apps.async_list_repos_accessible_to_installation(per_page=4)
        assert 'rel="next"' in first.headers["link"]
        second = await github.rest.apps.async_list_repos_accessible_to_installation(per_page=4, page=2)
        assert "link" not in second.headers
        assert len(first.parsed_data.repositories + second.parsed_data.repositories) == 6
        same = await github.arequest(
            "GET", "/installation/repositories?per_page=4", headers={"If-None-Match": first.headers["etag"]}
        )
        assert same.status_code == 304
        assert same.headers["x-ratelimit-used"] == second.headers["x-ratelimit-used"]

    driven(state, drive, budget=Budget(calls=5000))


def test_a_token_without_remaining_calls_is_refused() -> None:
    async def drive(_: GitHubEmulator, github: Any) -> None:
        await github.rest.apps.async_list_repos_accessible_to_installation()
        with pytest.raises(RequestFailed) as limited:
            await github.rest.apps.async_list_repos_accessible_to_installation()
        assert status_of(limited) == 403
        assert limited.value.response.headers["x-ratelimit-remaining"] == "0"

    driven(a_github(), drive, budget=Budget(calls=1))


def test_a_token_can_be_used_again_when_its_hour_is_over() -> None:
    state = a_github(clock=(clock := Clock()), limits=Limits(installation_token=10_000))
    clock.now = time.time()  # the client's time, for its JWT

    async def drive(_: GitHubEmulator, github: Any) -> None:
        listed = await github.rest.apps.async_list_repos_accessible_to_installation()
        resets_at = int(listed.headers["x-ratelimit-reset"])
        clock.now += 1800
        with pytest.raises(RequestFailed) as limited:
            await github.rest.apps.async_list_repos_accessible_to_installation()
        assert int(limited.value.response.headers["x-ratelimit-reset"]) == resets_at
        clock.now = resets_at
        again = await github.rest.apps.async_list_repos_accessible_to_installation()
        assert int(again.headers["x-ratelimit-reset"]) == resets_at + 3600

    driven(state, drive, budget=Budget(calls=1))


def test_all_tokens_of_an_installation_share_its_calls_and_its_app_has_its_own() -> None:
    async def main() -> None:
        async with github_emulator(a_github(), an_app(), budget=Budget(calls=3)) as emulator:
            app = AppAuthStrategy(emulator.app.client_id, emulator.app.pem)
            async with client(app, emulator) as github:
                mint = github.rest.apps.async_create_installation_access_token
                tokens = [(await mint(emulator.app.installation_id)).parsed_data.token for _ in range(2)]
            for token, left in zip([*tokens, *tokens], ("2", "1", "0", "0"), strict=True):
                async with client(TokenAuthStrategy(token), emulator) as github:
                    answer = await answered(github, "installation/repositories")
                    assert answer.headers["x-ratelimit-remaining"] == left
            assert answer.status_code == 403
            assert emulator.spending.refused == {"primary": 1, "secondary": 0}

    asyncio.run(main())


async def answered(github: Any, path: str, method: str = "GET", **given: Any) -> Any:
    """The answer, whatever its status."""
    try:
        return await github.arequest(method, f"/{path}", **given)
    except RequestFailed as failure:
        return failure.response


@pytest.mark.parametrize("free", [False, True])
def test_too_many_points_in_a_minute_exceed_the_secondary_limit(free: bool) -> None:
    """A GET costs 1, another call 5. Only Retry-After and the message show the limit: calls remain.

    https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api#about-secondary-rate-limits
    """
    state = a_github(clock=(clock := Clock()), limits=Limits(installation_token=10_000))
    clock.now = float(int(time.time()))
    budget = Budget(points=8, not_modified_costs_points=not free)

    async def drive(emulator: GitHubEmulator, github: Any) -> None:
        first = await answered(github, "installation/repositories")
        for _ in range(2):
            same = await answered(github, "installation/repositories", headers={"If-None-Match": first.headers["etag"]})
            assert same.status_code == 304
        await answered(github, "orgs/acme/actions/runners/registration-token", "POST")
        clock.now += 20
        more = [await answered(github, "installation/repositories") for _ in range(3)]
        assert [answer.status_code for answer in more] == ([200, 200, 403] if free else [403, 403, 403])
        limited = more[-1]
        assert (limited.headers["retry-after"], "secondary rate limit" in limited.text) == ("40", True)
        assert int(limited.headers["x-ratelimit-remaining"]) > 0
        clock.now += 40
        assert (await answered(github, "installation/repositories")).status_code == 200

    driven(state, drive, budget=budget)


def test_a_token_can_access_only_its_owner_and_its_repositories() -> None:
    state = a_github()
    for name in ("acme/api", "other/web"):
        state.add_repository(name)
    state.add_organisation("other")
    elsewhere = state.add_run("other/web", a_run())

    async def drive(emulator: GitHubEmulator, github: Any) -> None:
        runs = "repos/other/web/actions/runs"
        for path in (runs, f"{runs}/{elsewhere.id}/jobs", "orgs/other/repos", "orgs/other/actions/runners"):
            assert await status(github, path) == 404
        app = AppAuthStrategy(emulator.app.client_id, emulator.app.pem)
        async with client(app, emulator) as minting:
            mint = minting.rest.apps.async_create_installation_access_token
            narrow = (await mint(emulator.app.installation_id, repositories=["api"])).parsed_data.token
            for wrong in ({"repositories": ["nonesuch"]}, {"repository_ids": [1]}, {"permissions": {"actions": "all"}}):
                path = f"/app/installations/{emulator.app.installation_id}/access_tokens"
                with pytest.raises(RequestFailed) as refused:
                    await minting.arequest("POST", path, json=wrong)
                assert status_of(refused) == 422
        async with client(TokenAuthStrategy(narrow), emulator) as narrowed:
            listed = await narrowed.rest.apps.async_list_repos_accessible_to_installation()
            assert [r.full_name for r in listed.parsed_data.repositories] == ["acme/api"]
            assert await status(narrowed, "repos/acme/web/actions/runs") == 404
            assert await status(narrowed, "repos/acme/api/actions/runs") == 200

    driven(state, drive)


async def status(github: Any, path: str) -> int:
    try:
        return int((await github.arequest("GET", f"/{path}")).status_code)
    except RequestFailed as failure:
        return int(failure.response.status_code)


def test_calls_that_the_bridge_never_makes_are_not_emulated() -> None:
    async def drive(_: GitHubEmulator, github: Any) -> None:
        with pytest.raises(RequestFailed) as refused:
            await github.rest.gists.async_list()
        assert status_of(refused) == 501

    driven(a_github(), drive)


def listening(state: GitHubState, name: str, labels: tuple[str, ...] = GPU, target: str = "orgs/acme") -> Any:
    runner = state.add_runner(target, name, labels)
    state.open_session(runner, "2.338.0")
    return runner


def test_a_job_goes_to_any_runner_that_has_all_its_labels() -> None:
    state = a_github(clock=(clock := Clock()))
    for name, labels in (("short", ("gpu",)), ("other", (*GPU, "a100")), ("exact", ("SELF-HOSTED", "RunPod", "GPU"))):
        listening(state, name, labels)
        clock.now += 1
    (job,) = state.add_run("acme/web", a_run()).jobs.values()
    state.tick()
    assert job.runner is not None
    assert job.runner.name == "other", "the longest waiting of the eligible"


def test_a_runner_of_another_repository_gets_nothing() -> None:
    state = a_github()
    state.add_repository("acme/api")
    listening(state, "elsewhere", target="repos/acme/api")
    (job,) = state.add_run("acme/web", a_run()).jobs.values()
    state.tick()
    assert job.runner is None


def test_an_assigned_job_that_is_not_picked_up_is_queued_again() -> None:
    state = a_github(clock=(clock := Clock()), limits=Limits(pickup=60, heartbeat=1000))
    runner = listening(state, "slow")
    (job,) = state.add_run("acme/web", a_run()).jobs.values()
    assert state.assigned(runner) is job
    clock.now += 61
    state.close_session(runner)
    state.tick()
    assert (job.status, job.runner, runner.job) == ("queued", None, None)
    with pytest.raises(Refused):
        state.acquire(runner, job.id)


def test_a_dead_runners_job_fails_and_is_not_queued_again() -> None:
    """GitHub fails it about 10 minutes after the last renewal ("lost communication with the server")."""
    state = a_github(clock=(clock := Clock()))
    events: list[str] = []
    (job,) = state.add_run("acme/web", a_run()).jobs.values()
    first = listening(state, "first")
    state.assigned(first)
    state.acquire(first, job.id)
    state.on_event = lambda action, _job: events.append(action)
    clock.now += 599
    second = listening(state, "second")
    assert state.assigned(second) is None
    assert (job.status, first.job) == ("in_progress", job)
    clock.now += 2
    assert state.assigned(second) is None
    assert (job.conclusion, job.executions, events) == ("failure", ["first"], ["completed"])
    assert not state.online(first)
    with pytest.raises(Refused):
        state.renew(first, job.id)
    state.delete_runner("orgs/acme", first.id)


def test_a_job_that_is_renewed_may_run_for_any_time() -> None:
    state = a_github(clock=(clock := Clock()))
    (job,) = state.add_run("acme/web", a_run()).jobs.values()
    state.assigned(runner := listening(state, "first"))
    state.acquire(runner, job.id)
    for _ in range(20):
        clock.now += 300
        state.renew(runner, job.id)
        state.tick()
    assert job.status == "in_progress"


def test_an_idle_ephemeral_runner_is_deleted_after_two_to_six_minutes() -> None:
    """https://github.com/actions/runner/issues/4726. Busy and offline runners stay."""
    state = a_github(clock=(clock := Clock()), limits=Limits(idle=(120, 360)))
    idle = [listening(state, f"idle-{n}", ("cpu",)) for n in range(10)]
    offline = state.add_runner("orgs/acme", "offline", GPU)
    (job,) = state.add_run("acme/web", a_run()).jobs.values()
    state.assigned(busy := listening(state, "busy"))
    state.acquire(busy, job.id)
    counts = []
    for seconds in (119, 121, 121):
        clock.now += seconds
        state.tick()
        counts.append(sum(runner.id in state.runners for runner in idle))
    assert counts[0] == 10
    assert 0 < counts[1] < 10
    assert counts[2] == 0
    assert {offline.id, busy.id} == set(state.runners)
    with pytest.raises(Refused, match="deleted from the server"):
        state.by_client_id(idle[0].client_id)


def test_a_groups_runners_get_jobs_only_of_admitted_repositories() -> None:
    """https://docs.github.com/actions/how-tos/manage-runners/self-hosted-runners/manage-access"""
    state = a_github()
    state.add_repository("acme/other")
    state.groups[2], state.admitted[2] = "Some", frozenset({"acme/other"})
    (refused,) = state.add_run("acme/web", a_run()).jobs.values()
    (admitted,) = state.add_run("acme/other", a_run()).jobs.values()
    runner = state.add_runner("orgs/acme", "r", GPU, group_id=2)
    state.open_session(runner, "2.338.0")
    assert state.assigned(runner) is admitted
    assert (refused.status, refused.runner) == ("queued", None)

    async def drive(_: GitHubEmulator, github: Any) -> None:
        groups = (await github.rest.actions.async_list_self_hosted_runner_groups_for_org("acme")).parsed_data
        assert [(g.name, g.visibility) for g in groups.runner_groups] == [("Default", "all"), ("Some", "selected")]

    driven(state, drive)


def test_jobs_of_an_archived_repository_and_during_an_incident_stay_queued() -> None:
    state = a_github()
    (job,) = state.add_run("acme/web", a_run()).jobs.values()
    state.repositories["acme/web"].archived = True
    runner = listening(state, "r")
    assert state.assigned(runner) is None
    state.repositories["acme/web"].archived, state.dispatches = False, False
    state.close_session(runner)
    state.open_session(runner, "2.338.0")
    assert state.assigned(runner) is None
    state.dispatches = True
    state.close_session(runner)
    state.open_session(runner, "2.338.0")
    assert state.assigned(runner) is job


def test_a_runs_status_is_that_of_its_least_advanced_job() -> None:
    """`waiting` for a review although other jobs are queued; `queued` although others run (seen at GitHub)."""
    state = a_github()
    specs = (a_spec("review", gate=Gate.REVIEW), a_spec("one"), a_spec("two"), a_spec("last", needs=("one", "two")))
    run = state.add_run("acme/web", a_run(*specs))
    assert (run.status, run.jobs["one"].status) == ("waiting", "queued")
    assert [r.id for r in state.runs_of("acme/web", "waiting")] == [run.id]
    assert list(state.runs_of("acme/web", "queued")) == []
    state.cancel_job(run.jobs["review"])
    assert run.status == "queued"
    end(state, run.jobs["one"], "Succeeded")
    assert run.status == "queued"
    state.assigned(runner := listening(state, "r"))
    state.acquire(runner, run.jobs["two"].id)
    assert run.status == "in_progress"
    state.complete(runner, run.jobs["two"].id, "Succeeded", {}, "")
    assert (run.status, list(run.jobs)[-1]) == ("queued", "last")
    end(state, run.jobs["last"], "Succeeded")
    assert (run.status, run.conclusion) == ("completed", "cancelled")


def test_a_busy_runner_cannot_be_deleted_and_an_ephemeral_one_is_deleted_after_its_job() -> None:
    state = a_github()
    runner = listening(state, "r")
    (job,) = state.add_run("acme/web", a_run()).jobs.values()
    state.assigned(runner)
    with pytest.raises(Refused) as refused:
        state.delete_runner("orgs/acme", runner.id)
    assert refused.value.status == 422
    state.acquire(runner, job.id)
    state.complete(runner, job.id, "Failed", {}, "")
    assert job.conclusion == "failure"
    assert state.runners == {}


def test_a_second_session_of_a_registration_is_refused() -> None:
    state = a_github()
    runner = listening(state, "r")
    with pytest.raises(Refused) as refused:
        state.open_session(runner, "2.338.0")
    assert refused.value.status == 409


def test_a_job_is_queued_when_the_jobs_that_it_needs_have_ended() -> None:
    state = a_github()
    run = state.add_run("acme/web", a_run(a_spec("first"), a_spec("second", needs=("first",))))
    assert list(run.jobs) == ["first"]
    runner = listening(state, "r")
    job = run.jobs["first"]
    state.assigned(runner)
    state.acquire(runner, job.id)
    state.complete(runner, job.id, "Succeeded", {"x": "1"}, "")
    assert list(run.jobs) == ["first", "second"]
    assert run.status == "queued"


def test_a_skipped_job_makes_jobs_that_need_it_ready() -> None:
    state = a_github()
    skipped = a_spec("skipped", message=lambda _needs: None)
    run = state.add_run("acme/web", a_run(skipped, a_spec("after", needs=("skipped",))))
    shown = [(key, job.status, job.conclusion, job.executions) for key, job in run.jobs.items()]
    assert shown == [("skipped", "completed", "skipped", []), ("after", "queued", None, [])]
    assert state.add_run("acme/web", a_run(skipped)).conclusion == "skipped"


def end(state: GitHubState, job: Job, result: str) -> None:
    """Run a job to this result on a new runner."""
    runner = state.add_runner("orgs/acme", f"r-{job.id}", job.spec.labels)
    state.open_session(runner, "2.338.0")
    assert state.assigned(runner) is job
    state.acquire(runner, job.id)
    state.complete(runner, job.id, result, {}, "")


def variants(**given: Any) -> list[JobSpec]:
    strategy = Strategy(job_id="m", **given)
    return [a_spec(f"m/{number}", labels=(str(number),), strategy=strategy) for number in (1, 2, 3)]


def test_max_parallel_limits_the_running_jobs_of_a_matrix() -> None:
    state = a_github()
    run = state.add_run("acme/web", a_run(*variants(max_parallel=1), a_spec("other")))
    one, two, three, other = run.jobs.values()
    assert [job.status for job in run.jobs.values()] == ["queued"] * 4
    assert [job.gate for job in run.jobs.values()] == [None, Gate.MAX_PARALLEL, Gate.MAX_PARALLEL, None]
    end(state, one, "Succeeded")
    assert (two.gate, three.gate) == (None, Gate.MAX_PARALLEL)
    state.cancel_job(two)
    end(state, three, "Succeeded")
    end(state, other, "Succeeded")
    assert run.status == "completed"


@pytest.mark.parametrize("fail_fast", [True, False])
def test_a_failure_cancels_the_rest_of_its_matrix_unless_fail_fast_is_off(fail_fast: bool) -> None:
    state = a_github()
    run = state.add_run("acme/web", a_run(*variants(max_parallel=2, fail_fast=fail_fast), a_spec("other")))
    failing, running, waiting, other = run.jobs.values()
    state.assigned(runner := listening(state, "r", ("2",)))
    state.acquire(runner, running.id)
    end(state, failing, "Failed")
    assert running.cancelled is fail_fast
    assert (waiting.conclusion, waiting.gate) == (("cancelled", Gate.MAX_PARALLEL) if fail_fast else (None, None))
    assert other.status == "queued"


def test_a_failure_with_continue_on_error_counts_as_success() -> None:
    state = a_github()
    seen: list[str] = []

    def message(results: Mapping[str, JobResult]) -> Mapping[str, object] | None:
        seen.append(results["first"].conclusion)
        return None

    run = state.add_run("acme/web", a_run(a_spec("first", tolerated=True), a_spec(needs=("first",), message=message)))
    end(state, run.jobs["first"], "Failed")
    assert (run.jobs["first"].conclusion, seen, run.conclusion) == ("failure", ["success"], "success")


def test_a_job_goes_only_to_runners_of_its_group() -> None:
    state = a_github()
    state.groups[2] = "Big"
    (job,) = state.add_run("acme/web", a_run(a_spec(labels=("gpu",), group="big"))).jobs.values()
    listening(state, "elsewhere")
    runner = state.add_runner("orgs/acme", "there", ("other",), group_id=2)
    state.open_session(runner, "2.338.0")
    state.tick()
    assert job.runner is None
    runner = state.add_runner("orgs/acme", "right", ("gpu",), group_id=2)
    state.open_session(runner, "2.338.0")
    assert state.assigned(runner) is job
    assert (
        state.add_run("acme/web", a_run(a_spec(group="none"))).spec.jobs[0].unsupported
        == "there is no runner group none"
    )


def test_a_run_whose_concurrency_group_is_in_use_cannot_run_here() -> None:
    state = a_github()
    spec = replace(a_run(), concurrency="deploy")
    first = state.add_run("acme/web", spec)
    second = state.add_run("acme/web", replace(spec, concurrency="Deploy"))
    assert (list(second.jobs), second.spec.jobs[0].unsupported) == (
        [],
        "another run is in its concurrency group Deploy",
    )
    end(state, first.jobs["build"], "Succeeded")
    assert list(state.add_run("acme/web", spec).jobs) == ["build"]

"""Re-runs of jobs: the emulated GitHub against GitHub's own description, and the bridge's client against both."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from githubkit import AppInstallationAuthStrategy
from githubkit.exception import RequestFailed
from githubkit_schemas.latest.models import Job as GitHubsJob
from githubkit_schemas.latest.models import WorkflowRun

from bridge.core.lost import SeenJob
from bridge.emulator.faults import Fault, FaultKind
from bridge.emulator.github import GitHubEmulator, GitHubState, github_emulator
from bridge.emulator.github.access import PERMISSIONS
from bridge.emulator.github.runs import RERUN_WINDOW
from bridge.emulator.github.state import Job, Run
from bridge.emulator.jobs import JobResult
from bridge.errors import AuthError, BridgeError, NotYet, OutcomeUnknown, RateLimited, Rejected, Unavailable
from bridge.github import reruns
from bridge.github.api import GitHub
from tests.contract.test_github_client import driven, failing
from tests.emulator.test_github_emulator import client
from tests.support.github import GPU, a_github, a_run, a_spec, an_app

ERROR, ACCEPTED = FaultKind.ERROR, FaultKind.ACCEPT_THEN_ERROR
RERUN: dict[str, Any] = {"method": "POST", "path": "/rerun$"}
MAY_WRITE = {**PERMISSIONS, "actions": "write"}


def serve(state: GitHubState, name: str, result: str = "Succeeded") -> Job:
    """Let a runner take the oldest queued job, which has this name, and end it."""
    runner = state.add_runner("orgs/acme", f"r-{state.next_id()}", GPU)
    state.open_session(runner, "2.338.0")
    job = state.assigned(runner)
    assert job is not None
    assert job.spec.name == name
    state.acquire(runner, job.id)
    job.steps["1"] = {"name": "Run make", "number": 1, "status": 6, "conclusion": 3 if result == "Failed" else 2}
    state.complete(runner, job.id, result, {}, "")
    return job


def if_it_succeeded(needs: Mapping[str, JobResult]) -> Mapping[str, object] | None:
    """A job that needs `first`, without a condition of its own."""
    return {"workflow": {}, "job": "second", "event": "push"} if needs["first"].conclusion == "success" else None


def an_ended_run(state: GitHubState) -> Run:
    """A run in which `first` has failed, `second`, which needs it, was skipped, and `other` has succeeded."""
    second = a_spec("second", needs=("first",), message=if_it_succeeded)
    run = state.add_run("acme/web", a_run(a_spec("first"), second, a_spec("other")))
    serve(state, "first", "Failed")
    serve(state, "other")
    assert conclusions(run) == {"first": "failure", "second": "skipped", "other": "success"}
    return run


def conclusions(run: Run) -> dict[str, str | None]:
    return {job.spec.name: job.conclusion for job in run.jobs.values()}


# --- the emulated GitHub ---


def asked(state: GitHubState, job_id: int, permissions: dict[str, str] = MAY_WRITE) -> int:
    """The status of GitHub's answer to a re-run, which githubkit asks for."""

    async def main() -> int:
        async with github_emulator(state, an_app(permissions=permissions)) as emulator:
            auth = AppInstallationAuthStrategy(emulator.app.client_id, emulator.app.pem, emulator.app.installation_id)
            async with client(auth, emulator) as github:
                try:
                    answer = await github.rest.actions.async_re_run_job_for_workflow_run("acme", "web", job_id)
                except RequestFailed as refused:
                    return int(refused.response.status_code)
                return int(answer.status_code)

    return asyncio.run(main())


def test_a_re_run_is_a_new_attempt_with_new_ids_for_the_job_and_those_that_need_it() -> None:
    state = a_github()
    run = an_ended_run(state)
    before = dict(run.jobs)
    assert asked(state, before["first"].id) == 201
    assert (run.attempt, run.status) == (2, "queued")
    first = run.jobs["first"]
    assert first.id != before["first"].id
    assert (first.run_attempt, first.spec.labels) == (2, GPU)
    assert run.jobs["other"] is before["other"]
    assert [each.id for each in state.runs_of("acme/web", "queued")] == [run.id]
    serve(state, "first")
    serve(state, "second")
    assert conclusions(run) == dict.fromkeys(("first", "second", "other"), "success")
    assert (run.status, run.conclusion) == ("completed", "success")
    assert (before["first"].conclusion, before["first"].run_attempt) == ("failure", 1), "the first attempt stays"


def test_a_re_run_sends_the_events_of_a_new_job() -> None:
    state = a_github()
    run = an_ended_run(state)
    told: list[tuple[str, int, int]] = []
    state.on_event = lambda action, job: told.append((action, job.id, job.run_attempt))
    state.rerun_job("acme/web", run.jobs["first"].id)
    assert told == [("queued", run.jobs["first"].id, 2)]


def test_a_run_that_has_not_ended_is_not_re_run() -> None:
    state = a_github()
    run = state.add_run("acme/web", a_run(a_spec("first"), a_spec("other")))
    job = serve(state, "first", "Failed")
    assert asked(state, job.id) == 403
    assert run.attempt == 1


@pytest.mark.parametrize(("age", "answer"), [(RERUN_WINDOW - 60, 201), (RERUN_WINDOW + 60, 403)])
def test_a_run_is_re_run_for_30_days(age: float, answer: int) -> None:
    state = a_github()
    run = an_ended_run(state)
    run.created_at -= age
    assert asked(state, run.jobs["first"].id) == answer


def test_a_job_that_does_not_exist_and_a_missing_permission_are_refused() -> None:
    state = a_github()
    run = an_ended_run(state)
    assert asked(state, 1) == 404
    assert asked(state, run.jobs["first"].id, PERMISSIONS) == 403
    assert run.attempt == 1


def test_runs_jobs_and_steps_of_a_second_attempt_match_githubs_description() -> None:
    state = a_github()
    run = an_ended_run(state)
    state.rerun_job("acme/web", run.jobs["first"].id)

    async def main() -> None:
        async with github_emulator(state, an_app()) as emulator:
            auth = AppInstallationAuthStrategy(emulator.app.client_id, emulator.app.pem, emulator.app.installation_id)
            async with client(auth, emulator) as github:
                base = f"/repos/acme/web/actions/runs/{run.id}"
                shown = WorkflowRun.model_validate((await github.arequest("GET", base)).json())
                assert shown.run_attempt == 2
                assert str(shown.previous_attempt_url).endswith(f"{base}/attempts/1")
                listed = (await github.arequest("GET", f"{base}/jobs")).json()["jobs"]
                jobs = {job.name: job for job in map(GitHubsJob.model_validate, listed)}
                assert {name: job.run_attempt for name, job in jobs.items()} == {"first": 2, "other": 1}
                (step,) = list(jobs["other"].steps or [])
                assert (step.name, step.status, step.conclusion) == ("Run make", "completed", "success")

    asyncio.run(main())


# --- the bridge's client ---


def test_the_client_reads_the_newest_attempt_of_a_run_with_what_its_steps_show() -> None:
    state = a_github()
    run = an_ended_run(state)
    run.jobs["other"].steps["2"] = {"name": "Run rest", "number": 2, "status": 3}

    async def drive(_: GitHubEmulator, github: GitHub) -> None:
        seen = await github.seen_run("acme/web", run.id)
        assert seen is not None
        assert (seen.attempt, seen.completed, seen.fork) == (1, True, False)
        assert seen.created_at == int(run.created_at)
        first, other = run.jobs["first"], run.jobs["other"]
        assert {job.id: job for job in seen.jobs if job.name != "second"} == {
            first.id: SeenJob(id=first.id, name="first", run_attempt=1, conclusion="failure", step_failed=True),
            other.id: SeenJob(id=other.id, name="other", run_attempt=1, conclusion="success", step_open=True),
        }
        state.rerun_job("acme/web", first.id)
        again = await github.seen_run("acme/web", run.id)
        assert again is not None
        assert (again.attempt, again.completed) == (2, False)
        assert again.at > seen.at
        assert await github.seen_run("acme/web", 1) is None

    driven(state, drive)


def test_the_client_re_runs_a_job() -> None:
    state = a_github()
    run = an_ended_run(state)

    async def drive(emulator: GitHubEmulator, github: GitHub) -> None:
        emulator.app.permissions = MAY_WRITE
        await github.rerun_job("acme/web", run.jobs["first"].id)
        assert run.attempt == 2

    driven(state, drive)


def forbidden(message: str, **given: Any) -> Fault:
    return Fault(**RERUN, kind=ERROR, status=403, body=f'{{"message": "{message}"}}', **given)


NEEDS = {"x-accepted-github-permissions": "actions=write"}
ANSWERS: dict[str, tuple[Fault, type[BridgeError], str]] = {
    "no permission": (forbidden("Resource not accessible", headers=NEEDS), AuthError, "actions=write"),
    "running": (forbidden("The workflow run containing this job is already running"), NotYet, "has not ended"),
    "old": (
        forbidden("Unable to re-run this job because the workflow run was created over a month ago"),
        Rejected,
        "30",
    ),
    "another reason": (forbidden("Unable to re-run this job: ghs_secret"), Rejected, "does not re-run the job"),
    "gone": (Fault(**RERUN, kind=ERROR, status=404), Rejected, "404"),
    "limited": (forbidden("You have exceeded a secondary rate limit"), RateLimited, "rate limit"),
    "a proxy": (Fault(**RERUN, kind=ERROR, status=200, body="<html>"), OutcomeUnknown, "may have been done"),
    "failing": (Fault(**RERUN, kind=ACCEPTED, status=502), OutcomeUnknown, "may have been done"),
    "cut off": (Fault(**RERUN, kind=FaultKind.ACCEPT_THEN_HANG, seconds=0.1), OutcomeUnknown, "may have been done"),
}


@pytest.mark.parametrize("what", ANSWERS)
def test_each_answer_to_a_re_run_has_the_error_that_says_what_to_do_next(what: str) -> None:
    fault, kind, said = ANSWERS[what]
    error = failing(lambda _, github: github.rerun_job("acme/web", 7), fault)
    assert type(error) is kind
    assert said in str(error)
    assert "ghs_secret" not in str(error), "only known texts of an answer are shown"


def test_a_re_run_that_was_never_sent_was_not_done() -> None:
    async def drive(emulator: GitHubEmulator, github: GitHub) -> None:
        await github.learn_time()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(github._transport, "_api_url", "http://127.0.0.1:9")
            await github.rerun_job("acme/web", 7)

    assert type(failing(drive)) is Unavailable


@pytest.mark.parametrize("steps", [None, ["x"], [{"status": None}]])
def test_odd_steps_do_not_hide_a_run(steps: Any) -> None:
    raw = {"jobs": [{"id": 1, "name": "a\0b", "conclusion": None, "steps": steps}]}
    (job,) = reruns.jobs(raw)
    assert (job.name, job.run_attempt, job.step_failed) == ("a\N{REPLACEMENT CHARACTER}b", 1, False)

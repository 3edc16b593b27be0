"""The instant workers: the effects of each fate in both models."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from bridge.emulator.github.state import GitHubState, Job, Limits, Runner, jit_config
from bridge.emulator.runpod import EndpointConfig, RunPodState
from bridge.emulator.runpod.state import Request
from tests.support.background import until_async as until
from tests.support.github import GPU, a_github, a_run
from tests.support.instant import Fate, instant_workers

PATIENCE = 0.2
"""s after which GitHub gives up a silent runner."""


@dataclass
class Both:
    """Both models, with requests like the bridge's."""

    github: GitHubState
    runpod: RunPodState

    def job(self) -> Job:
        (job,) = self.github.add_run("acme/web", a_run()).jobs.values()
        return job

    def jit(self, name: str = "r-1", **given: Any) -> tuple[Request, Runner]:
        runner = self.github.add_runner("orgs/acme", name, GPU)
        sent = {"jit_config": jit_config(runner, "http://github"), "runner_name": name, **given}
        return self.runpod.submit("ep", {"input": sent}), runner

    def registration(self, name: str = "r-1", **given: Any) -> Request:
        token, _ = self.github.registration_token("orgs/acme")
        sent = {"registration_token": token, "runner_url": "http://github/acme", "runner_name": name}
        return self.runpod.submit("ep", {"input": sent | {"runner_labels": list(GPU)} | given})


def played(
    drive: Callable[[Both], Awaitable[None]],
    *,
    redeliver: bool = True,
    max_: int = 3,
    idle: tuple[float, float] | None = None,
    **given: Any,
) -> Both:
    """Run `drive` together with instant workers."""
    github = a_github(limits=Limits(pickup=PATIENCE, heartbeat=PATIENCE, renewal=PATIENCE, idle=idle))
    both = Both(github, RunPodState({"ep": EndpointConfig(workers_max=max_, redeliver=redeliver)}))

    async def main() -> None:
        async with instant_workers(both.github, both.runpod, **given):
            await drive(both)

    asyncio.run(main())
    return both


def first(fate: Fate) -> Callable[[Request], Fate]:
    """A fate for the first delivery only."""
    return lambda request: Fate.NORMAL if request.workers else fate


@pytest.mark.parametrize("mode", ["jit", "registration"])
def test_a_job_runs_once_and_both_models_show_it(mode: str) -> None:
    async def drive(both: Both) -> None:
        job = both.job()
        request = both.jit()[0] if mode == "jit" else both.registration()
        await until(lambda: request.status == "COMPLETED")
        assert (job.conclusion, job.executions) == ("success", ["r-1"])
        assert request.output["outcome"] == "completed"
        assert (request.output["job"], request.output["result"]) == (job.spec.name, "Succeeded")
        assert request.output["runner_name"] == "r-1"
        assert (both.github.runners, both.runpod.workers) == ({}, {})

    played(drive)


def test_a_job_takes_its_time_and_a_cancelled_job_ends_early() -> None:
    async def drive(both: Both) -> None:
        job, (request, _) = both.job(), both.jit()
        await until(lambda: job.status == "in_progress")
        await asyncio.sleep(2 * PATIENCE)
        assert (job.status, request.status) == ("in_progress", "IN_PROGRESS"), "it is renewed"
        both.github.cancel_job(job)
        await until(lambda: request.status == "COMPLETED")
        assert (job.conclusion, request.output["result"]) == ("cancelled", "Canceled")

    played(drive, seconds=60)


def test_a_runner_without_a_job_waits_for_idle_timeout() -> None:
    async def drive(both: Both) -> None:
        (late, _), (idle, runner) = both.jit("late", not_after=time.time() - 1), both.jit("idle", idle_timeout=0.1)
        await until(lambda: late.status == idle.status == "COMPLETED")
        assert (late.output["outcome"], idle.output["outcome"]) == ("expired", "no_job")
        assert idle.ended_at is not None
        assert idle.ended_at - idle.created_at >= 0.1
        assert late.ended_at is not None
        assert late.ended_at < idle.ended_at
        assert runner.id in both.github.runners, "the bridge deletes it"
        assert runner.session is None

    played(drive)


def test_a_request_fails_if_its_runner_cannot_be_registered() -> None:
    async def drive(both: Both) -> None:
        before, runner = both.jit("before")
        both.github.delete_runner("orgs/acme", runner.id)
        during, listening = both.jit("during")
        await until(lambda: listening.session)
        both.github.delete_runner("orgs/acme", listening.id)
        both.github.add_runner("orgs/acme", "taken", GPU)
        taken, expired = both.registration("taken"), both.registration("new", registration_token="of another time")
        requests = (before, during, taken, expired)
        await until(lambda: all(request.status == "FAILED" for request in requests))
        reasons = [(request.error or "").partition(": ")[0] for request in requests]
        assert reasons == ["registration_lost", "registration_lost", "name_taken", "credential_expired"]
        assert [request.output["outcome"] for request in requests] == reasons

    played(drive, max_=4)


def test_a_request_that_is_delivered_twice_is_a_session_conflict() -> None:
    async def drive(both: Both) -> None:
        both.runpod.double_next = 1
        job, (request, _) = both.job(), both.jit()
        await until(lambda: request.status == "FAILED")
        assert (request.error or "").startswith("session_conflict: ")
        assert len(request.workers) == 2
        assert job.status == "in_progress", "the other worker runs the job"
        await until(lambda: not both.runpod.workers)
        assert (job.conclusion, job.executions) == ("success", ["r-1"])

    played(drive, seconds=0.3)


def test_a_cancelled_request_stops_its_worker() -> None:
    async def drive(both: Both) -> None:
        request, runner = both.jit()
        await until(lambda: runner.session)
        both.runpod.cancel("ep", request.id)
        await until(lambda: not both.runpod.workers)
        assert (request.status, runner.session) == ("CANCELLED", None)
        both.github.delete_runner("orgs/acme", runner.id)
        job, (busy, _) = both.job(), both.jit("r-2")
        await until(lambda: job.status == "in_progress")
        both.runpod.cancel("ep", busy.id)
        await until(lambda: not both.runpod.workers)
        assert (busy.status, busy.output, job.conclusion) == ("CANCELLED", None, "cancelled")

    played(drive, seconds=60)


def test_a_worker_that_dies_before_its_runner_listens_is_replaced() -> None:
    async def drive(both: Both) -> None:
        job, (request, _) = both.job(), both.jit()
        await until(lambda: request.status == "COMPLETED")
        assert (len(request.workers), job.executions) == (2, ["r-1"])

    played(drive, fate=first(Fate.DIES_BEFORE))


def test_a_worker_that_dies_during_its_job_fails_it() -> None:
    async def drive(both: Both) -> None:
        job, (request, runner) = both.job(), both.jit("first")
        await until(lambda: request.status == "FAILED")
        assert (job.status, job.executions) == ("in_progress", ["first"])
        assert runner.session, "GitHub has not noticed yet"
        both.jit("second")
        await until(lambda: job.status == "completed")
        assert (job.conclusion, job.executions) == ("failure", ["first"])
        assert not runner.session
        assert runner.job is None

    dies = {"first": Fate.DIES_DURING}
    played(drive, redeliver=False, fate=lambda request: dies.get(request.input["runner_name"], Fate.NORMAL))


def test_the_job_of_a_worker_that_dies_before_it_takes_it_goes_to_another_runner() -> None:
    async def drive(both: Both) -> None:
        job, (request, runner) = both.job(), both.jit("first")
        await until(lambda: request.status == "FAILED")
        assert (job.status, runner.job) == ("queued", job)
        second, _ = both.jit("second")
        await until(lambda: second.status == "COMPLETED")
        assert (job.conclusion, job.executions) == ("success", ["second"])

    dies = {"first": Fate.DIES_ASSIGNED}
    played(drive, redeliver=False, fate=lambda request: dies.get(request.input["runner_name"], Fate.NORMAL))


def test_a_runner_that_listens_too_long_loses_its_registration() -> None:
    async def drive(both: Both) -> None:
        request, runner = both.jit()
        await until(lambda: request.status == "FAILED")
        assert (request.error or "").startswith("registration_lost: ")
        assert runner.id not in both.github.runners

    played(drive, idle=(0.1, 0.3))


def test_a_request_whose_worker_dies_after_its_job_has_no_registration() -> None:
    async def drive(both: Both) -> None:
        job, (request, _) = both.job(), both.jit()
        await until(lambda: request.status == "FAILED")
        assert (job.conclusion, job.executions) == ("success", ["r-1"])
        assert (request.error or "").startswith("registration_lost: ")
        assert len(request.workers) == 2

    played(drive, fate=first(Fate.DIES_AFTER))


@pytest.mark.parametrize(("fate", "reason"), [(Fate.CRASHES, "crashed"), (Fate.DEPRECATED, "version_deprecated")])
def test_a_worker_that_cannot_run_jobs_reports_the_reason(fate: Fate, reason: str) -> None:
    async def drive(both: Both) -> None:
        job, (request, runner) = both.job(), both.jit()
        await until(lambda: request.status == "FAILED")
        assert (request.error or "").startswith(f"{reason}: ")
        assert (job.status, job.executions, runner.session) == ("queued", [], None)

    played(drive, fate=lambda _: fate)


def test_a_request_that_never_starts_does_not_delay_others() -> None:
    async def drive(both: Both) -> None:
        (stuck, _), (fine, _) = both.jit("stuck"), both.jit("fine")
        job = both.job()
        await until(lambda: fine.status == "COMPLETED")
        assert (stuck.status, stuck.workers, job.executions) == ("IN_QUEUE", [], ["fine"])

    played(drive, fate=lambda r: Fate.NEVER_STARTS if r.input["runner_name"] == "stuck" else Fate.NORMAL)


def test_no_more_workers_run_than_the_endpoint_allows() -> None:
    async def drive(both: Both) -> None:
        for number in range(20):
            both.job()
            both.jit(f"r-{number}")
        await until(lambda: all(job.status == "completed" for job in both.github.jobs.values()))

    both = played(drive, max_=2, seconds=0.02)
    assert both.runpod.most_workers == 2
    assert both.runpod.workers_started == 20


def test_thousands_of_jobs_pass_through_two_hundred_workers() -> None:
    async def drive(both: Both) -> None:
        for number in range(3_000):
            both.job()
            both.jit(f"r-{number}")
        await until(lambda: both.runpod.health("ep")["jobs"]["completed"] == 3_000, 30)

    both = played(drive, max_=200)
    assert {len(job.executions) for job in both.github.jobs.values()} == {1}
    assert (both.github.runners, both.runpod.health("ep")["jobs"]["completed"]) == ({}, 3_000)

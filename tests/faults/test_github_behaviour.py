"""Normal but inconvenient behaviour of GitHub: jobs run once, costs stay bounded, and a new job is served soon after.

Waiting times are shortened (tests.faults.deployment.TIMING): 1 s here stands for about 100 s.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bridge.emulator.github import Budget, Limits
from bridge.emulator.github.state import Job
from bridge.emulator.jobs import Gate, Strategy
from tests.faults.deployment import HASTY, Deployment, deployment
from tests.faults.test_services import JOBS, Fated
from tests.support.background import throughout, until
from tests.support.github import a_run, a_spec
from tests.support.instant import Fate

REAPING = Limits(pickup=20.0, heartbeat=20.0, renewal=20.0, idle=(1.2, 3.6))
"""GitHub deletes idle registrations after 2 to 6 min; see facts/runner.md."""


def requests(made: Deployment) -> int:
    return len(made.emulators.runpod.state.requests)


def held(made: Deployment) -> Job:
    """A job that GitHub lists as queued and gives to no runner."""
    run = made.github.add_run("acme/web", a_run(a_spec("held", gate=Gate.MAX_PARALLEL)))
    (job,) = run.jobs.values()
    return job


def test_a_job_that_is_never_dispatched_costs_little_where_idle_runners_are_deleted(
    tmp_path: Path, database_url: str
) -> None:
    """14 s stand for 23 min: one attempt, then a few more after growing pauses."""
    hasty = replace(REAPING, idle=(1.2, 1.8))
    with deployment(tmp_path, limits=hasty) as made, made.dispatcher(database_url):
        job = held(made)
        throughout(lambda: requests(made) <= 4, 14)
        made.assert_canary_is_served()
        made.cancel(job)
        made.assert_all_ends_well()
        made.assert_canary_is_served()


def test_runners_that_github_deletes_while_they_wait_lose_no_job(tmp_path: Path, database_url: str) -> None:
    """GitHub dispatches no job until some registrations are deleted."""
    with deployment(tmp_path, limits=REAPING) as made, made.dispatcher(database_url):
        made.github.dispatches = False
        made.queue(JOBS)
        until(lambda: requests(made) >= JOBS)
        names = {runner.name for runner in made.github.runners.values()}
        until(lambda: names - {runner.name for runner in made.github.runners.values()})
        made.github.dispatches = True
        made.assert_all_ends_well()
        made.assert_canary_is_served()


def test_jobs_whose_runners_do_not_pick_them_up_run_once_on_others(tmp_path: Path, database_url: str) -> None:
    fate = Fated(Fate.DIES_ASSIGNED, 3)
    given: dict[str, Any] = {"instant": {"fate": fate}, "limits": HASTY, "redeliver": False, "lease": 60.0}
    with deployment(tmp_path, **given) as made, made.dispatcher(database_url):
        jobs = made.queue(JOBS)
        made.assert_all_ends_well()
        assert [len(job.executions) for job in jobs] == [1] * JOBS
        made.assert_canary_is_served()


def test_a_job_that_fails_because_its_runner_died_gets_no_second_runner(tmp_path: Path, database_url: str) -> None:
    fate = Fated(Fate.DIES_DURING, 3)
    given: dict[str, Any] = {"instant": {"seconds": 0.2, "fate": fate}, "limits": HASTY, "redeliver": False}
    with deployment(tmp_path, **given) as made, made.dispatcher(database_url):
        made.may_fail = 3
        jobs = made.queue(JOBS)
        made.assert_all_ends_well()
        assert sorted(str(job.conclusion) for job in jobs) == ["failure"] * 3 + ["success"] * (JOBS - 3)
        assert requests(made) == JOBS
        made.assert_canary_is_served()


def test_a_matrix_with_max_parallel_runs_to_its_end(tmp_path: Path, database_url: str) -> None:
    """GitHub announces all jobs at once. Runners for jobs over max-parallel may idle, but no more are requested."""
    strategy = Strategy(job_id="m", max_parallel=2)
    specs = [a_spec(f"m/{n}", strategy=strategy) for n in range(10)]
    with deployment(tmp_path, instant={"seconds": 0.5}, limits=REAPING) as made, made.dispatcher(database_url):
        made.github.add_run("acme/web", a_run(*specs))
        made.assert_all_ends_well()
        assert requests(made) <= 2 * len(specs)
        made.assert_canary_is_served()


@pytest.mark.parametrize("why", ["its group does not admit it", "it was archived"])
def test_jobs_that_github_gives_to_no_runner_cost_little_and_do_not_block_other_repositories(
    tmp_path: Path, database_url: str, why: str
) -> None:
    with deployment(tmp_path, limits=REAPING) as made:
        made.github.add_repository("acme/api")
        made.github.repositories["acme/web"].archived = why == "it was archived"
        if why != "it was archived":
            made.github.admitted[1] = frozenset({"acme/api"})
        with made.dispatcher(database_url, BRIDGE_MAX_WORKERS=3):
            stuck = made.queue(3)
            until(lambda: requests(made) >= 3)
            made.assert_canary_is_served("acme/api")
            throughout(lambda: requests(made) <= 9, 6)
            made.assert_canary_is_served("acme/api")
            assert requests(made) <= 10
            made.cancel(*stuck)
            made.assert_all_ends_well()
            made.assert_canary_is_served("acme/api")


def test_a_github_incident_in_which_no_job_is_dispatched_costs_little(tmp_path: Path, database_url: str) -> None:
    """9 s stand for 15 min in which 10 jobs wait: at most one runner for each, then one probe at a time."""
    with deployment(tmp_path, limits=REAPING) as made, made.dispatcher(database_url):
        made.github.dispatches = False
        made.queue(10)
        throughout(lambda: requests(made) <= 14, 9)
        made.github.dispatches = True
        made.assert_all_ends_well()
        made.assert_canary_is_served()


def test_a_queued_job_is_found_in_a_run_that_waits_for_a_review(tmp_path: Path, database_url: str) -> None:
    """By resyncs only: there are no webhooks and no delivery log. The run's status is `waiting`."""
    with deployment(tmp_path) as made, made.dispatcher(database_url, webhooks=False):
        run = made.github.add_run("acme/web", a_run(a_spec("gated", gate=Gate.REVIEW), a_spec("free")))
        assert run.status == "waiting"
        until(lambda: run.jobs["free"].status == "completed", 15)
        made.github.release(run.jobs["gated"])
        made.assert_all_ends_well()
        made.assert_canary_is_served()


@pytest.mark.parametrize("free", [True, False], ids=["304 is free", "304 costs a point"])
def test_a_secondary_limit_is_waited_for_and_no_job_is_lost(tmp_path: Path, database_url: str, free: bool) -> None:
    """60 points in 2 s, where GitHub allows 900 in a minute. A registration costs 5 points, a resync about 3."""
    budget = Budget(points=60, minute=2.0, not_modified_costs_points=not free)
    with deployment(tmp_path, budget=budget) as made, made.dispatcher(database_url):
        made.queue(20)
        made.assert_all_ends_well()
        refused = made.emulators.github.spending.refused["secondary"]
        assert refused <= 100, "calls are repeated only after Retry-After"
        made.assert_canary_is_served()


def test_when_the_calls_of_an_hour_are_used_up_the_bridge_waits_and_then_serves_all_jobs(
    tmp_path: Path, database_url: str
) -> None:
    """120 calls in 6 s. With webhooks they suffice; without, the bridge needs those of the next "hour"."""
    with deployment(tmp_path, budget=Budget(calls=120, hour=6.0)) as made, made.dispatcher(database_url):
        made.queue(10)
        made.assert_all_ends_well()
        made.emulators.github.webhooks.mishap = lambda _: ()
        made.queue(10)
        made.assert_all_ends_well()
        assert made.emulators.github.spending.refused["primary"] <= 20
        made.emulators.github.webhooks.mishap = lambda _: (0.0,)
        made.assert_canary_is_served()

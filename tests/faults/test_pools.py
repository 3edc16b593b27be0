"""Runners that take each other's jobs, and jobs that are cancelled or held while runners wait for them."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bridge.core.submissions import State
from bridge.emulator.github.model import Choice
from bridge.emulator.github.state import Job, Runner
from bridge.emulator.jobs import Gate
from tests.faults.deployment import HASTY, deployment
from tests.faults.test_services import Fated
from tests.support.background import throughout, until
from tests.support.effort import seeds, tried
from tests.support.github import a_run, a_spec
from tests.support.instant import Fate


def thieves(seed: int) -> Choice:
    """Have GitHub give each job to a random eligible runner."""
    chance = random.Random(seed)

    def choose(_job: Job, eligible: Sequence[Runner]) -> Runner:
        return chance.choice(sorted(eligible, key=lambda r: r.id))

    return choose


@pytest.mark.parametrize("seed", seeds(short=1, full=6))
def test_fifty_jobs_run_once_when_runners_take_each_others_jobs(tmp_path: Path, database_url: str, seed: int) -> None:
    tried["seeds of runner stealing"] += 1
    with deployment(tmp_path, instant={"seconds": 0.1}) as made, made.dispatcher(database_url):
        made.github.choose = thieves(seed)
        made.queue(50)
        made.assert_all_ends_well()


@pytest.mark.parametrize("seed", seeds(short=1, full=6))
def test_no_job_is_lost_when_runners_die_with_each_others_jobs(tmp_path: Path, database_url: str, seed: int) -> None:
    """A runner dies with the job it took, and the runner that was requested for that job may have died too."""
    tried["seeds of dying thieves"] += 1
    fate = Fated(Fate.DIES_DURING, 5)
    with deployment(tmp_path, instant={"seconds": 0.1, "fate": fate}, limits=HASTY, redeliver=False) as made:
        made.may_fail = 5
        made.github.choose = thieves(seed)
        with made.dispatcher(database_url):
            made.queue(50)
            made.assert_all_ends_well()


@pytest.mark.parametrize("mode", ["jit", "registration"])
def test_jobs_cancelled_while_queued_and_busy_leave_nothing(tmp_path: Path, database_url: str, mode: str) -> None:
    given: dict[str, Any] = {"instant": {"seconds": 1.5}, "workers_max": 2, "credentials": mode}
    with deployment(tmp_path, **given) as made, made.dispatcher(database_url):
        jobs = made.queue(6)
        until(lambda: sum(job.status == "in_progress" for job in jobs) == 2)
        made.cancel(*jobs[:1], *jobs[3:])
        made.assert_all_ends_well()
        requests = made.emulators.runpod.state.requests.values()
        assert any(r.status == "CANCELLED" and not r.workers for r in requests), (
            "one request was cancelled while it was queued"
        )
        assert {job.conclusion for job in jobs} == {"success", "cancelled"}
        assert {job.conclusion for job in jobs[3:]} == {"cancelled"}


def test_a_job_cancelled_while_its_runner_listens_leaves_nothing(tmp_path: Path, database_url: str) -> None:
    with deployment(tmp_path) as made, made.dispatcher(database_url):
        run = made.github.add_run("acme/web", a_run(a_spec("held", gate=Gate.MAX_PARALLEL)))
        until(lambda: [row.state for row in made.submissions(database_url)] == [State.STARTED])
        made.cancel(*run.jobs.values())
        made.assert_all_ends_well()
        assert [row.state for row in made.submissions(database_url)] == [State.NO_JOB]


def test_a_job_announced_before_it_may_start_runs_when_it_may(tmp_path: Path, database_url: str) -> None:
    """As with max-parallel: GitHub lists the job as queued and gives it to no runner. Idle runners are replaced."""
    with deployment(tmp_path) as made, made.dispatcher(database_url):
        run = made.github.add_run("acme/web", a_run(a_spec("held", gate=Gate.MAX_PARALLEL)))
        (job,) = run.jobs.values()
        requests = made.emulators.runpod.state.requests
        until(lambda: len(requests) >= 2, seconds=40)
        throughout(lambda: len(requests) <= 4, 0.5)  # one runner at a time waits for it
        made.github.release(job)
        made.assert_all_ends_well()
        assert job.conclusion == "success"


def test_the_case_of_a_configured_repository_name_does_not_matter(tmp_path: Path, database_url: str) -> None:
    with deployment(tmp_path) as made:
        made.emulators.variables |= {"GITHUB_ORG": "", "GITHUB_REPOSITORIES": "acme/WEB"}
        with made.dispatcher(database_url):
            made.queue(3)
            made.assert_all_ends_well()
        assert {row.pool.target for row in made.submissions(database_url)} == {"repos/acme/web"}

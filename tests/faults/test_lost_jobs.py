"""Workers die in the middle of jobs, and the calls that re-run these jobs fail in one way after the other.

GitHub fails a job of a dead runner after 2 s here, which stand for 10 minutes.
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from bridge.core.lost import RerunRecord, RerunState
from bridge.core.reference import Reference
from bridge.core.story import Outlook, story
from bridge.emulator.faults import Fault, FaultKind
from bridge.emulator.github.state import Run
from bridge.ledger import Ledger
from tests.faults.deployment import HASTY, Deployment, deployment
from tests.faults.test_services import Fated
from tests.support.background import throughout, until
from tests.support.github import a_run, a_spec
from tests.support.instant import Fate
from tests.support.postgres import Postgres

RERUN: dict[str, Any] = {"method": "POST", "path": "/rerun$"}
ERROR, ACCEPTED = FaultKind.ERROR, FaultKind.ACCEPT_THEN_ERROR


@contextmanager
def losing(home: Path, *, deaths: int = 1, fate: Fate = Fate.DIES_DURING, **given: Any) -> Iterator[Deployment]:
    """A deployment whose first workers meet a fate, with an App that may re-run jobs."""
    instant = {"seconds": 0.2, "fate": Fated(fate, deaths)}
    settings = {"rerun_lost_jobs": 1, "redeliver": False, "limits": HASTY, "instant": instant, **given}
    with deployment(home, **settings) as made:
        made.may_fail = deaths
        made.emulators.github.app.permissions["actions"] = "write"
        yield made


def a_queued_run(made: Deployment, *names: str) -> Run:
    return made.github.add_run("acme/web", a_run(*map(a_spec, names or ("build",))))


def conclusions(run: Run) -> dict[str, str | None]:
    return {job.spec.name: job.conclusion for job in run.jobs.values()}


def decided(url: str, run: Run) -> list[RerunRecord]:
    """What the ledger has written down of a run's jobs."""
    ledger = Ledger.open(url)
    try:
        found = asyncio.run(ledger.read(lambda transaction: transaction.named(Reference(None, run.id))))
        return [record.rerun for record in found if record.rerun]
    finally:
        ledger.close()


def sentences(url: str, run: Run) -> list[str]:
    """What `bridge explain` says first of each job of a run."""
    ledger = Ledger.open(url)
    try:
        found = asyncio.run(ledger.read(lambda transaction: transaction.named(Reference(None, run.id))))
        return [story(record, Outlook(), time.time()).sentence for record in found]
    finally:
        ledger.close()


def assert_attempts(made: Deployment, run: Run, attempts: int) -> None:
    """Wait until the last of a number of attempts has ended, and check that none follows."""
    until(lambda: run.attempt == attempts and run.status == "completed")
    throughout(lambda: run.attempt == attempts, 2)
    made.assert_all_ends_well()


def test_a_job_that_lost_its_worker_is_re_run_and_ends_well(tmp_path: Path, database_url: str) -> None:
    with losing(tmp_path) as made, made.dispatcher(database_url):
        run = a_queued_run(made)
        assert_attempts(made, run, 2)
        assert conclusions(run) == {"build": "success"}
        (record,) = decided(database_url, run)
        assert record.state is RerunState.RERUN
        first, second = sentences(database_url, run)
        assert first.endswith("failed: worker exited unexpectedly; the bridge re-ran it as attempt 2 of its run.")
        assert "ended as success" in second
        made.assert_canary_is_served()


def test_without_the_setting_it_stays_failed(tmp_path: Path, database_url: str) -> None:
    with losing(tmp_path, rerun_lost_jobs=0) as made, made.dispatcher(database_url):
        run = a_queued_run(made)
        assert_attempts(made, run, 1)
        assert conclusions(run) == {"build": "failure"}
        assert decided(database_url, run) == []
        (sentence,) = sentences(database_url, run)
        assert sentence.endswith("worker exited unexpectedly; re-run it in GitHub, or set `rerun_lost_jobs`.")


def test_a_job_that_loses_two_workers_is_not_re_run_a_second_time(tmp_path: Path, database_url: str) -> None:
    with losing(tmp_path, deaths=2) as made, made.dispatcher(database_url):
        run = a_queued_run(made)
        assert_attempts(made, run, 2)
        assert conclusions(run) == {"build": "failure"}
        assert [record.state for record in decided(database_url, run)] == [RerunState.RERUN, RerunState.SKIPPED]
        assert "the bridge did not re-run it: it was re-run once already" in sentences(database_url, run)[1]


def test_all_lost_jobs_of_a_run_are_re_run_one_after_the_other(tmp_path: Path, database_url: str) -> None:
    with losing(tmp_path, deaths=2) as made, made.dispatcher(database_url):
        run = a_queued_run(made, "a", "b", "c")
        assert_attempts(made, run, 3)
        assert conclusions(run) == dict.fromkeys("abc", "success")


def test_a_job_is_re_run_although_runpod_delivered_its_request_to_a_second_worker(
    tmp_path: Path, database_url: str
) -> None:
    """The second worker finds a runner without a job, or none. Then only the job's steps show what happened."""
    with losing(tmp_path, redeliver=True) as made, made.dispatcher(database_url):
        run = a_queued_run(made)
        assert_attempts(made, run, 2)
        assert conclusions(run) == {"build": "success"}


def test_a_worker_that_dies_after_its_job_has_failed_is_no_reason_for_a_re_run(
    tmp_path: Path, database_url: str
) -> None:
    with losing(tmp_path, fate=Fate.FAILS_AND_DIES) as made, made.dispatcher(database_url):
        run = a_queued_run(made)
        until(lambda: [record.state for record in decided(database_url, run)] == [RerunState.NOT_LOST])
        assert_attempts(made, run, 1)


def test_without_webhooks_a_resync_finds_what_was_lost(tmp_path: Path, database_url: str) -> None:
    with losing(tmp_path) as made, made.dispatcher(database_url, webhooks=False):
        run = a_queued_run(made)
        assert_attempts(made, run, 2)
        assert conclusions(run) == {"build": "success"}


def test_a_job_that_fails_by_itself_is_not_re_run(tmp_path: Path, database_url: str) -> None:
    with losing(tmp_path, fate=Fate.FAILS) as made, made.dispatcher(database_url):
        run = a_queued_run(made)
        until(lambda: [record.state for record in decided(database_url, run)] == [RerunState.NOT_LOST])
        assert_attempts(made, run, 1)
        assert conclusions(run) == {"build": "failure"}


def test_a_job_that_a_person_cancels_is_not_re_run(tmp_path: Path, database_url: str) -> None:
    with losing(tmp_path) as made, made.dispatcher(database_url):
        run = a_queued_run(made)
        job = run.jobs["build"]
        until(lambda: job.status == "in_progress")
        made.cancel(job)
        assert_attempts(made, run, 1)
        assert conclusions(run) == {"build": "cancelled"}


LOST_ANSWERS = {
    "is not done, and answers 502": Fault(**RERUN, kind=ERROR, status=502),
    "is not done, and the connection breaks": Fault(**RERUN, kind=FaultKind.DROP),
    "is done, and answers 502": Fault(**RERUN, kind=ACCEPTED, status=502),
    "is done, and the connection breaks": Fault(**RERUN, kind=FaultKind.ACCEPT_THEN_HANG, seconds=0.2),
    "is done, and answers with HTML": Fault(**RERUN, kind=ACCEPTED, status=200, body="<html>"),
    "is not done, and answers with HTML": Fault(**RERUN, kind=ERROR, status=200, body="<html>"),
    "is rate-limited": Fault(
        **RERUN, kind=ERROR, status=403, headers={"retry-after": "1"}, body="secondary rate limit"
    ),
    "is refused, because the run seems to run": Fault(
        **RERUN, kind=ERROR, status=403, body='{"message": "The workflow run containing this job is already running"}'
    ),
}


@pytest.mark.parametrize("how", LOST_ANSWERS)
def test_a_re_run_happens_once_although_the_call(tmp_path: Path, database_url: str, how: str) -> None:
    with losing(tmp_path) as made, made.dispatcher(database_url):
        made.emulators.github.faults.add(LOST_ANSWERS[how])
        run = a_queued_run(made)
        assert_attempts(made, run, 2)
        assert conclusions(run) == {"build": "success"}
        assert [record.state for record in decided(database_url, run)] == [RerunState.RERUN]


def test_without_the_permission_github_is_asked_once(tmp_path: Path, database_url: str) -> None:
    with losing(tmp_path) as made, made.dispatcher(database_url):
        made.emulators.github.app.permissions["actions"] = "read"
        run = a_queued_run(made)
        until(lambda: [record.state for record in decided(database_url, run)] == [RerunState.REFUSED])
        assert_attempts(made, run, 1)
        (record,) = decided(database_url, run)
        assert "actions=write" in record.why
        calls = made.emulators.github.calls
        assert calls["POST /repos/{owner}/{repo}/actions/jobs/{id}/rerun"] == 1


def test_two_dispatchers_on_one_ledger_re_run_a_job_once(tmp_path: Path, a_postgres: Postgres) -> None:
    url = a_postgres.database()
    with losing(tmp_path, deaths=3, lease=60.0) as made, ExitStack() as copies:
        for _ in range(2):
            copies.enter_context(made.dispatcher(url))
        runs = [a_queued_run(made) for _ in range(6)]
        until(lambda: sum(run.attempt for run in runs) == 9 and all(run.status == "completed" for run in runs))
        throughout(lambda: sum(run.attempt for run in runs) == 9, 2)
        assert [conclusions(run) for run in runs] == [{"build": "success"}] * 6
        assert made.emulators.github.calls["POST /repos/{owner}/{repo}/actions/jobs/{id}/rerun"] == 3


def test_a_lost_ledger_re_runs_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.sqlite3"
    with losing(tmp_path) as made:
        with made.dispatcher(url):
            run = a_queued_run(made)
            until(lambda: run.jobs["build"].status == "in_progress")
        for path in tmp_path.glob("ledger.sqlite3*"):
            path.unlink()
        with made.dispatcher(url):
            until(lambda: run.status == "completed")
            throughout(lambda: run.attempt == 1, 3)
            made.assert_canary_is_served()

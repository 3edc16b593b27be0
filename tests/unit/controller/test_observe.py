"""What a resync reads: between two scans mostly the delivery log."""

import asyncio
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import pytest

from bridge.controller.observe import MOST_AGAIN, Observer
from bridge.controller.observed import Memory
from bridge.core.model import (
    EndpointHealth,
    JobStatus,
    Repository,
    Request,
    RequestStatus,
    Runner,
    Sent,
    WaitingRun,
    WorkflowJob,
)
from bridge.core.readings import Place, Readings, Timed
from bridge.core.scope import Scope
from bridge.core.submissions import JobHistory, State, Submission
from bridge.errors import Unavailable
from tests.support.values import NOW, a_job, a_route, a_runner, a_submission

SCOPE = Scope(
    owner="acme",
    organisation="acme",
    repositories=("acme/web",),
    routes=(a_route(),),
    prefix="runpod",
    web_url="https://github.example",
)
SCANNED = Readings(full_scan=Timed(NOW - 60, None))


class GitHub:
    """It has one organisation without runners, and notes which jobs were looked up."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    async def runners(self, _target: str) -> tuple[Runner, ...]:
        return ()

    runners_at_low_priority = runners

    async def repositories(self, _owner: str) -> tuple[Repository, ...]:
        raise AssertionError("they are configured")

    async def repository(self, name: str) -> Repository:
        return Repository(id=1, full_name=name, public=False)

    async def waiting_runs(self, _repository: str) -> tuple[WaitingRun, ...]:
        raise AssertionError("no scan is due")

    async def run_jobs(self, _run: WaitingRun) -> tuple[WorkflowJob, ...]:
        raise AssertionError("no scan is due")

    async def open_jobs(self, _repository: str) -> tuple[WorkflowJob, ...]:
        raise AssertionError("no scan is due")

    async def is_fork(self, _repository: str, _run_id: int) -> bool:
        return False

    async def job(self, repository: str, job_id: int) -> WorkflowJob:
        self.asked.append(job_id)
        return a_job(job_id, repository=repository)


class RunPod:
    """An idle endpoint without requests. It notes what was read."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    async def health(self, endpoint: str) -> EndpointHealth:
        self.calls.append(endpoint)
        return EndpointHealth()

    async def status(self, _endpoint: str, request_id: str) -> Request:
        self.calls.append(request_id)
        if request_id == "unread":
            raise Unavailable("no answer")
        known = request_id == "known"
        return Request(id=request_id, status=RequestStatus.IN_QUEUE if known else RequestStatus.MISSING)


class QuietLog:
    """A delivery log in which nothing is new."""

    async def is_kept(self) -> bool:
        return True

    async def since(self, _at: float) -> tuple[Sent, ...]:
        return ()

    async def job(self, _delivery_id: int) -> WorkflowJob | None:
        raise AssertionError("nothing is new")


async def _nothing_known(_guids: Collection[str]) -> Collection[str]:
    return ()


def asked(*jobs: tuple[WorkflowJob, float], log: "QuietLog | None" = None, **memory: Any) -> list[int]:
    """The jobs that a resync at NOW looks up, of the known ones, each with when it was seen."""
    github = GitHub()
    remembered = Memory(
        jobs={job.id: (job, seen_at) for job, seen_at in jobs},
        submissions=(),
        known_deliveries=_nothing_known,
        **{"history": {}, "readings": SCANNED, **memory},
    )
    observer = Observer(SCOPE, github, RunPod(), log or QuietLog(), clock=lambda: NOW)
    seen = asyncio.run(observer.observe_all(remembered))
    assert not seen.problems
    return sorted(github.asked)


def test_a_job_without_news_is_looked_up_less_and_less_often() -> None:
    """Each time when it is twice as old as the last time: seven times in its first hour, not twice a minute."""
    new = a_job(1, created_at=NOW - SCOPE.timing.look_up_after - 1), NOW - SCOPE.timing.look_up_after - 1
    just_seen = a_job(2, created_at=NOW - 100), NOW - SCOPE.timing.look_up_after + 1
    seen_in_its_middle_age = a_job(3, created_at=NOW - 1000), NOW - 499
    long_unseen = a_job(4, created_at=NOW - 1000), NOW - 501
    running = a_job(5, status=JobStatus.IN_PROGRESS, created_at=NOW - 1000), NOW - 501
    jobs = (new, just_seen, seen_in_its_middle_age, long_unseen, running)
    assert asked(*jobs) == [1, 4, 5]


def test_a_job_whose_runner_ended_is_looked_up_at_once() -> None:
    """Before it gets another runner."""
    ended = JobHistory(generation=1, attempts=0, last_claim=NOW - 60, last_end=NOW - 5)
    assert asked((a_job(1, created_at=NOW - 90), NOW - 10), history={1: ended}) == [1]


def test_a_limited_number_of_jobs_is_looked_up_at_a_time_longest_unseen_first() -> None:
    jobs = [(a_job(n, created_at=NOW - 1000), NOW - 600 - n) for n in range(1, MOST_AGAIN + 51)]
    assert asked(*jobs) == list(range(51, MOST_AGAIN + 51))


class Missed(QuietLog):
    """A delivery log with a `queued` of each of these jobs that has not reached the bridge."""

    def __init__(self, *jobs: WorkflowJob) -> None:
        self._jobs = {job.id: job for job in jobs}

    async def since(self, _at: float) -> tuple[Sent, ...]:
        return tuple(
            Sent(id=n, guid=f"guid-{n}", event="workflow_job", action="queued", repository_id=1, at=NOW)
            for n in self._jobs
        )

    async def job(self, delivery_id: int) -> WorkflowJob | None:
        return self._jobs[delivery_id]


def test_a_job_in_progress_that_a_missed_event_says_is_queued_is_looked_up_in_the_same_pass() -> None:
    running = [(a_job(n, status=JobStatus.IN_PROGRESS, created_at=NOW - 60), NOW - 5) for n in (1, 2)]
    read = replace(SCANNED, place=Timed(NOW - 60, Place(until=NOW - 60)))
    log = Missed(a_job(1), a_job(3))
    assert asked(*running, log=log, readings=read) == [1, 3], "3 may have ended since, in a delivery not read"


def test_a_job_that_two_event_passes_doubt_is_looked_up_once() -> None:
    class Slow(GitHub):
        async def job(self, repository: str, job_id: int) -> WorkflowJob:
            await asyncio.sleep(0)
            return await super().job(repository, job_id)

    async def main() -> None:
        github = Slow()
        observer = Observer(SCOPE, github, RunPod(), None)
        doubted = [a_job(1, status=JobStatus.IN_PROGRESS)]
        seen = await asyncio.gather(*(observer.observe_some((), (), doubted) for _ in range(2)))
        assert github.asked == [1]
        assert sorted(len(each.jobs) for each in seen) == [0, 1]
        assert len((await observer.observe_some((), (), doubted)).jobs) == 1

    asyncio.run(main())


# --- RunPod ---


def readings_of(runpod: RunPod, *submissions: Submission, readings: Readings | None = None) -> Readings:
    """What a resync at NOW reads."""
    remembered = Memory(
        jobs={},
        submissions=submissions,
        readings=readings or SCANNED,
        known_deliveries=_nothing_known,
        history={},
    )
    return asyncio.run(
        Observer(SCOPE, GitHub(), runpod, QuietLog(), clock=lambda: NOW).observe_all(remembered)
    ).readings


def test_the_time_since_which_runpod_does_not_know_a_request_is_kept() -> None:
    rows = [a_submission(n, request_id=request) for n, request in enumerate(("new", "again", "known", "unread"))]
    before = {row.id: NOW - 50 for row in rows[1:]} | {"ended": NOW - 50}
    seen = readings_of(RunPod(), *rows, readings=replace(SCANNED, missing=Timed(NOW - 30, before)))
    assert seen.missing == Timed(NOW, {rows[0].id: NOW, rows[1].id: NOW - 50, rows[3].id: NOW - 50})
    assert readings_of(RunPod(), rows[2]).missing is None, "nothing is written if no request is missing"


def test_the_health_of_an_endpoint_is_read_before_its_requests() -> None:
    runpod = RunPod()
    readings_of(
        runpod, a_submission(1, State.UNKNOWN, request_id=None), a_submission(2, State.STARTED, request_id="known")
    )
    assert runpod.calls == ["ep-1", "known"]
    quiet = RunPod()
    readings_of(quiet, a_submission(2, State.STARTED, request_id="known"))
    assert quiet.calls == ["known"], "nobody needs to know its health"


@pytest.mark.parametrize(
    ("name", "online", "read"),
    [("runpod-1-1", False, {"ep-1"}), ("runpod-1-1", True, set()), ("builder", False, set())],
)
def test_health_is_read_if_an_offline_runner_is_unexplained(name: str, online: bool, read: set[str]) -> None:
    """Without a ledger only the endpoint tells whether there is still a request for it."""

    class WithRunner(GitHub):
        async def runners(self, _target: str) -> tuple[Runner, ...]:
            return (a_runner(name, online=online),)

    nothing = Memory(jobs={}, submissions=(), readings=SCANNED, history={}, known_deliveries=_nothing_known)
    observer = Observer(SCOPE, WithRunner(), RunPod(), QuietLog(), clock=lambda: NOW)
    seen = asyncio.run(observer.observe_all(nothing))
    assert seen.readings.health.keys() == read

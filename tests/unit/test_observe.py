"""What a look asks GitHub for: between two scans the delivery log tells, and little else is asked."""

import asyncio
from collections.abc import Collection
from typing import Any

import pytest

from bridge.decision import JobHistory, Look, LookKind
from bridge.model import EndpointHealth, JobStatus, Repository, Request, RequestStatus, Runner, Scope, Sent, WorkflowJob
from bridge.observe import LOOK_AGAIN, MOST_AGAIN, Memory, Observer
from tests.values import NOW, a_job, a_route, a_runner

SCOPE = Scope(
    owner="acme",
    organisation="acme",
    repositories=("acme/web",),
    routes=(a_route(),),
    prefix="runpod",
    web_url="https://github.example",
)


class GitHub:
    """It knows one organisation without runners, and notes which jobs it was asked about."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    async def runners(self, _target: str) -> tuple[Runner, ...]:
        return ()

    async def repositories(self, _owner: str) -> tuple[Repository, ...]:
        raise AssertionError("they are configured")

    async def open_jobs(self, _repository: str) -> tuple[WorkflowJob, ...]:
        raise AssertionError("no scan is due")

    async def is_fork(self, _repository: str, _run_id: int) -> bool:
        return False

    async def job(self, repository: str, job_id: int) -> WorkflowJob:
        self.asked.append(job_id)
        return a_job(job_id, repository=repository)


class RunPod:
    """An endpoint at rest."""

    async def health(self, _endpoint: str) -> EndpointHealth:
        return EndpointHealth()

    async def status(self, _endpoint: str, request_id: str) -> Request:
        return Request(id=request_id, status=RequestStatus.MISSING)


class QuietLog:
    """A delivery log in which nothing is new."""

    async def is_kept(self) -> bool:
        return True

    async def since(self, _at: float) -> tuple[Sent, ...]:
        return ()


async def _nothing_known(_guids: Collection[str]) -> Collection[str]:
    return ()


def asked(*jobs: tuple[WorkflowJob, float], **memory: Any) -> list[int]:
    """The jobs that a look at NOW asks about, of those known with when they were seen."""
    github = GitHub()
    remembered = Memory(
        jobs={job.id: (job, seen_at) for job, seen_at in jobs},
        submissions=(),
        looks=(Look(kind=LookKind.SCAN, key="", at=NOW - 60, value=None),),
        known_deliveries=_nothing_known,
        **{"history": {}, **memory},
    )
    observer = Observer(SCOPE, github, RunPod(), QuietLog(), clock=lambda: NOW)
    seen = asyncio.run(observer.look(remembered))
    assert not seen.problems
    return sorted(github.asked)


def test_a_job_that_nothing_was_heard_of_is_asked_about_ever_more_rarely() -> None:
    """Each time when it is twice as old as at the last: seven times in its first hour, not two a minute."""
    new = a_job(1, created_at=NOW - LOOK_AGAIN - 1), NOW - LOOK_AGAIN - 1
    just_seen = a_job(2, created_at=NOW - 100), NOW - LOOK_AGAIN + 1
    seen_in_its_middle_age = a_job(3, created_at=NOW - 1000), NOW - 499
    long_unseen = a_job(4, created_at=NOW - 1000), NOW - 501
    running = a_job(5, status=JobStatus.IN_PROGRESS, created_at=NOW - 1000), NOW - 501
    jobs = (new, just_seen, seen_in_its_middle_age, long_unseen, running)
    assert asked(*jobs) == [1, 4, 5]


def test_a_job_whose_runner_ended_is_asked_about_at_once() -> None:
    """Before it gets another."""
    ended = JobHistory(generation=1, attempts=0, last_claim=NOW - 60, last_end=NOW - 5)
    assert asked((a_job(1, created_at=NOW - 90), NOW - 10), history={1: ended}) == [1]


def test_so_many_are_asked_about_at_a_time_those_first_that_were_longest_unseen() -> None:
    jobs = [(a_job(n, created_at=NOW - 1000), NOW - 600 - n) for n in range(1, MOST_AGAIN + 51)]
    assert asked(*jobs) == list(range(51, MOST_AGAIN + 51))


@pytest.mark.parametrize(
    ("name", "online", "read"),
    [("runpod-1-1", False, {"ep-1"}), ("runpod-1-1", True, set()), ("builder", False, set())],
)
def test_health_is_read_where_a_runner_that_nothing_explains_is_offline(
    name: str, online: bool, read: set[str]
) -> None:
    """Without a ledger only the endpoint tells whether there is still a request for it."""

    class WithRunner(GitHub):
        async def runners(self, _target: str) -> tuple[Runner, ...]:
            return (a_runner(name, online=online),)

    scanned = Look(kind=LookKind.SCAN, key="", at=NOW - 60, value=None)
    nothing = Memory(jobs={}, submissions=(), looks=(scanned,), history={}, known_deliveries=_nothing_known)
    observer = Observer(SCOPE, WithRunner(), RunPod(), QuietLog(), clock=lambda: NOW)
    seen = asyncio.run(observer.look(nothing))
    assert {look.key for look in seen.looks if look.kind is LookKind.HEALTH} == read

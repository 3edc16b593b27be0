"""Events are acted on at once, however rare resyncs are: an event pass reads the runners that it needs."""

import asyncio
import time
from dataclasses import replace
from typing import Any

import pytest

from bridge.controller.reconcile import Reconciler
from bridge.core.history import Execution
from bridge.core.model import EndpointHealth, Event, JobStatus, Request, RequestStatus, Runner
from bridge.core.reference import Reference
from bridge.core.submissions import State
from bridge.core.timing import Timing
from bridge.core.worker import Credentials
from bridge.ledger import Ledger
from tests.support.values import a_job, a_route, a_runner
from tests.unit.controller.test_apply import SCOPE, Outside

HOURLY = replace(SCOPE, interval=3600.0)


class Counting(Outside):
    """It notes the targets whose runners were read, and may refuse to answer."""

    def __init__(self) -> None:
        super().__init__()
        self.jobs = []
        self.targets: list[str] = []
        self.in_queue = 0
        self.statuses = 0

    async def runners(self, target: str) -> tuple[Runner, ...]:
        self.targets.append(target)
        if error := self.refuse("runners"):
            raise error
        return tuple(a_runner(name, id=runner_id, online=False) for runner_id, name in self.registered.items())

    async def health(self, endpoint: str) -> EndpointHealth:
        return EndpointHealth(in_queue=self.in_queue)

    async def status(self, endpoint: str, request_id: str) -> Request:
        self.statuses += 1
        output = {"outcome": "completed", "seconds": {"job": 7.5}, "runner_version": "2.330.0"}
        return Request(
            id=request_id,
            status=RequestStatus.COMPLETED,
            output=output,
            delay=3.0,
            execution=9.0,
            worker_id="w1",
        )


class Events:
    """A service that receives events, with one resync an hour."""

    def __init__(self, database_url: str, scope: Any = HOURLY) -> None:
        self.outside = Counting()
        self.ledger = Ledger.open(database_url, self.outside.time)
        made: Any = self.outside
        self.reconciler = Reconciler(scope, made, made, self.ledger, None, clock=self.outside.time)

    async def hear(self, job_id: int, **given: Any) -> int:
        """A job is queued; how many runners the pass that hears of it asks for."""
        now = self.outside.now
        job = a_job(job_id, created_at=now, **given)
        event = Event(guid=f"guid-{job_id}", at=now, job=job)
        await self.ledger.transact(lambda transaction: transaction.hear([event]))
        return len((await self.reconciler.event_pass()).submitted)

    def run(self, main: Any) -> None:
        try:
            asyncio.run(main(self))
        finally:
            self.ledger.close()


@pytest.mark.parametrize("after", [0, Timing().list_stale + 1, 3000, 4000])
def test_an_event_is_acted_on_at_once_whatever_the_interval(database_url: str, after: float) -> None:
    async def main(service: Events) -> None:
        await service.reconciler.resync()
        service.outside.now += after
        assert await service.hear(1) == 1
        assert len(service.outside.targets) == 1 + (after > Timing().list_stale)
        assert await service.hear(2) == 1
        assert len(service.outside.targets) == 1 + (after > Timing().list_stale), "it has just been read"

    Events(database_url).run(main)


def test_an_event_is_acted_on_before_the_first_resync(database_url: str) -> None:
    async def main(service: Events) -> None:
        assert await service.hear(1) == 1

    Events(database_url).run(main)


def test_an_event_needs_no_call_if_no_job_is_queued(database_url: str) -> None:
    async def main(service: Events) -> None:
        await service.reconciler.event_pass()
        assert not service.outside.targets

    Events(database_url).run(main)


def test_only_repositories_with_queued_jobs_are_read(database_url: str) -> None:
    async def main(service: Events) -> None:
        assert await service.hear(1, repository="acme/Web") == 1
        assert service.outside.targets == ["repos/acme/web"]

    many = tuple(f"acme/r{number}" for number in range(200))
    Events(database_url, replace(HOURLY, organisation=None, repositories=("acme/Web", *many))).run(main)


def test_requests_of_a_lost_ledger_are_counted_before_an_event_submits_another(database_url: str) -> None:
    """In token modes only the endpoint's health shows them."""
    tokens = replace(HOURLY, routes=(a_route(credentials=Credentials.REGISTRATION),))

    async def main(service: Events) -> None:
        service.outside.now, service.outside.in_queue = time.time(), 1  # the ledger is new
        assert await service.hear(1) == 0

    Events(database_url, tokens).run(main)


def test_how_runpod_executed_a_request_is_known_although_a_webhook_ended_its_submission_first(
    database_url: str,
) -> None:
    """GitHub reports the end of the job before the worker has answered RunPod."""

    async def main(service: Events) -> None:
        assert await service.hear(1) == 1
        (submission,) = await service.ledger.read(lambda transaction: transaction.open_submissions())
        done = a_job(1, status=JobStatus.COMPLETED, conclusion="success", runner_name=submission.name)
        event = Event(guid="done", at=service.outside.now, job=done)
        await service.ledger.transact(lambda transaction: transaction.hear([event]))
        await service.reconciler.event_pass()
        assert not await service.ledger.read(lambda transaction: transaction.open_submissions())
        service.outside.statuses = 0
        for _ in range(2):
            await service.reconciler.event_pass([submission.id])
        (job,) = await service.ledger.read(lambda transaction: transaction.named(Reference(1, None)))
        (record,) = job.submissions
        assert record.execution == Execution(
            delay=3.0, execution=9.0, worker_id="w1", phases={"job": 7.5}, runner_version="2.330.0"
        )
        assert record.submission.state is State.FINISHED
        assert service.outside.statuses == 1, "a repeated callback costs no call"

    Events(database_url).run(main)

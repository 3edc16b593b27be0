"""Calls to GitHub for a busy organisation: most jobs run on GitHub's own runners, few on those of the bridge.

Virtual time: the bridge's clients call the emulated GitHub within this process, and the figures are the same each time.
"""

import asyncio
import json
import random
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any, TypeVar

import httpx
import sqlalchemy as sa
import structlog

from bridge.controller.reconcile import Reconciler
from bridge.core.model import Cancellation, EndpointHealth, Event, Request, RequestStatus
from bridge.core.scope import Route, Scope
from bridge.core.submissions import State, Submission
from bridge.core.worker import WorkerInput
from bridge.emulator.github import Budget, GitHubEmulator, GitHubState
from bridge.emulator.github.access import App
from bridge.emulator.github.deliveries import Answer, Delivery
from bridge.emulator.github.model import Job
from bridge.emulator.jobs import Gate, JobSpec, RunSpec
from bridge.github import payloads
from bridge.github.api import GitHub
from bridge.github.auth import AppAuth, AppKey
from bridge.github.deliveries import DeliveryLog
from bridge.github.timing import GitHubTiming
from bridge.ledger import Transaction, metadata, random_id
from bridge.ledger.database import connect
from bridge.ledger.rows import LastRead
from bridge.ledger.tables import meta
from tests.simulation.loop import START, VirtualLoop, run
from tests.support.github import GPU, a_run, a_spec, an_app
from tests.support.values import a_route

T = TypeVar("T")

HOUR = 3600.0
URL = "http://github.test"
REPOSITORIES = 10
HOSTED = ("ubuntu-latest",)
HOSTED_JOBS, OWN_JOBS, WAITING_RUNS = 1038, 12, 100
"""Jobs in an hour on GitHub's runners and on ours, and runs that wait for a review all the time."""

JOB, PICK_UP, BOOT = 300.0, 5.0, 60.0
"""s that each job runs, that GitHub's runners take to start, and that ours take."""

LATENCY = 0.1
"""s that each call takes."""

INTERVAL = 60.0
"""s between two resyncs."""

RATE_LIMIT = 5000
"""Calls per hour that GitHub allows."""


def hosted() -> Iterator[dict[str, Any]]:
    """Measure an hour with webhooks, with the App's delivery log alone, and with neither."""
    for source in ("webhook", "log", "scan"):
        random.seed(0)
        with structlog.testing.capture_logs():
            measured = run(partial(_hour, source=source))
        yield measured


async def _hour(loop: VirtualLoop, source: str) -> dict[str, Any]:
    services = _Services(loop, source)
    async with httpx.AsyncClient(transport=_Transport(services.emulator.asgi), follow_redirects=True) as http:
        bridge = _Bridge(services, http)
        services.hear = bridge.hear
        workload = asyncio.create_task(services.workload())
        while loop.now < HOUR:
            next_resync = loop.now + INTERVAL
            await bridge.reconciler.resync()
            await asyncio.sleep(max(0.0, next_resync - loop.now))
        await workload
        calls = bridge.github.calls
    waits = [services.served_at(job) - job.created_at for job in services.own]
    return {
        "bench": "hosted",
        "source": source,
        "jobs_per_hour": HOSTED_JOBS + OWN_JOBS,
        "own_jobs": len(waits),
        "waiting_runs": WAITING_RUNS,
        "calls_per_hour": calls["total"],
        "not_modified_per_hour": calls["not_modified"],
        "longest_wait_s": round(max(waits), 1),
    }


class _Transport(httpx.ASGITransport):
    """An HTTP transport whose calls take LATENCY."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(LATENCY)
        return await super().handle_async_request(request)


class _Services:
    """GitHub with an App whose events arrive by `source`, and RunPod whose workers start after BOOT."""

    def __init__(self, loop: VirtualLoop, source: str) -> None:
        self._loop, self._source = loop, source
        self.state = GitHubState(clock=self.clock)
        self.state.add_organisation("acme")
        for number in range(REPOSITORIES):
            self.state.add_repository(f"acme/r{number}")
        self.app: App = an_app(webhook_url=None if source == "scan" else "http://bridge.test/webhook")
        self.emulator = GitHubEmulator(self.state, self.app, Budget(calls=RATE_LIMIT))
        self.emulator.url = URL
        self.state.on_event = self._tell
        self.asked: dict[int, float] = {}  # job id -> when its first request was submitted
        self.own: list[Job] = []
        self.hear: Callable[[Event], None] = lambda _: None
        self._requests: dict[str, RequestStatus] = {}
        self._background: set[asyncio.Task[None]] = set()
        self._guids = count()

    def clock(self) -> float:
        return START + self._loop.now

    def served_at(self, job: Job) -> float:
        """When a request was submitted for a job or the job took another runner; now if neither has happened."""
        found = [at for at in (self.asked.get(job.id), job.started_at) if at is not None]
        return min(found, default=self.clock())

    async def workload(self) -> None:
        """Queue the runs of an hour."""
        for number in range(WAITING_RUNS):
            self._queue(number, a_spec("deploy", HOSTED, gate=Gate.REVIEW))
        ours = {round((number + 0.5) * HOSTED_JOBS / OWN_JOBS) for number in range(OWN_JOBS)}
        for number in range(HOSTED_JOBS):
            self._queue(number, a_spec("test", HOSTED))
            if number in ours:
                # Every other job is in a run with a deployment that waits for its review.
                deploy = (a_spec("deploy", HOSTED, gate=Gate.REVIEW),) * (len(self.own) % 2)
                self._queue(number, a_spec("train", GPU), *deploy)
            await asyncio.sleep(HOUR / HOSTED_JOBS)

    def _queue(self, number: int, *jobs: JobSpec) -> None:
        spec: RunSpec = a_run(*jobs)
        made = self.state.add_run(f"acme/r{number % REPOSITORIES}", spec)
        for job in made.jobs.values():
            if job.spec.labels == GPU:
                self.own.append(job)
            elif job.status == "queued":
                self._start(self._on_githubs_runner(job))

    async def _on_githubs_runner(self, job: Job) -> None:
        await asyncio.sleep(PICK_UP)
        self.state._queued.pop(job.id)
        job.status, job.started_at = "in_progress", self.clock()
        self.state.on_event("in_progress", job)
        await asyncio.sleep(JOB)
        self.state._conclude(job, "success")

    def _tell(self, action: str, job: Job) -> None:
        """Send an event, and add it to the delivery log."""
        if self._source == "scan":
            return
        payload = self.emulator.webhooks.payloads.workflow_job(action, job)
        guid = f"guid-{next(self._guids)}"
        delivery = Delivery(
            guid=guid,
            event="workflow_job",
            action=action,
            body=json.dumps(payload).encode(),
            installation_id=self.app.installation_id,
            repository_id=payload["repository"]["id"],
        )
        arrives = self._source == "webhook"
        answer = (
            Answer(status="OK", status_code=202, headers={}) if arrives else Answer.failed("failed to connect", 502)
        )
        self.emulator.webhooks.log.add(delivery, {}, answer, copy=False)
        if arrives:
            told = payloads.delivery("workflow_job", payload).job
            self.hear(Event(guid=guid, at=self.clock(), job=told))

    def _start(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    # --- RunPod ---

    async def prepare(self, endpoint: str) -> None: ...

    async def submit(self, endpoint: str, route: Route, worker_input: WorkerInput, callback: str | None) -> str:
        name = str(worker_input["runner_name"])
        job_id = int(re.sub(r"^.*-(\d+)-\d+$", r"\1", name))
        self.asked.setdefault(job_id, self.clock())
        self._requests[name] = RequestStatus.IN_QUEUE
        self._start(self._worker(name))
        return name

    async def _worker(self, name: str) -> None:
        await asyncio.sleep(BOOT)
        self._requests[name] = RequestStatus.IN_PROGRESS
        runner = next((r for r in self.state.runners_at("orgs/acme") if r.name == name), None)
        job = None
        if runner:
            self.state.open_session(runner, "2.338.0")
            job = self.state.assigned(runner)
        if runner and job:
            self.state.acquire(runner, job.id)
            for _ in range(int(JOB / 10)):
                await asyncio.sleep(10)
                self.state.renew(runner, job.id)
            self.state.complete(runner, job.id, "Succeeded", {}, "")
        self._requests[name] = RequestStatus.COMPLETED

    async def cancel(self, cancellation: Cancellation) -> None:
        self._requests[cancellation.request_id] = RequestStatus.CANCELLED

    async def status(self, endpoint: str, request_id: str) -> Request:
        status = self._requests[request_id]
        output: Mapping[str, object] | None = None
        if status is RequestStatus.COMPLETED:
            output = {"outcome": "completed", "result": "Succeeded"}
        return Request(id=request_id, status=status, output=output)

    async def health(self, endpoint: str) -> EndpointHealth:
        return EndpointHealth()


@dataclass
class _Ledger:
    """The ledger's transactions, without threads."""

    clock: Callable[[], float]
    engine: sa.Engine = field(default_factory=lambda: connect("sqlite://"))
    last_read: LastRead = field(default_factory=LastRead)

    def __post_init__(self) -> None:
        self._connection = self.engine.connect()
        with self._connection.begin():
            metadata.create_all(self._connection)
            self._connection.execute(sa.insert(meta).values(born=self.clock()))

    async def transact(self, work: Callable[[Transaction], T]) -> T:
        within = Transaction(self._connection, self.last_read, self.clock, random_id)
        with self._connection.begin(), within:
            return work(within)

    read = preview = transact

    async def advance(self, submission: Submission, to: State, **values: Any) -> bool:
        return await self.transact(lambda transaction: transaction.advance(submission, to, **values))


class _Bridge:
    """The real bridge with clients of the emulated services."""

    def __init__(self, services: _Services, http: httpx.AsyncClient) -> None:
        app, api_url, clock = services.app, services.emulator.api_url, services.clock
        timing = GitHubTiming(clock=clock)
        auth = AppAuth(
            http, api_url=api_url, issuer=app.client_id, key=AppKey.load(app.pem), owner=app.owner, timing=timing
        )
        self.github = GitHub(http, auth, api_url=api_url, timing=timing)
        self._ledger = _Ledger(clock)
        scope = Scope(
            owner="acme",
            organisation="acme",
            repositories=(),
            routes=(a_route(allow_forks=True),),
            prefix="runpod",
            web_url=URL,
        )
        self.reconciler = Reconciler(
            scope,
            self.github,
            services,
            self._ledger,
            DeliveryLog(auth),
            clock=clock,
        )
        self._passes: set[asyncio.Task[Any]] = set()

    def hear(self, event: Event) -> None:
        """Take a webhook and run an event pass."""
        task = asyncio.create_task(self._hear(event))
        self._passes.add(task)
        task.add_done_callback(self._passes.discard)

    async def _hear(self, event: Event) -> None:
        kept = event.job is not None and self.reconciler.keeps(event.job)
        job = event.job if kept else None
        await self._ledger.transact(
            lambda transaction: transaction.hear([Event(guid=event.guid, at=event.at, job=job)])
        )
        if kept:
            await self.reconciler.event_pass()

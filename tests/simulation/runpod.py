"""RunPod in virtual time: requests, endpoints that scale, and billed workers.

It follows facts/runpod.md ("Platform", "Worker side"), and shares no decision with the bridge.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

from bridge.core.model import EndpointHealth, RequestStatus
from bridge.core.model import Request as Shown
from bridge.core.scope import Route
from tests.simulation.scenario import Endpoint, value_at
from tests.simulation.worker import Killed, Session, Stopped

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

OPEN = frozenset({RequestStatus.IN_QUEUE, RequestStatus.IN_PROGRESS})


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What /status shows of a request from `at` (s) on."""

    at: float
    status: RequestStatus
    output: Mapping[str, object] | None = None
    error: str | None = None


@dataclass(eq=False)
class Request:
    """A request. `answers` is its history; the last one is its current state."""

    id: str
    endpoint: str
    route: Route
    input: Mapping[str, Any]
    callback: str | None
    owner: str
    submitted: float
    answers: list[Answer] = field(default_factory=list)
    workers: list["Worker"] = field(default_factory=list)

    @property
    def status(self) -> RequestStatus:
        return self.answers[-1].status

    @property
    def is_open(self) -> bool:
        return self.status in OPEN

    @property
    def counts(self) -> bool:
        """Whether it counts against max_workers: it is open, and its worker is not just stopping after a job."""
        ran = [w.session.ran for w in self.workers if w.session and w.session.ran]
        return self.is_open and not any(job.ended is not None for job in ran)

    @property
    def pool(self) -> tuple[str, str]:
        """The route, and the target where its runner registers."""
        path = str(self.input["runner_url"]).partition("://")[2].partition("/")[2]
        return self.route.name, f"repos/{path}" if "/" in path else f"orgs/{path}"


@dataclass(eq=False)
class Worker:
    """A container, billed from `started` until it stops. `given` is the request that it was started to repeat."""

    started: float
    given: Request | None = None
    state: str = "initializing"
    request: Request | None = None
    session: Session | None = None
    task: "asyncio.Task[None] | None" = None
    end: BaseException | None = None  # Killed or Stopped


class EndpointModel:
    """One endpoint."""

    def __init__(self, simulation: "Simulation", name: str, facts: Endpoint) -> None:
        self.name, self.facts, self._simulation = name, facts, simulation
        self.requests: list[Request] = []  # open requests, oldest first
        self.workers: list[Worker] = []
        self._news = asyncio.Event()
        for at, _ in (*facts.capacity, *facts.foreign):
            simulation.at(at, self.scale)

    @property
    def queue(self) -> list[Request]:
        return [r for r in self.requests if r.status is RequestStatus.IN_QUEUE]

    def _room(self) -> int:
        """How many workers of the bridge the quota and RunPod's capacity allow."""
        now = self._simulation.now
        machines = value_at(self.facts.capacity, now, float("inf"))
        return int(max(0, min(self.facts.workers_max, machines) - value_at(self.facts.foreign, now, 0)))

    def scale(self) -> None:
        """Start a worker for each waiting request that has none yet, within the limits."""
        self._news.set()
        self._news = asyncio.Event()
        free = sum(w.given is None and w.state in ("initializing", "idle") for w in self.workers)
        for _ in range(min(self._room() - len(self.workers), len(self.queue) - free)):
            self.start_worker(None)

    def start_worker(self, given: Request | None) -> None:
        """Start a worker, for the next request or for a given one."""
        worker = Worker(self._simulation.now, given)
        self.workers.append(worker)
        worker.task = self._simulation.spawn(self._live(worker))

    async def _live(self, worker: Worker) -> None:
        try:
            await asyncio.sleep(self.facts.cold_start)
            request = worker.given or await self._next(worker)
            if request and request.is_open:
                await self._serve(worker, request)
            worker.state = "stopping"
            await asyncio.sleep(self.facts.stop)
        finally:
            self.workers.remove(worker)
            self._simulation.worker_ended(self.name, worker)
            if not self._simulation.over:
                self.scale()

    async def _next(self, worker: Worker) -> Request | None:
        worker.state = "idle"
        until = self._simulation.now + self.facts.idle_timeout
        while not (waiting := self.queue):
            try:
                async with asyncio.timeout_at(until):
                    await self._news.wait()
            except TimeoutError:
                return None
        return waiting[0]

    async def _serve(self, worker: Worker, request: Request) -> None:
        runpod = self._simulation.runpod
        worker.state, worker.request = "running", request
        first = request.status is RequestStatus.IN_QUEUE
        request.workers.append(worker)
        if first:
            runpod.becomes(request, RequestStatus.IN_PROGRESS)
            self._simulation.later(request.route.execution_timeout, runpod.time_out, request)
            if self._simulation.occurs(self.facts.twice):
                self.start_worker(request)
        worker.session = Session(self._simulation, request, self.facts)
        ended = await self._until_ended(worker, worker.session)
        request.workers.remove(worker)
        if ended:
            runpod.becomes(request, *ended)
        elif isinstance(worker.end, Killed) and not request.workers:
            error = "worker exited"
            self._simulation.later(
                self.facts.vanished_after, runpod.becomes, request, RequestStatus.FAILED, None, error
            )

    async def _until_ended(self, worker: Worker, session: Session) -> tuple[Any, ...] | None:
        """The request's answer; None if the worker was stopped or died."""
        try:
            return await session.run()
        except Killed as killed:
            worker.end = killed
        except asyncio.CancelledError:
            if worker.end is None or worker.task is None:
                raise
            worker.task.uncancel()
        session.end(worker.end)
        return None

    def stop(self, request: Request, how: BaseException) -> None:
        """End a request's workers."""
        for worker in list(request.workers):
            if worker.task and worker.end is None:
                worker.end = how
                worker.task.cancel()

    def health(self) -> EndpointHealth:
        """The counts of /health, including `foreign` requests and their workers."""
        now, queued = self._simulation.now, len(self.queue)
        foreign = int(value_at(self.facts.foreign, now, 0))
        count_of = dict.fromkeys(("initializing", "idle", "running", "throttled"), 0)
        for worker in self.workers:
            state = "running" if worker.state == "stopping" else worker.state
            count_of[state] += 1
        count_of["running"] += foreign
        wanted = min(self.facts.workers_max - foreign, len(self.requests))
        count_of["throttled"] = max(0, wanted - max(len(self.workers), self._room()))
        return EndpointHealth(
            in_queue=queued + int(value_at(self.facts.foreign_queued, now, 0)),
            in_progress=len(self.requests) - queued + foreign,
            workers=count_of,
        )


class RunPodModel:
    """RunPod's API. All methods return at once."""

    def __init__(self, simulation: "Simulation") -> None:
        self._simulation = simulation
        self.facts = simulation.scenario.runpod
        self.endpoints: dict[str, EndpointModel] = {}
        self.requests: dict[str, Request] = {}
        self._ids = count(1)

    def endpoint(self, name: str) -> EndpointModel:
        if name not in self.endpoints:
            facts = self._simulation.scenario.endpoints.get(name, Endpoint())
            self.endpoints[name] = EndpointModel(self._simulation, name, facts)
        return self.endpoints[name]

    def submit(self, name: str, route: Route, given: Mapping[str, Any], callback: str | None, owner: str) -> str:
        """Accept a request."""
        endpoint = self.endpoint(name)
        request = Request(f"req-{next(self._ids)}", name, route, given, callback, owner, self._simulation.now)
        request.answers.append(Answer(at=self._simulation.now, status=RequestStatus.IN_QUEUE))
        self.requests[request.id] = request
        endpoint.requests.append(request)
        self._simulation.later(route.ttl, self._expire, request)
        self._simulation.submitted(request)
        endpoint.scale()
        return request.id

    def becomes(
        self,
        request: Request,
        status: RequestStatus,
        output: Mapping[str, object] | None = None,
        error: str | None = None,
    ) -> None:
        """Change a request, unless it has ended; when it ends, RunPod sends the callback."""
        if not request.is_open:
            return
        request.answers.append(Answer(at=self._simulation.now, status=status, output=output, error=error))
        if request.is_open:
            return
        self.endpoint(request.endpoint).requests.remove(request)
        if (
            request.callback
            and status is not RequestStatus.MISSING
            and not self._simulation.occurs(self.facts.callbacks_lost)
        ):
            self._simulation.later(
                self.facts.callback_delay, self._simulation.call_back, request.callback, request.owner
            )

    def time_out(self, request: Request) -> None:
        """The request's executionTimeout is over."""
        self._kill(request, RequestStatus.TIMED_OUT)

    def _expire(self, request: Request) -> None:
        # When ttl ends even a running request is deleted, and /status answers 404.
        self._kill(request, RequestStatus.MISSING)

    def _kill(self, request: Request, status: RequestStatus) -> None:
        if request.is_open:
            self.becomes(request, status)
            self.endpoint(request.endpoint).stop(request, Killed())

    def cancel(self, request_id: str) -> None:
        """Cancel a request; a request that has ended does not change."""
        request = self.requests.get(request_id)
        if request is None or not request.is_open:
            return
        if holding := next((w.session.holds for w in request.workers if w.session and w.session.holds), None):
            self._simulation.violated(f"request {request_id} was cancelled while its runner holds job {holding.name}")
        self.becomes(request, RequestStatus.CANCELLED)
        self.endpoint(request.endpoint).stop(request, Stopped())

    def status(self, request_id: str) -> Shown:
        """A request as /status shows it: late, and sometimes wrong."""
        request = self.requests.get(request_id)
        if request is None:
            return Shown(id=request_id, status=RequestStatus.MISSING)
        if request.status is RequestStatus.IN_PROGRESS:
            for false in self.facts.false_answers:
                if self._simulation.occurs((false,)):
                    return Shown(id=request_id, status=RequestStatus(false.status))
        seen = self._simulation.now - self.facts.status_lag
        answer = next((a for a in reversed(request.answers) if a.at <= seen), request.answers[0])
        if answer.status not in OPEN and seen > answer.at + self.facts.result_kept:
            return Shown(id=request_id, status=RequestStatus.MISSING)
        return Shown(id=request_id, status=answer.status, output=answer.output, error=answer.error)

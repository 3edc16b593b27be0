"""RunPod in a simulation: endpoints that start a worker for each request, within their limits.

It scales as REQUEST_COUNT with the value 1, and a worker serves one request:
https://docs.runpod.io/serverless/endpoints/endpoint-configurations
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from bridge.core.model import EndpointHealth, Request, RequestStatus
from bridge.simulation.clock import Clock

IDLE, STOP = 5.0, 2.0
"""s that a worker without a request is kept, and that a worker takes to stop. Both are billed."""


@dataclass(frozen=True, kw_only=True)
class EndpointFacts:
    """An endpoint.

    Args:
        workers_max: number of workers at a time.
        workers_min: number of workers that always run.
        cold_start: s from a worker's start until it takes a request; billed.
        capacity: (Unix seconds, workers): from then on, for how many workers RunPod has machines. Before the first
            step, for all. Workers that run are not stopped.
    """

    workers_max: int
    workers_min: int = 0
    cold_start: float = 60.0
    capacity: Sequence[tuple[float, int]] = ()


@dataclass(eq=False)
class SimulatedRequest:
    """A request; its runner's name tells which submission it belongs to."""

    id: str
    runner: str
    status: RequestStatus = RequestStatus.IN_QUEUE

    def shown(self) -> Request:
        """As `/status` shows it."""
        ended = self.status is RequestStatus.COMPLETED
        return Request(id=self.id, status=self.status, output={"outcome": "completed"} if ended else None)


@dataclass(eq=False)
class _Worker:
    started: float
    ready: bool = False
    leaving: bool = False
    request: SimulatedRequest | None = None


@dataclass(eq=False)
class Account:
    """What the endpoints of one account share: the quota of workers (None for no limit), and how many there are."""

    quota: int | None = None
    workers: int = 0
    scalers: list[Callable[[], None]] = field(default_factory=list)


class Endpoint:
    """One endpoint.

    Args:
        facts: how it behaves.
        clock: virtual time.
        account: that it belongs to.
        taken: called when a worker has taken a request.

    Attributes:
        paid: s that its workers have run that have stopped.
        most: the most workers at a time.
    """

    def __init__(
        self, facts: EndpointFacts, clock: Clock, account: Account, taken: Callable[[SimulatedRequest], None]
    ) -> None:
        self._facts, self._clock, self._account, self._taken = facts, clock, account, taken
        self._queue: list[SimulatedRequest] = []
        self._workers: list[_Worker] = []
        self.paid = 0.0
        self.most = 0
        account.scalers.append(self.scale)
        for at, _ in facts.capacity:
            clock.at(at, self.scale)
        clock.at(clock.now, self.scale)

    def submit(self, request: SimulatedRequest) -> None:
        """Queue a request."""
        self._queue.append(request)
        idle = next((w for w in self._workers if w.ready and w.request is None), None)
        if idle:
            self._take(idle)
        self.scale()

    def end(self, request: SimulatedRequest, status: RequestStatus) -> None:
        """End a request: its job is over, or it is cancelled."""
        request.status = status
        if request in self._queue:
            self._queue.remove(request)
        for worker in [w for w in self._workers if w.request is request]:
            worker.leaving = True
            self._clock.later(STOP, partial(self._stop, worker))
        self.scale()

    def health(self) -> EndpointHealth:
        """As `/health` shows it."""
        running, ready = self._running(), sum(w.ready and not w.leaving for w in self._workers)
        throttled = min(self._wanted(), self._facts.workers_max) - self._staying()
        workers = {
            "running": running,
            "ready": ready,
            "idle": ready - running,
            "initializing": sum(not w.ready for w in self._workers),
            "throttled": max(0, throttled),
        }
        return EndpointHealth(in_queue=len(self._queue), in_progress=running, workers=workers)

    def paid_until_now(self) -> float:
        """Seconds that its workers have run."""
        return self.paid + sum(self._clock.now - w.started for w in self._workers)

    def scale(self) -> None:
        """Start the workers that are wanted, within the limits."""
        most = min(self._facts.workers_max, self._machines())
        rooms = [self._wanted() - self._staying(), most - len(self._workers)]
        if self._account.quota is not None:
            rooms.append(self._account.quota - self._account.workers)
        for _ in range(min(rooms)):
            worker = _Worker(self._clock.now)
            self._workers.append(worker)
            self._account.workers += 1
            self._clock.later(self._facts.cold_start, partial(self._ready, worker))
        self.most = max(self.most, len(self._workers))

    def _wanted(self) -> int:
        return max(self._facts.workers_min, len(self._queue) + self._running())

    def _running(self) -> int:
        return sum(w.request is not None and not w.leaving for w in self._workers)

    def _staying(self) -> int:
        return sum(not w.leaving for w in self._workers)

    def _machines(self) -> int:
        steps = (workers for at, workers in reversed(self._facts.capacity) if at <= self._clock.now)
        return next(steps, self._facts.workers_max)

    def _ready(self, worker: _Worker) -> None:
        worker.ready = True
        if self._queue:
            self._take(worker)
        else:
            self._clock.later(IDLE, partial(self._stop_if_idle, worker))

    def _take(self, worker: _Worker) -> None:
        worker.request = request = self._queue.pop(0)
        request.status = RequestStatus.IN_PROGRESS
        self._taken(request)

    def _stop_if_idle(self, worker: _Worker) -> None:
        if worker.request is None and self._staying() > self._wanted():
            self._stop(worker)

    def _stop(self, worker: _Worker) -> None:
        if worker not in self._workers:
            return
        self._workers.remove(worker)
        self._account.workers -= 1
        self.paid += self._clock.now - worker.started
        for scale in self._account.scalers:
            scale()

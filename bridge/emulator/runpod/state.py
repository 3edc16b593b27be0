"""A model of RunPod serverless: endpoints, requests and workers. No HTTP, no processes.

What a call costs does not grow with the number of ended requests: benchmarks send thousands through one model.

https://docs.runpod.io/serverless/endpoints/send-requests
https://docs.runpod.io/serverless/endpoints/job-states
"""

import heapq
import secrets
import time
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from bridge.emulator.runpod.logs import Logs
from bridge.emulator.runpod.meter import Meter
from bridge.emulator.runpod.model import TERMINAL, EndpointConfig, Refused, Request, Worker

__all__ = ["TERMINAL", "EndpointConfig", "Refused", "Request", "RunPodState", "Worker"]

RESULTS_KEPT = 1800.0
"""s that a finished request can be looked up: https://docs.runpod.io/serverless/endpoints/send-requests"""

DEFAULT_EXECUTION_TIMEOUT, DEFAULT_TTL = 600_000, 86_400_000
"""ms: https://docs.runpod.io/serverless/endpoints/send-requests#execution-policies"""


OnEnd = Callable[[Request], None]
"""Called with a request that has reached a terminal state."""


def _ignore(_request: Request) -> None:
    """Ignore the end of a request."""


class RunPodState:
    """The whole model.

    Args:
        endpoints: by id.
        clock: Unix seconds.

    Attributes:
        quota: number of workers of all endpoints; None for no limit. RunPod: 5, and up to 60 depending on the balance.
        lose_next: number of accepted requests to lose.
        logs: of the live workers.
        double_next: number of requests to deliver twice, because RunPod delivers at least once.
    """

    def __init__(self, endpoints: Mapping[str, EndpointConfig], *, clock: Callable[[], float] = time.time) -> None:
        self.endpoints = dict(endpoints)
        self.clock = clock
        self.quota: int | None = None
        self.requests: dict[str, Request] = {}
        self.workers: dict[str, Worker] = {}
        self.workers_started = 0
        self.most_workers = 0
        self.lose_next = 0
        self.double_next = 0
        self.logs = Logs(clock)
        self.on_end: OnEnd = _ignore
        self.meter = Meter()
        self._queues: defaultdict[str, OrderedDict[str, Request]] = defaultdict(OrderedDict)
        self._open: defaultdict[str, dict[str, Request]] = defaultdict(dict)
        self._ended: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._due: list[tuple[float, str]] = []  # when to check which request, the earliest first

    # --- clients ---

    def submit(self, endpoint: str, body: Mapping[str, Any]) -> Request:
        """Queue a request."""
        self._known(endpoint)
        if "input" not in body:
            raise Refused(400, "input is required")
        policy = body.get("policy") or {}
        request = Request(
            id=f"{secrets.token_hex(4)}-{secrets.token_hex(2)}-{secrets.token_hex(6)}-u1",
            endpoint=endpoint,
            input=body["input"],
            execution_timeout=_within(policy, "executionTimeout", DEFAULT_EXECUTION_TIMEOUT, 5_000) / 1000,
            ttl=_within(policy, "ttl", DEFAULT_TTL, 10_000) / 1000,
            created_at=self.clock(),
            webhook=body.get("webhook"),
        )
        if self.lose_next:
            self.lose_next -= 1
            return request
        self.requests[request.id] = self._open[endpoint][request.id] = request
        self._queues[endpoint][request.id] = request
        self._check_at(request, request.created_at + request.ttl)
        return request

    def request(self, endpoint: str, request_id: str) -> Request:
        """Look up a request; an expired one is unknown."""
        self.tick()
        found = self.requests.get(request_id)
        if not found or found.endpoint != endpoint:
            raise Refused(404, "job not found")
        return found

    def shown(self, endpoint: str, request_id: str) -> tuple[Request, str]:
        """A request and the status that `/status` shows: it may be late, or refused with 404."""
        found, config = self.request(endpoint, request_id), self.endpoints[endpoint]
        if found.status in config.hides:
            raise Refused(404, "job not found")
        return found, found.status_at(self.clock() - config.status_lag)

    def end_early(self, request: Request, status: str, error: str | None = None) -> None:
        """End a request although its worker continues and is not told."""
        self._end(request, status, error)

    def cancel(self, endpoint: str, request_id: str) -> Request:
        """Cancel a request; its worker is told to stop."""
        request = self.request(endpoint, request_id)
        if request.status not in TERMINAL:
            self._end(request, "CANCELLED")
            self._stop(request)
        return request

    def health(self, endpoint: str) -> dict[str, dict[str, int]]:
        """The numbers of requests and workers."""
        self._known(endpoint)
        self.tick()
        ended, unended = self._ended[endpoint], list(self._open[endpoint].values())
        queued = sum(r.status == "IN_QUEUE" for r in unended)
        workers = [w for w in list(self.workers.values()) if w.endpoint == endpoint]
        running = sum(w.request is not None for w in workers)
        others_queued, others_in_progress = self.endpoints[endpoint].others
        return {
            "jobs": {
                "completed": ended["COMPLETED"],
                "failed": ended["FAILED"] + ended["TIMED_OUT"],
                "inProgress": len(unended) - queued + others_in_progress,
                "inQueue": queued + others_queued,
                "retried": ended["retried"] + sum(len(r.workers) > 1 for r in unended),
            },
            "workers": {
                "idle": sum(w.ready and w.request is None for w in workers),
                "initializing": sum(not w.ready for w in workers),
                "ready": sum(w.ready for w in workers),
                "running": running,
                "throttled": self.throttled(endpoint),
                "unhealthy": self.endpoints[endpoint].unhealthy,
            },
        }

    # --- workers ---

    def throttled(self, endpoint: str) -> int:
        """Number of workers that are wanted and that RunPod has no machine for."""
        return max(0, self._wanted(endpoint) - self._machines(endpoint))

    def add_worker(self, endpoint: str) -> Worker:
        """Add a worker, which starts to initialise."""
        now = self.clock()
        worker = Worker(id=secrets.token_hex(7), endpoint=endpoint, idle_since=now, created_at=now)
        self.workers[worker.id] = worker
        self.logs.open(worker.id)
        self.workers_started += 1
        self.most_workers = max(self.most_workers, len(self.workers))
        return worker

    def started(self, worker: Worker) -> None:
        """The container of a worker has started: from now on it is billed."""
        if worker.billed_from is None:
            worker.billed_from = self.clock()

    def remove_worker(self, worker: Worker) -> None:
        """Remove a worker; its request is delivered again or fails."""
        if self.workers.pop(worker.id, None):
            self.meter.stop(worker, self.clock())
        self.logs.close(worker.id)
        request, worker.request = worker.request, None
        if request is None or request.status in TERMINAL or self._holders(request):
            return
        if self.endpoints[worker.endpoint].redeliver:
            request.change("IN_QUEUE", self.clock())
            self._queues[request.endpoint][request.id] = request
            self._queues[request.endpoint].move_to_end(request.id, last=False)
        else:
            self._end(request, "FAILED", error="worker exited unexpectedly")

    def take(self, worker_id: str) -> Request | None:
        """Give the oldest request to a worker that has none."""
        worker = self._worker(worker_id)
        worker.ready = True
        self.started(worker)
        self.tick()
        request = self.next_request(worker.endpoint)
        if not request or worker.leaving or worker.request:
            return None
        request.workers.append(worker.id)
        if self.double_next and len(request.workers) == 1:
            self.double_next -= 1  # it stays queued, so a second worker gets it, too
        else:
            del self._queues[request.endpoint][request.id]
        if request.started_at is None:
            request.started_at = self.clock()
            self._check_at(request, request.started_at + request.execution_timeout)
        request.change("IN_PROGRESS", self.clock())
        worker.request = request
        return request

    def queued(self, endpoint: str) -> int:
        """Number of deliveries that wait for a worker."""
        return len(self._queues[endpoint])

    def next_request(self, endpoint: str) -> Request | None:
        """The request that the endpoint's next free worker gets."""
        return next(iter(self._queues[endpoint].values()), None)

    def withhold(self, request: Request) -> None:
        """Give a request to no worker, so that it stays IN_QUEUE."""
        self._queues[request.endpoint].pop(request.id, None)

    def stops(self, worker_id: str) -> list[str]:
        """The requests that a worker must stop; each is returned once."""
        worker = self._worker(worker_id)
        requests, worker.to_stop = worker.to_stop, []
        return requests

    def done(self, worker_id: str, request_id: str, result: Mapping[str, Any]) -> None:
        """Accept a worker's progress or answer."""
        worker = self._worker(worker_id)
        request = self.requests.get(request_id)
        if result.get("status") == "IN_PROGRESS":
            if request and request.status == "IN_PROGRESS":
                request.output = result.get("output")
            return
        worker.request, worker.idle_since = None, self.clock()
        worker.leaving = worker.leaving or bool(result.get("stopPod"))
        if request and request.status not in TERMINAL:
            request.output = result.get("output")
            self._end(request, "FAILED" if result.get("error") else "COMPLETED", error=result.get("error"))

    # --- time ---

    def tick(self) -> None:
        """Let time pass: enforce executionTimeout and ttl, and drop old requests."""
        now = self.clock()
        while self._due and now > self._due[0][0]:
            _, request_id = heapq.heappop(self._due)
            if request := self.requests.get(request_id):
                self._age(request, now)

    def _age(self, request: Request, now: float) -> None:
        if now > request.created_at + request.ttl:
            if request.status not in TERMINAL:
                self._end(request, "TIMED_OUT")
                self._stop(request)
            self._drop(request)
        elif request.ended_at is not None:
            if now > request.ended_at + RESULTS_KEPT:
                self._drop(request)
        elif request.started_at is not None and now > request.started_at + request.execution_timeout:
            self._end(request, "TIMED_OUT", error="job timed out")
            self._stop(request)

    def _check_at(self, request: Request, at: float) -> None:
        heapq.heappush(self._due, (at, request.id))

    def _drop(self, request: Request) -> None:
        del self.requests[request.id]
        ended = self._ended[request.endpoint]
        ended[request.status] -= 1
        ended["retried"] -= len(request.workers) > 1

    def wanted(self, endpoint: str) -> int:
        """Number of workers that the scaler REQUEST_COUNT with value 1 wants, and that RunPod has machines for."""
        self.tick()
        return min(self._wanted(endpoint), self._machines(endpoint))

    def room(self, endpoint: str) -> int:
        """Number of workers that may start in addition to the existing ones."""
        mine = sum(worker.endpoint == endpoint for worker in self.workers.values())
        rooms = [self.endpoints[endpoint].workers_max - mine, self._machines(endpoint) - mine]
        if self.quota is not None:
            rooms.append(self.quota - len(self.workers))
        return max(0, min(rooms))

    def _wanted(self, endpoint: str) -> int:
        delivered_again = sum(r.status == "IN_PROGRESS" for r in list(self._queues[endpoint].values()))
        return min(self.endpoints[endpoint].workers_max, len(self._open[endpoint]) + delivered_again)

    def _machines(self, endpoint: str) -> int:
        config = self.endpoints[endpoint]
        return config.workers_max if config.capacity is None else config.capacity

    def idle_workers(self, endpoint: str) -> Iterator[Worker]:
        """The workers that have been idle for longer than the endpoint keeps them."""
        limit = self.clock() - self.endpoints[endpoint].idle_timeout
        for worker in self.workers.values():
            if worker.endpoint == endpoint and worker.ready and worker.request is None and worker.idle_since < limit:
                yield worker

    def _end(self, request: Request, status: str, error: str | None = None) -> None:
        if request.status in TERMINAL:
            return
        request.change(status, self.clock())
        request.error, request.ended_at = error, self.clock()
        self._queues[request.endpoint].pop(request.id, None)
        self._open[request.endpoint].pop(request.id, None)
        ended = self._ended[request.endpoint]
        ended[status] += 1
        ended["retried"] += len(request.workers) > 1
        self._check_at(request, request.ended_at + RESULTS_KEPT)
        self.on_end(request)

    def _stop(self, request: Request) -> None:
        """Tell the workers of a request to stop. After an answer, a second worker of the same request continues."""
        for worker in self._holders(request):
            worker.to_stop.append(request.id)
            worker.leaving = True

    def _holders(self, request: Request) -> list[Worker]:
        """The workers that have a request: two if it was delivered twice."""
        known = [self.workers.get(name) for name in request.workers]
        return [worker for worker in known if worker and worker.request is request]

    def _known(self, endpoint: str) -> None:
        if endpoint not in self.endpoints:
            raise Refused(404, "endpoint not found")

    def _worker(self, worker_id: str) -> Worker:
        if worker_id not in self.workers:
            raise Refused(404, "worker not found")
        return self.workers[worker_id]


def _within(policy: Mapping[str, Any], key: str, default: int, least: int) -> float:
    value = policy.get(key, default)
    if not isinstance(value, int | float) or not least <= value <= 604_800_000:
        raise Refused(400, f"policy.{key} must be between {least} and 604800000 ms")
    return float(value)

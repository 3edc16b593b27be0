"""Runs a trace through the bridge's decisions and the models of GitHub and RunPod."""

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count

from bridge.core.actions import Claim, Plan, Withdrawal
from bridge.core.model import JobStatus, RequestStatus, Runner, WorkflowJob
from bridge.core.naming import runner_labels
from bridge.core.plan import plan
from bridge.core.scope import Route
from bridge.core.snapshot import Snapshot
from bridge.core.timing import Timing
from bridge.errors import ConfigError
from bridge.simulation.clock import START, Clock
from bridge.simulation.cloud import Account, Endpoint, EndpointFacts, SimulatedRequest
from bridge.simulation.ledger import Ledger
from bridge.simulation.result import Result, Served
from bridge.simulation.trace import Arrival

PREFIX, OWNER, REPOSITORY = "runpod", "simulated", "simulated/jobs"
TARGET = f"orgs/{OWNER}"

QUEUE_LIMIT = 86_400.0
"""s after which GitHub fails a job that no runner has taken:
https://docs.github.com/en/actions/reference/limits#existing-system-limits"""

LISTEN = 5.0
"""s from the time when a worker takes a request until its runner listens."""

GAP = 1.0
"""s: events that are closer together are handled in one pass. In production, webhooks and calls take about as long."""


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What is simulated.

    Args:
        routes: in the order of the configuration. A job runs on a runner of its own route only.
        endpoints: by id, those that the routes name.
        worker_quota: of the account; None for no limit.
        interval: s between two passes while anything is open.
        timing: how long the bridge waits.
    """

    routes: tuple[Route, ...]
    endpoints: Mapping[str, EndpointFacts]
    worker_quota: int | None = None
    interval: float = 30.0
    timing: Timing = field(default_factory=Timing)


def simulate(setup: Setup, arrivals: Sequence[Arrival]) -> Result:
    """Run a trace until its last job has ended.

    The same arguments give the same result.

    Args:
        setup: what serves the jobs.
        arrivals: the jobs, sorted by time.

    Raises:
        ConfigError: a job names a route that does not exist.
    """
    names = {route.name for route in setup.routes}
    if unknown := next((each.route for each in arrivals if each.route not in names), None):
        raise ConfigError(f"no route is called {unknown}; the trace and the configuration must name the same routes")
    return _Simulation(setup, arrivals).run()


class _Simulation:
    """A running simulation."""

    def __init__(self, setup: Setup, arrivals: Sequence[Arrival]) -> None:
        self._setup = replace(setup, routes=tuple(map(_distinct, setup.routes)))
        self._clock = Clock()
        self._account = Account(quota=setup.worker_quota)
        self._routes = {route.name: route for route in self._setup.routes}
        self._endpoints = {
            name: Endpoint(facts, self._clock, self._account, self._taken) for name, facts in setup.endpoints.items()
        }
        self._ledger = Ledger()
        self._jobs: dict[int, WorkflowJob] = {}  # not completed, or their submission is not over
        self._left = len(arrivals)  # jobs that have not ended
        self._queues: defaultdict[str, deque[int]] = defaultdict(deque)  # by route, ids of queued jobs
        self._idle: defaultdict[str, deque[str]] = defaultdict(deque)  # by route, names of runners without a job
        self._runners: dict[str, Runner] = {}
        self._requests: dict[str, SimulatedRequest] = {}
        self._served: list[Served] = []
        self._arrivals = dict(enumerate(arrivals, start=1))
        self._runner_ids = count(1)
        self._pass_at: float | None = None  # of the next pass that is on the agenda
        self._passes = 0
        self._unserved = 0
        first = arrivals[0].at if arrivals else 0.0
        for number, each in self._arrivals.items():
            self._clock.at(START + each.at - first, partial(self._queue, number))

    def run(self) -> Result:
        """Run to the end of the last job."""
        while self._left and self._clock.step():
            pass
        return Result(
            served=tuple(self._served),
            paid={name: endpoint.paid_until_now() for name, endpoint in self._endpoints.items()},
            most_workers={name: endpoint.most for name, endpoint in self._endpoints.items()},
            moves=tuple(self._ledger.moves),
            passes=self._passes,
            unserved=self._unserved,
        )

    # --- GitHub ---

    def _queue(self, number: int) -> None:
        arrival = self._arrivals[number]
        route = self._routes[arrival.route]
        self._jobs[number] = WorkflowJob(
            id=number,
            run_id=number,
            repository=REPOSITORY,
            name=arrival.route,
            labels=tuple(sorted(route.labels)),
            status=JobStatus.QUEUED,
            created_at=self._clock.now,
            fork=False,
        )
        self._queues[route.name].append(number)
        self._clock.later(QUEUE_LIMIT, partial(self._give_up, number))
        self._assign(route.name)
        self._wake()

    def _give_up(self, number: int) -> None:
        job = self._jobs.get(number)
        if job is None or job.status is not JobStatus.QUEUED:
            return
        self._jobs[number] = replace(job, status=JobStatus.COMPLETED, conclusion="failure")
        self._queues[job.name].remove(number)
        self._left -= 1
        self._unserved += 1
        self._wake()

    def _assign(self, route: str) -> None:
        """Give the oldest queued jobs to runners that listen."""
        while self._queues[route] and self._idle[route]:
            number, name = self._queues[route].popleft(), self._idle[route].popleft()
            runner = self._runners[name] = replace(self._runners[name], busy=True)
            self._jobs[number] = replace(
                self._jobs[number],
                status=JobStatus.IN_PROGRESS,
                runner_id=runner.id,
                runner_name=name,
                started_at=self._clock.now,
            )
            self._clock.later(self._arrivals[number].seconds, partial(self._complete, number, name))

    def _complete(self, number: int, runner: str) -> None:
        job = self._jobs[number]
        self._jobs[number] = replace(
            job, status=JobStatus.COMPLETED, conclusion="success", completed_at=self._clock.now
        )
        del self._runners[runner]
        submission = self._ledger.open[runner]
        self._endpoints[submission.endpoint].end(self._requests[runner], RequestStatus.COMPLETED)
        self._left -= 1
        self._served.append(
            Served(
                route=job.name,
                endpoint=submission.endpoint,
                queued=job.created_at - START,
                waited=(job.started_at or 0.0) - job.created_at,
                ran=self._arrivals[number].seconds,
            )
        )
        self._wake()

    # --- RunPod ---

    def _taken(self, request: SimulatedRequest) -> None:
        self._clock.later(LISTEN, partial(self._listen, request))

    def _listen(self, request: SimulatedRequest) -> None:
        runner = self._runners.get(request.runner)
        if runner is None or request.status is not RequestStatus.IN_PROGRESS:
            return
        self._runners[runner.name] = replace(runner, online=True)
        route = self._ledger.open[runner.name].pool.route
        self._idle[route].append(runner.name)
        self._assign(route)
        self._wake()

    # --- the bridge ---

    def _wake(self) -> None:
        """Have a pass soon."""
        self._pass_by(self._clock.now + GAP)

    def _pass_by(self, at: float) -> None:
        if self._pass_at is None or at < self._pass_at:
            self._pass_at = at
            self._clock.at(at, partial(self._pass, at))

    def _pass(self, at: float) -> None:
        if self._pass_at != at:
            return  # an earlier pass has replaced it
        self._pass_at = None
        self._passes += 1
        self._carry_out(plan(self._snapshot(), self._clock.now))
        if self._left:
            self._pass_by(self._clock.now + self._setup.interval)

    def _snapshot(self) -> Snapshot:
        now = self._clock.now
        health = {name: endpoint.health() for name, endpoint in self._endpoints.items()}
        return Snapshot(
            began=now,
            at=now,
            runners_read_at=now,
            ledger_born=START - 10**6,
            knows_since=START - 10**6,
            prefix=PREFIX,
            organisation=OWNER,
            routes=self._setup.routes,
            jobs=tuple(self._jobs.values()),
            seen_at=dict.fromkeys(self._jobs, now),
            submissions=tuple(self._ledger.open.values()),
            history=self._ledger.history,
            runners={TARGET: tuple(self._runners.values())},
            runners_at={TARGET: now},
            requests={name: self._requests[name].shown() for name in self._ledger.open},
            health=health,
            health_at=dict.fromkeys(health, now),
            starvations=self._ledger.starvations(now - self._setup.timing.starved_kept),
            workers_max={name: facts.workers_max for name, facts in self._setup.endpoints.items()},
            worker_quota=self._setup.worker_quota,
            timing=self._setup.timing,
        )

    def _carry_out(self, planned: Plan) -> None:
        for transition in planned.transitions:
            self._ledger.advance(transition.submission, transition.to, self._clock.now, transition.reason)
        over = [
            job.id
            for job in self._jobs.values()
            if job.status is JobStatus.COMPLETED and job.runner_name not in self._ledger.open
        ]
        for number in over:
            del self._jobs[number]
        self._ledger.forget(over)
        for claim in planned.claims:
            self._submit(claim)
        for withdrawal in planned.withdrawals:
            self._withdraw(withdrawal)

    def _submit(self, claim: Claim) -> None:
        route, now = self._routes[claim.pool.route], self._clock.now
        runner_id = next(self._runner_ids)
        labels = tuple(runner_labels(route, PREFIX, now))
        self._runners[claim.name] = Runner(id=runner_id, name=claim.name, online=False, busy=False, labels=labels)
        self._ledger.claim(claim, route, runner_id, now)
        request = self._requests[claim.name] = SimulatedRequest(claim.name, claim.name)
        self._endpoints[claim.endpoint].submit(request)

    def _withdraw(self, withdrawal: Withdrawal) -> None:
        """GitHub refuses to delete a runner that has a job."""
        submission = self._ledger.open[withdrawal.submission.name]
        runner = self._runners[submission.name]
        if runner.busy:
            return
        del self._runners[submission.name]
        idle = self._idle[submission.pool.route]
        if submission.name in idle:
            idle.remove(submission.name)
        self._endpoints[submission.endpoint].end(self._requests[submission.name], RequestStatus.CANCELLED)
        self._ledger.advance(submission, withdrawal.to, self._clock.now, withdrawal.reason)


def _distinct(route: Route) -> Route:
    """The same route with labels that no other route has, for all repositories: the trace names each job's route."""
    return replace(route, labels=frozenset({f"simulated-{route.name.lower()}"}), repositories=frozenset())

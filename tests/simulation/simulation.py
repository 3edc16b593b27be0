"""A simulation: the models, the dispatchers, virtual time, and the counts.

`simulate(Scenario(...))` runs it and returns an `Outcome`. The same scenario gives the same outcome.
"""

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Coroutine
from itertools import count
from typing import Any

from bridge.core.model import RequestStatus
from tests.simulation import loop as virtual
from tests.simulation.drivers import Driver
from tests.simulation.github import GitHubModel, Job
from tests.simulation.isolation import isolated
from tests.simulation.ledger import Store
from tests.simulation.outcome import JobRecord, Outcome, WorkerRecord
from tests.simulation.runpod import Request, RunPodModel, Worker
from tests.simulation.scenario import Scenario, Window


def simulate(scenario: Scenario) -> Outcome:
    """Run a scenario.

    Raises:
        AssertionError: a rule was broken: a job ran twice, a request was cancelled while its runner held a job,
            more requests were open than a route's max_workers.
    """
    outcome = measure(scenario)
    assert not outcome.violations, "\n".join((*outcome.violations[:10], outcome.summary()))
    return outcome


def measure(scenario: Scenario) -> Outcome:
    """Run a scenario; broken rules are in the outcome's `violations`."""

    async def main(loop: virtual.VirtualLoop) -> Outcome:
        simulation = Simulation(scenario, loop)
        with isolated(simulation):
            return await simulation.run()

    return virtual.run(main)


class Simulation:
    """A running simulation.

    Args:
        scenario: its parameters.
        loop: the event loop with virtual time.
    """

    def __init__(self, scenario: Scenario, loop: virtual.VirtualLoop) -> None:
        self.scenario, self._loop = scenario, loop
        self.random = random.Random(scenario.seed)
        self.over = False
        self.violations: list[str] = []
        self.problems: Counter[str] = Counter()
        self.ledgers: dict[str, Store] = {}
        self._ids = count(1)
        self._errors: list[BaseException] = []
        self._calls: Counter[tuple[str, str]] = Counter()
        self._open: dict[tuple[str, str], list[Request]] = defaultdict(list)
        self._most_open: Counter[tuple[str, str]] = Counter()
        self._ended: list[WorkerRecord] = []
        loop.set_exception_handler(self._failed)
        self.github = GitHubModel(self)
        self.runpod = RunPodModel(self)
        self.drivers = {d.name: Driver(self, d) for d in scenario.dispatchers}

    def new_id(self) -> str:
        """An id for a submission; each run of the simulation makes the same."""
        return f"{next(self._ids):032x}"

    async def run(self) -> Outcome:
        """Run the scenario to its end."""
        for driver in self.drivers.values():
            self.at(driver.facts.starts, driver.start)
        for spec in self.scenario.runs:
            self.at(spec.at, self.github.start, spec)
        for act in self.scenario.acts:
            self.at(act.at, act.do, self)
        await asyncio.sleep(self.scenario.seconds)
        self.over = True
        for store in self.ledgers.values():
            self.violations += store.broken_histories()
            store.close()
        if self._errors:
            raise self._errors[0]
        return self._outcome()

    # --- time and random choices ---

    @property
    def now(self) -> float:
        """s since the simulation began."""
        return self._loop.now

    def later(self, seconds: float, do: Callable[..., object], *args: object) -> None:
        """Do something after `seconds`."""
        self._loop.call_later(seconds, do, *args)

    def at(self, when: float, do: Callable[..., object], *args: object) -> None:
        """Do something at `when` (s)."""
        self._loop.call_at(when, do, *args)

    def spawn(self, running: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Run a task; if it fails, the simulation fails."""
        task = self._loop.create_task(running)
        task.add_done_callback(self._finished)
        return task

    def within(self, windows: Collection[Window]) -> bool:
        """Whether one of `windows` is open now."""
        return any(window.at <= self.now < window.until for window in windows)

    def occurs(self, windows: Collection[Window]) -> bool:
        """Whether something that `windows` describe happens now; random by their `chance`."""
        return any(w.at <= self.now < w.until and (w.chance >= 1 or self.random.random() < w.chance) for w in windows)

    def _finished(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()):
            self.failed(error)

    def _failed(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.failed(context.get("exception") or RuntimeError(context["message"]))

    def failed(self, error: BaseException) -> None:
        """Let the simulation fail with this error."""
        if not self.over:
            self._errors.append(error)

    # --- events ---

    def submitted(self, request: Request) -> None:
        """RunPod has accepted a request: check the limit of its route."""
        driver = self.drivers.get(request.owner)
        key = (driver.facts.ledger if driver else request.owner, request.route.name)
        self._open[key] = [*(r for r in self._open[key] if r.counts), request]
        count = len(self._open[key])
        self._most_open[key] = max(self._most_open[key], count)
        if count > request.route.max_workers:
            limit = request.route.max_workers
            self.violated(f"route {request.route.name} has {count} requests open at max_workers {limit}")

    def worker_ended(self, endpoint: str, worker: Worker) -> None:
        """A worker has stopped."""
        if not self.over:
            self._ended.append(self._record(endpoint, worker))

    def call_back(self, url: str, owner: str) -> None:
        """RunPod sends a callback to a dispatcher: a request has ended."""
        if owner in self.drivers:
            self.drivers[owner].call_back(url)

    def violated(self, what: str) -> None:
        """A rule was broken."""
        self.violations.append(f"at {self.now:.0f} s: {what}")

    def count(self, owner: str, kind: str, calls: int = 1) -> None:
        """A dispatcher has made calls."""
        self._calls[owner, kind] += calls

    # --- result ---

    def _outcome(self) -> Outcome:
        running = [self._record(name, w) for name, e in self.runpod.endpoints.items() for w in e.workers]
        return Outcome(
            seconds=self.now,
            workers=(*self._ended, *running),
            jobs=tuple(map(_job, self.github.jobs.values())),
            calls=dict(self._calls),
            most_open=dict(self._most_open),
            problems=dict(self.problems),
            violations=tuple(self.violations),
        )

    def _record(self, endpoint: str, worker: Worker) -> WorkerRecord:
        request, session = worker.request, worker.session
        ran = session.ran if session else None
        useful = session.useful if session else 0.0
        if ran and ran.started is not None and not useful:  # it still runs
            useful = self.now - ran.started
        return WorkerRecord(
            endpoint=endpoint,
            route=request.pool[0] if request else None,
            target=request.pool[1] if request else None,
            asked_for=self._asked_for(request) if request else None,
            ran=ran.name if ran else None,
            outcome=str(RequestStatus(request.status)) if request else None,
            started=worker.started,
            ended=self.now,
            useful=useful,
        )

    def _asked_for(self, request: Request) -> str | None:
        """The job that a request's runner is named after: PREFIX-JOB-GENERATION."""
        numbers = [part for part in str(request.input["runner_name"]).split("-") if part.isdecimal()]
        job = self.github.jobs.get(int(numbers[-2])) if len(numbers) >= 2 else None
        return job.name if job else None


def _job(job: Job) -> JobRecord:
    return JobRecord(
        name=job.name,
        repository=job.repository,
        queued=job.queued,
        started=job.started,
        ended=job.ended,
        conclusion=job.conclusion,
        executions=job.executions,
    )

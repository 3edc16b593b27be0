"""Runs the bridge in the ways that a user can: a service with its loop, or passes from cron, each a new process."""

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from bridge.controller.reconcile import Reconciler
from bridge.controller.report import Report
from bridge.core.model import Event, WorkflowJob
from bridge.core.routing import is_kept
from bridge.core.scope import Scope
from bridge.errors import BridgeError
from bridge.github.clock import GitHubClock
from bridge.service.loop import LoopTiming
from bridge.service.loop import Service as Loop
from tests.simulation.ledger import LedgerPort, Store
from tests.simulation.loop import START
from tests.simulation.ports import DeliveryLogPort, GitHubPort, RunPodPort
from tests.simulation.scenario import Cron, Dispatcher, Service, value_at

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

PUBLIC_URL, CALLBACK_KEY = "https://bridge.example", "a key for the simulation"


class Driver:
    """One deployment.

    Args:
        simulation: where it runs.
        facts: its configuration.
    """

    def __init__(self, simulation: "Simulation", facts: Dispatcher) -> None:
        self._simulation, self.facts = simulation, facts
        self._service: Loop | None = None
        self._ledger: LedgerPort | None = None
        self._begin()

    def clock(self) -> float:
        """Unix seconds by the clock that its process uses."""
        return self._clock()

    def _of_machine(self) -> float:
        now = self._simulation.now
        return START + now + value_at(self.facts.skew, now, 0.0)

    def start(self) -> None:
        """Start the service or the first pass."""
        runs = self.facts.runs
        self._simulation.spawn(self._serve(runs) if isinstance(runs, Service) else self._repeat(runs))

    def _begin(self) -> None:
        """Start a new process, which first knows only the time of its machine's clock."""
        self._clock = GitHubClock(self._of_machine, lambda: self._simulation.now)
        self._github = GitHubPort(self._simulation, self.facts.name, self._clock)

    async def _serve(self, runs: Service) -> None:
        await self._github.learn_time()
        self._ledger = LedgerPort(self._store(), self.clock)
        timing = LoopTiming(clock=self.clock)
        self._service = Loop(self._reconciler(self._ledger), self._ledger, self, interval=runs.interval, timing=timing)
        if self.facts.webhooks:
            self._simulation.github.subscribers.append(self._hear)
        await self._service.run(asyncio.Event())

    async def _repeat(self, runs: Cron) -> None:
        kept = LedgerPort(self._store(), self.clock) if runs.keeps_ledger else None
        while True:
            began = self._simulation.now
            self._begin()
            await self._github.learn_time()
            ledger = kept or LedgerPort(Store(self.clock(), self._simulation.new_id), self.clock)
            reconciler = self._reconciler(ledger)
            try:
                self._note(await reconciler.resync())
            except BridgeError as error:
                self._simulation.problems[str(error)] += 1
            if not runs.keeps_ledger:
                ledger.store.close()
            await asyncio.sleep(max(0.0, began + runs.interval - self._simulation.now))

    def _store(self) -> Store:
        ledgers = self._simulation.ledgers
        if self.facts.ledger not in ledgers:
            ledgers[self.facts.ledger] = Store(self.clock(), self._simulation.new_id)
        return ledgers[self.facts.ledger]

    def _reconciler(self, ledger: LedgerPort) -> Reconciler:
        simulation, name = self._simulation, self.facts.name
        log = DeliveryLogPort(simulation, name) if self.facts.delivery_log else None
        runpod = RunPodPort(simulation, name)
        return Reconciler(
            self.scope(), self._github, runpod, ledger, log, clock=self.clock, timer=lambda: simulation.now
        )

    def scope(self) -> Scope:
        """The scope of its configuration."""
        facts = self.facts
        answers = isinstance(facts.runs, Service) and facts.callbacks
        owner = facts.organisation or facts.repositories[0].partition("/")[0]
        return Scope(
            owner=owner,
            organisation=facts.organisation,
            repositories=facts.repositories,
            routes=facts.routes,
            prefix=facts.prefix,
            web_url="https://github.com",
            public_url=PUBLIC_URL if answers else None,
            callback_key=CALLBACK_KEY if answers else None,
            full_scan_every=facts.full_scan_every,
        )

    # --- webhooks and callbacks ---

    def _hear(self, guid: str, job: WorkflowJob) -> None:
        """Take a delivery, as the service does. A delivery does not say whether the run is from a fork."""
        if not self._service or not self._ledger or not is_kept(job, self.scope()):
            return
        event = Event(guid=guid, at=self.clock(), job=replace(job, fork=None))
        if self._ledger.store.run(lambda transaction: transaction.hear([event]), self.clock):
            self._service.wake()

    def call_back(self, url: str) -> None:
        """Take a callback of RunPod."""
        if self._service:
            self._service.request_ended(url.removeprefix(PUBLIC_URL).split("/")[2])

    # --- bridge.service.loop.Recorder ---

    def passed(self, kind: str, report: Report) -> None:
        self._note(report)

    def failed(self, kind: str) -> None: ...

    def resynced(self, at: float) -> None: ...

    def _note(self, report: Report) -> None:
        self._simulation.problems.update(map(str, report.problems))

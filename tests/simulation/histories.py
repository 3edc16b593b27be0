"""Random scenarios: anything may fail for a while, then an ordinary job must be served.

`history(seed)` is a scenario of three parts: trouble until TROUBLE, rest until CANARY, then the job canary-0.
What GitHub never dispatches stays queued to the end.
"""

import random
from collections.abc import Sequence
from typing import TypeVar

from bridge.core.scope import Route
from bridge.core.worker import Credentials
from tests.simulation.scenario import (
    HOUR,
    Act,
    Cron,
    Dispatcher,
    Endpoint,
    FalseAnswer,
    GitHub,
    Run,
    RunPod,
    Scenario,
    Service,
    Steps,
    Window,
)
from tests.simulation.simulation import Simulation
from tests.support.values import a_route

TROUBLE, CANARY, END = 1.0 * HOUR, 2.5 * HOUR, 3.25 * HOUR
"""s. All other jobs have had the time to run before, even on few workers."""

REPOSITORIES = ("acme/a", "acme/b")

T = TypeVar("T")


def history(seed: int) -> Scenario:
    """A random scenario; the same for the same seed."""
    return _Drawing(seed).scenario()


class _Drawing:
    def __init__(self, seed: int) -> None:
        self._seed, self._random = seed, random.Random(seed)

    def scenario(self) -> Scenario:
        return Scenario(
            seconds=END,
            runs=(*(self._run(n) for n in range(self._random.randint(2, 5))), self._canary()),
            dispatchers=self._dispatchers(),
            github=self._github(),
            runpod=self._runpod(),
            endpoints={"ep-1": self._endpoint()},
            acts=self._acts(),
            seed=self._seed,
        )

    def _often(self, chance: float) -> bool:
        return self._random.random() < chance

    def _one(self, values: Sequence[T]) -> T:
        return self._random.choice(values)

    def _windows(self, likely: float, *, longest: float = 1_800.0, chance: float = 1.0) -> tuple[Window, ...]:
        """Perhaps a period in which something goes wrong."""
        if not self._often(likely):
            return ()
        at = self._random.uniform(0.0, TROUBLE - 60.0)
        return (Window(at=at, until=min(TROUBLE, at + self._random.uniform(30.0, longest)), chance=chance),)

    def _canary(self) -> Run:
        return Run(name="canary", at=CANARY, repository=REPOSITORIES[0])

    def _run(self, n: int) -> Run:
        jobs = self._random.randint(1, 3)
        return Run(
            name=f"run{n}",
            at=self._random.uniform(1.0, TROUBLE),
            jobs=jobs,
            repository=self._one(REPOSITORIES),
            seconds=self._random.uniform(20.0, 300.0),
            max_parallel=self._one((None, None, 1, 2)),
            dispatched=not self._often(0.15),
            kills_worker=self._one((None,) * 6 + (15.0,)),
            waiting=self._one((0, 0, 0, 1)),
            approved=self._random.uniform(60.0, TROUBLE),
            cancelled=self._random.uniform(10.0, 600.0) if self._often(0.15) else None,
        )

    def _routes(self) -> tuple[Route, ...]:
        mode = self._one((Credentials.JIT, Credentials.JIT, Credentials.REGISTRATION, Credentials.APP))
        return (a_route(max_workers=self._random.randint(2, 6), credentials=mode),)

    def _dispatchers(self) -> tuple[Dispatcher, ...]:
        routes, alone = self._routes(), self._often(0.6)
        choices: tuple[Service | Cron, ...] = (
            Service(),
            Service(),
            Service(interval=120.0),
            Cron(interval=60.0),
            Cron(interval=120.0, keeps_ledger=False),
        )
        runs = self._one(choices)
        repositories = () if self._often(0.5) else REPOSITORIES
        shared = self._often(0.5) or not (isinstance(runs, Service) or runs.keeps_ledger)
        webhooks, log = self._often(0.7), self._often(0.3)
        return tuple(
            Dispatcher(
                name=name,
                routes=routes,
                runs=runs,
                organisation=None if repositories else "acme",
                repositories=repositories,
                ledger="ledger" if shared or alone else name,
                webhooks=webhooks,
                delivery_log=log,
                starts=starts,
                skew=self._skew(),
            )
            for name, starts in ((("bridge", 0.0),) if alone else (("bridge", 0.0), ("other", 13.0)))
        )

    def _skew(self) -> Steps:
        return self._one(((),) * 5 + (((0.0, 600.0),), ((0.0, -600.0),), ((0.0, 600.0), (0.75 * HOUR, 0.0))))

    def _github(self) -> GitHub:
        return GitHub(
            reap=(120.0, 360.0) if self._often(0.4) else None,
            outages=self._windows(0.3),
            unavailable=self._windows(0.3, longest=600.0),
            webhooks_lost=self._windows(0.4, longest=TROUBLE, chance=0.5),
            webhooks_twice=self._windows(0.3, longest=TROUBLE, chance=0.5),
            webhook_delay=self._one((1.0, 1.0, 20.0)),
            skew=self._skew(),
        )

    def _runpod(self) -> RunPod:
        false = tuple(
            FalseAnswer(at=w.at, until=w.until, status=self._one(("MISSING", "FAILED")))
            for w in self._windows(0.3, longest=180.0)
        )
        return RunPod(
            status_lag=self._one((0.0, 0.0, 5.0, 30.0)),
            false_answers=false,
            answer_lost=self._windows(0.3, chance=0.7),
            answer_never=self._windows(0.3, chance=0.7),
            unavailable=self._windows(0.2, longest=600.0),
            callbacks_lost=self._windows(0.5, longest=TROUBLE, chance=0.5),
        )

    def _endpoint(self) -> Endpoint:
        capacity: Steps = ((600.0, self._random.randint(0, 2)), (TROUBLE, 100.0)) if self._often(0.3) else ()
        foreign: Steps = ((300.0, 1.0), (TROUBLE, 0.0)) if self._often(0.2) else ()
        return Endpoint(
            workers_max=self._random.randint(2, 6),
            cold_start=self._random.uniform(10.0, 240.0),
            capacity=capacity,
            foreign=foreign,
            crashes=self._windows(0.3, chance=0.5),
            vanishes=self._windows(0.2, chance=0.5),
            cut_off=self._windows(0.2, chance=0.5),
            twice=self._windows(0.3, longest=TROUBLE, chance=0.3),
            skew=self._skew(),
        )

    def _acts(self) -> tuple[Act, ...]:
        """Perhaps the ledger is lost, or restored from a copy."""

        def on_ledger(change: str) -> Act:
            def do(simulation: Simulation) -> None:
                for store in simulation.ledgers.values():
                    store.lose(simulation.drivers["bridge"].clock()) if change == "lose" else getattr(store, change)()

            return Act(at=self._random.uniform(300.0, TROUBLE), do=do)

        kind = self._one(("",) * 6 + ("lose", "restore"))
        if kind == "restore":
            earlier, later = sorted((on_ledger("save"), on_ledger("save")), key=lambda act: act.at)
            return (earlier, Act(at=later.at, do=on_ledger("restore").do))
        return (on_ledger(kind),) if kind else ()

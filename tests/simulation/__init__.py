"""Simulations: an independent model of GitHub and RunPod in virtual time drives the real reconciler and service.

    outcome = simulate(
        Scenario(
            seconds=DAY,
            runs=(Run(name="stuck", dispatched=False),),
            dispatchers=(Dispatcher(routes=(a_route(max_workers=10),)),),
        )
    )
    assert outcome.paid() <= 2 * HOUR

The models follow the vendors' documentation and share no decision with the bridge, so that they can disagree with it.
A day of one service takes seconds. The same scenario gives the same outcome.

| module | holds |
|---|---|
| scenario | the parameters of a simulation: `Scenario`, `Run`, `GitHub`, `RunPod`, `Endpoint`, `Dispatcher`, `Act` |
| simulation | `simulate` and `measure`; time, chance and accounting |
| outcome | `Outcome`: billed workers, jobs and their waits, calls, violations |
| github, runpod, worker | the models |
| ports, ledger, drivers | the bridge's readers and writers on the models, its ledger, and the ways to run it |
| loop, isolation | virtual time; the bridge's modules without this machine's time, chance and log |
| scenarios | scenarios that tests and benchmarks share |
"""

from tests.simulation.outcome import GPU_HOUR, JobRecord, Outcome, WorkerRecord
from tests.simulation.scenario import (
    DAY,
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
    Window,
)
from tests.simulation.simulation import Simulation, measure, simulate

__all__ = [
    "DAY",
    "GPU_HOUR",
    "HOUR",
    "Act",
    "Cron",
    "Dispatcher",
    "Endpoint",
    "FalseAnswer",
    "GitHub",
    "JobRecord",
    "Outcome",
    "Run",
    "RunPod",
    "Scenario",
    "Service",
    "Simulation",
    "Window",
    "WorkerRecord",
    "measure",
    "simulate",
]

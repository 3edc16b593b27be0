"""A day for bridge.simulation: ten routes on four endpoints whose capacity comes and goes."""

import random

from bridge.core.scope import Route
from bridge.simulation.clock import START
from bridge.simulation.cloud import EndpointFacts
from bridge.simulation.run import Setup
from bridge.simulation.trace import Arrival
from tests.support.values import a_route

DAY, HOUR = 86_400.0, 3_600.0
ENDPOINTS = ("ep-1", "ep-2", "ep-3", "ep-4")
WORKERS = 40


def a_day(*, jobs: int, seconds: float = DAY, seed: int = 1) -> tuple[Setup, list[Arrival]]:
    """The set-up, in which each route names three endpoints, and the arrivals.

    Each endpoint loses all its capacity for 10 minutes to an hour, every two to six hours. The same arguments give the
    same day.
    """
    chance = random.Random(seed)
    capacity = {endpoint: _capacity(chance, seconds) for endpoint in ENDPOINTS}
    arrivals = sorted(
        Arrival(chance.uniform(0, seconds), f"route-{chance.randrange(10)}", chance.lognormvariate(5.3, 0.7))
        for _ in range(jobs)
    )
    facts = {name: EndpointFacts(workers_max=WORKERS, capacity=steps) for name, steps in capacity.items()}
    return Setup(routes=tuple(map(_route, range(10))), endpoints=facts), arrivals


def _route(number: int) -> Route:
    endpoints = [ENDPOINTS[(number + place) % 4] for place in range(3)]
    return a_route(name=f"route-{number}", labels=(f"label-{number}",), endpoints=endpoints, max_workers=30)


def _capacity(chance: random.Random, seconds: float) -> tuple[tuple[float, int], ...]:
    steps = []
    at = chance.uniform(0, 3 * HOUR)
    while at < seconds:
        steps.append((START + at, 0))
        at += chance.uniform(600, HOUR)
        steps.append((START + at, WORKERS))
        at += chance.uniform(2 * HOUR, 6 * HOUR)
    return tuple(steps)

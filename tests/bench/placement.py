"""Fallback to other endpoints in a simulated day, by the bridge's own decisions. Every run gives the same figures."""

from dataclasses import replace
from time import perf_counter
from typing import Any

from bridge.simulation.run import simulate
from tests.support.simulated import DAY, a_day


def placement(*, jobs: int = 5_000, seconds: float = DAY) -> dict[str, Any]:
    """Measure a day in which the capacity of four endpoints comes and goes, with fallback and without."""
    began = perf_counter()
    setup, arrivals = a_day(jobs=jobs, seconds=seconds)
    preferred = tuple(replace(route, endpoints=route.endpoints[:1]) for route in setup.routes)
    found, without = simulate(setup, arrivals), simulate(replace(setup, routes=preferred), arrivals)
    return {
        "bench": "placement",
        "jobs": jobs,
        "served": len(found.served),
        "wait_p50_s": round(found.wait(0.5), 1),
        "wait_p50_without_s": round(without.wait(0.5), 1),
        "wait_p95_s": round(found.wait(0.95), 1),
        "wait_p95_without_s": round(without.wait(0.95), 1),
        "paid_s": round(found.paid_seconds),
        "paid_without_s": round(without.paid_seconds),
        "moves": len(found.moves),
        "passes": found.passes + without.passes,
        "seconds": round(perf_counter() - began, 1),
    }

"""Time from sending a webhook to receiving the RunPod request, with services that answer at once.

Both ends are read off the emulators, which share one clock: GitHub's log of deliveries, RunPod's requests.
"""

import asyncio
import gc
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bridge.emulator.github.state import Job
from tests.bench.figures import percentile_ms
from tests.support.background import until
from tests.support.emulators import Emulators, emulators
from tests.support.github import a_run
from tests.support.service import running_service

SENDERS = 16
"""Deliveries that GitHub sends at the same time."""

SINGLES = 100
WARM_UP = 20


def webhook_to_submit() -> Iterator[dict[str, Any]]:
    """Measure single jobs one after the other, and bursts."""
    with tempfile.TemporaryDirectory() as home, emulators(Path(home)) as made, Path(home, "log").open("w") as log:
        made.github.webhooks.slots = asyncio.Semaphore(SENDERS)
        # No job ends here. A resync would disturb the measurement, so there is none.
        with running_service(made, log=log, BRIDGE_INTERVAL="3600", BRIDGE_MAX_WORKERS="100000"):
            for _ in range(WARM_UP):
                _burst(made, 1)
            _freeze_emulators()
            yield {"bench": "webhook_to_submit", **_figures(1, [_burst(made, 1) for _ in range(SINGLES)])}
            for size in (100, 1000):
                yield {"bench": "webhook_to_submit", **_figures(size, [_burst(made, size)])}


def _freeze_emulators() -> None:
    """They share this process. Python's garbage collector would stop them for 0.08 s while it scans what exists now."""
    gc.collect()
    gc.freeze()


def _figures(burst: int, found: list[list[tuple[float, float]]]) -> dict[str, Any]:
    """From (sent, received) of each job: the wait of a job and the time for a burst (of several, the longest)."""
    waits = [received - sent for each in found for sent, received in each]
    wholes = [max(received for _, received in each) - min(sent for sent, _ in each) for each in found]
    return {
        "burst": burst,
        "times": len(found),
        "p50_ms": percentile_ms(waits, 0.5),
        "p99_ms": percentile_ms(waits, 0.99),
        "whole_s": round(max(wholes), 3),
    }


def _burst(made: Emulators, size: int) -> list[tuple[float, float]]:
    """Queue `size` jobs at once; returns when each webhook was sent and when its request was received."""
    state = made.github.state
    asked = len(made.runpod.state.requests)
    jobs = [state.add_run("acme/web", a_run()).jobs["build"] for _ in range(size)]
    until(lambda: len(made.runpod.state.requests) == asked + size and not made.github.webhooks.pending, seconds=120)
    time.sleep(0.05)  # the bridge records the answers; nothing outside shows when it has done so
    return _times(made, jobs)


def _times(made: Emulators, jobs: list[Job]) -> list[tuple[float, float]]:
    received = {_job_of(r.input["runner_name"]): r.created_at for r in made.runpod.state.requests.values()}
    told, _ = made.github.webhooks.log.newest(None, len(jobs))
    sent = {each.delivery.subject: each.delivered_at - each.duration for each in told}
    return [(sent[job.id], received[job.id]) for job in jobs]


def _job_of(runner_name: str) -> int:
    return int(runner_name.split("-")[-2])

"""Thousands of jobs from queued to finished, and the memory and disk space that the service uses after them."""

import asyncio
import os
import sqlite3
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from bridge.emulator.github import Limits
from bridge.emulator.github.state import Job
from bridge.emulator.runpod.state import TERMINAL
from tests.support.background import until
from tests.support.emulators import Emulators, emulators
from tests.support.github import a_github, a_run
from tests.support.service import running_service

JOBS = int(os.environ.get("BENCH_JOBS", "3600"))
WORKERS = 100
WARM_UP = 200
SENDERS = 16
"""Deliveries that GitHub sends at the same time."""


def throughput() -> dict[str, Any]:
    """Measure JOBS jobs, all queued at once, after a warm-up."""
    patient = a_github(limits=Limits(pickup=600.0, heartbeat=600.0))
    with (
        tempfile.TemporaryDirectory() as home,
        emulators(Path(home), state=patient, instant={}, workers_max=WORKERS) as made,
        Path(home, "log").open("w") as log,
    ):
        made.github.webhooks.slots = asyncio.Semaphore(SENDERS)
        with running_service(made, log=log, BRIDGE_MAX_WORKERS=str(WORKERS)) as service:
            process = psutil.Process(service.process.pid)
            _finish(made, _queue(made, WARM_UP))
            before, stored = _standing(process), _stored(made.ledger)
            began = time.monotonic()
            jobs = _queue(made, JOBS)
            until(lambda: jobs[JOBS // 2].status == "completed", seconds=900)
            halfway = _standing(process)
            _finish(made, jobs)
            seconds = time.monotonic() - began
            after = _standing(process)
            bytes_each = (_stored(made.ledger) - stored) / JOBS
    return {
        "bench": "throughput",
        "jobs": JOBS,
        "max_workers": WORKERS,
        "seconds": round(seconds, 1),
        "jobs_per_s": round(JOBS / seconds, 1),
        **{f"{name}_start": value for name, value in before.items()},
        **{f"{name}_halfway": value for name, value in halfway.items()},
        **{f"{name}_end": value for name, value in after.items()},
        "db_bytes_per_job": round(bytes_each),
    }


def _queue(made: Emulators, count: int) -> list[Job]:
    """Queue jobs, each in its own run."""
    return [made.github.state.add_run("acme/web", a_run()).jobs["build"] for _ in range(count)]


def _finish(made: Emulators, jobs: list[Job]) -> None:
    """Wait until all jobs have ended and no runner or open request is left."""
    until(lambda: jobs[-1].status == "completed" and _over(made), seconds=900)
    assert {job.conclusion for job in jobs} == {"success"}
    assert {len(job.executions) for job in jobs} == {1}


def _over(made: Emulators) -> bool:
    waiting = made.github.state.runners or made.github.webhooks.pending or made.runpod.callbacks.pending
    return not waiting and all(r.status in TERMINAL for r in list(made.runpod.state.requests.values()))


def _standing(process: psutil.Process) -> dict[str, Any]:
    return {"rss_mb": round(process.memory_info().rss / 2**20, 1), "open_files": process.num_fds()}


def _stored(ledger: Path) -> int:
    """Bytes that the database uses in its file and in its write-ahead log."""
    connection = sqlite3.connect(ledger)
    try:
        pages, free, size = (
            connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * size)
    finally:
        connection.close()

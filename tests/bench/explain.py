"""`bridge explain` of one job, in a ledger with 10,000 finished and 500 open jobs."""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from typing import Any

from bridge.commands.composition import composed
from bridge.core.reference import Reference
from bridge.core.story import outlook, story
from tests.bench.dashboard import a_large_ledger
from tests.bench.figures import percentile_ms
from tests.support import ROOT
from tests.support.dashboard import a_config

JOB = 1
TIMES = 20


def explain(*, finished: int, queued: int) -> dict[str, Any]:
    """Measure the reading and the telling of one waiting job, and the whole command with its start."""
    with tempfile.TemporaryDirectory() as home:
        ledger = a_large_ledger(home, finished, queued)
        told = asyncio.run(_told(ledger.url))
        commands = [_command(ledger.url) for _ in range(5)]
    return {
        "bench": "explain",
        "finished_jobs": finished,
        "open_jobs": queued + 1,
        "story_p50_ms": percentile_ms(told, 0.5),
        "command_p50_ms": percentile_ms(commands, 0.5),
    }


async def _told(url: str) -> list[float]:
    seconds = []
    async with composed(a_config(url), dry_run=True) as bridge:
        for _ in range(TIMES):
            began = time.perf_counter()
            (record,) = await bridge.ledger.read(
                lambda transaction: transaction.named(Reference(run_id=None, job_id=JOB))
            )
            decision = await bridge.reconciler.explain()
            assert story(record, outlook(decision.plan, JOB, bridge.scope.endpoint_names), bridge.clock()).steps
            seconds.append(time.perf_counter() - began)
    return seconds


def _command(url: str) -> float:
    environment = {
        "PATH": os.environ["PATH"],
        "GITHUB_ORG": "acme",
        "GITHUB_PAT": "ghp_secretpersonaltoken",
        "RUNPOD_API_KEY": "rp_secret_key",
        "RUNPOD_ENDPOINT_ID": "ep-l4",
        "BRIDGE_DATABASE_URL": url,
    }
    began = time.perf_counter()
    command = [sys.executable, "-m", "bridge", "explain", str(JOB)]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    return time.perf_counter() - began

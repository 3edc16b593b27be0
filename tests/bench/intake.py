"""Deliveries per second that are stored, compared with the ceiling: the same HTTP server without a ledger.

The deliveries tell of jobs that are completed and were never queued: each is a new row, and nothing is left to do.
"""

import json
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.bench.figures import percentile_ms
from tests.bench.load import JOB_ID
from tests.support import ROOT
from tests.support.background import until
from tests.support.emulators import Emulators, emulators
from tests.support.github import a_run
from tests.support.service import SECRET, free_port, running_service

ROUNDS = 8
REQUESTS = {1: 100, 16: 300, 64: 500}
"""Requests in a round, by number of connections."""


def intake() -> Iterator[dict[str, Any]]:
    """Measure with 1, 16 and 64 connections."""
    with tempfile.TemporaryDirectory() as home, emulators(Path(home)) as made, Path(home, "log").open("w") as log:
        template = _template(made)
        with running_service(made, log=log, BRIDGE_INTERVAL="3600") as service, _ceiling(made) as ceiling:
            urls = {"ceiling": ceiling, "durable": service.url}
            for connections, requests in REQUESTS.items():
                yield _measured(urls, template, connections, requests)


def _measured(urls: dict[str, str], template: str, connections: int, requests: int) -> dict[str, Any]:
    given = {
        "urls": urls,
        "template": template,
        "secret": SECRET,
        "connections": connections,
        "requests": requests,
        "rounds": ROUNDS,
    }
    command = [sys.executable, "-m", "tests.bench.load"]
    done = subprocess.run(command, cwd=ROOT, input=json.dumps(given), capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    rates = {name: len(each["each"]) / each["seconds"] for name, each in found.items()}
    return {
        "bench": "intake",
        "connections": connections,
        "payload_bytes": len(template),
        "acks": requests * ROUNDS,
        "acks_per_s": round(rates["durable"]),
        "p50_ms": percentile_ms(found["durable"]["each"], 0.5),
        "p99_ms": percentile_ms(found["durable"]["each"], 0.99),
        "ceiling_acks_per_s": round(rates["ceiling"]),
        "of_ceiling": round(rates["durable"] / rates["ceiling"], 2),
    }


def _template(made: Emulators) -> str:
    """A `completed` event as GitHub sends it."""
    state = made.github.state
    job = state.add_run("acme/web", a_run()).jobs["build"]
    state.cancel_job(job)
    payload = made.github.webhooks.payloads.workflow_job("completed", job)
    return json.dumps(payload, separators=(",", ":")).replace(f'"id":{job.id},', f'"id":{JOB_ID},')


@contextmanager
def _ceiling(made: Emulators) -> Iterator[str]:
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "tests.bench.ceiling", str(port)], cwd=ROOT, env=made.environment)
    try:
        until(lambda: process.poll() is not None or _listens(port))
        assert process.poll() is None
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0

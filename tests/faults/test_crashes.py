"""`kill -9` of the dispatcher at every single write of a job's whole life, and a restart."""

import multiprocessing
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.faults import victim
from tests.faults.deployment import WORKERS, Deployment, deployment
from tests.support.background import until
from tests.support.effort import FULL, tried
from tests.support.service import SECRET, free_port

JOBS = 2
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["runpod", "tests.faults.victim"])


@contextmanager
def dispatcher(made: Deployment, url: str, *, fatal: int = 0) -> Iterator[tuple[BaseProcess, Connection]]:
    """Passes in a process of their own; nothing of it is left after the block."""
    ours, theirs = CONTEXT.Pipe()
    given = {"BRIDGE_DATABASE_URL": url, "BRIDGE_MAX_WORKERS": str(WORKERS), "GITHUB_WEBHOOK_SECRET": SECRET}
    port = urlsplit(made.emulators.github.app.webhook_url or "").port
    process = CONTEXT.Process(target=victim.run, args=(made.emulators.environment | given, fatal, theirs, port))
    process.start()
    theirs.close()
    try:
        yield process, ours
    finally:
        process.kill()
        process.join()
        ours.close()


def lives(made: Deployment, url: str) -> int:
    """Let a dispatcher finish everything; how many fault points it met."""
    with dispatcher(made, url) as (_, pipe):
        made.assert_all_ends_well()
        pipe.send("stop")
        return int(pipe.recv())


def dies(made: Deployment, url: str, *, fatal: int) -> bool:
    """Queue jobs, and let a dispatcher die at a fault point; False if it had done everything before."""
    with dispatcher(made, url, fatal=fatal) as (process, _):
        made.queue(JOBS)
        until(lambda: process.exitcode is not None or made.over())
        process.join(0.3)
        return process.exitcode == -signal.SIGKILL


@pytest.fixture
def fresh(request: pytest.FixtureRequest, tmp_path: Path, database_url: str) -> Iterator[tuple[Deployment, str]]:
    """A deployment with a ledger. `request.param`: the mode of credentials, or `service` for one behind webhooks."""
    serves = request.param == "service"
    with deployment(tmp_path, credentials="jit" if serves else request.param) as made:
        made.database_urls.append(database_url)
        if serves:
            made.emulators.github.app.webhook_secret = SECRET
            made.emulators.github.app.webhook_url = f"http://127.0.0.1:{free_port()}/webhook"
        yield made, database_url


@pytest.mark.parametrize("fresh", ["jit", "registration", "service"] if FULL else ["jit"], indirect=True)
def test_every_job_runs_once_wherever_the_dispatcher_dies(fresh: tuple[Deployment, str]) -> None:
    """One job after the other through the same ledger, each with its dispatcher killed one write later."""
    made, url = fresh
    fatal = 1
    while dies(made, url, fatal=fatal):
        tried["fault points (kill -9)"] += 1
        lives(made, url)
        fatal += 1
    made.assert_all_ends_well()
    assert fatal > 15, "all writes of a job's life are met"

"""The dispatcher is killed with SIGKILL at each write in the life of a job, and started again."""

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
    """Run a dispatcher in a process of its own; the process is gone after the block."""
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


def finishes(made: Deployment, url: str) -> int:
    """Let a dispatcher finish all jobs; returns how many fault points it passed."""
    with dispatcher(made, url) as (_, pipe):
        made.assert_all_ends_well()
        pipe.send("stop")
        return int(pipe.recv())


def dies(made: Deployment, url: str, *, fatal: int) -> bool:
    """Queue jobs and kill the dispatcher at a fault point; False if it finished everything before that point."""
    with dispatcher(made, url, fatal=fatal) as (process, _):
        made.queue(JOBS)
        until(lambda: process.exitcode is not None or made.over())
        process.join(0.3)
        return process.exitcode == -signal.SIGKILL


@pytest.fixture
def fresh(request: pytest.FixtureRequest, tmp_path: Path, database_url: str) -> Iterator[tuple[Deployment, str]]:
    """A deployment and its ledger. `request.param`: a credentials mode, or `service` for a service with webhooks."""
    serves = request.param == "service"
    with deployment(tmp_path, credentials="jit" if serves else request.param) as made:
        made.database_urls.append(database_url)
        if serves:
            made.emulators.github.app.webhook_secret = SECRET
            made.emulators.github.app.webhook_url = f"http://127.0.0.1:{free_port()}/webhook"
        yield made, database_url


@pytest.mark.parametrize("fresh", ["jit", "registration", "service"] if FULL else ["jit"], indirect=True)
def test_every_job_runs_once_wherever_the_dispatcher_dies(fresh: tuple[Deployment, str]) -> None:
    """Each round queues jobs in the same ledger and kills the dispatcher one write later than the round before."""
    made, url = fresh
    fatal = 1
    while dies(made, url, fatal=fatal):
        tried["fault points (kill -9)"] += 1
        finishes(made, url)
        fatal += 1
    made.assert_all_ends_well()
    assert fatal > 15, "every write in the life of a job is a fault point"

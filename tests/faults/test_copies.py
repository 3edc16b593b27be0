"""Several dispatchers at once, a ledger that is deleted or full, and SIGTERM under load."""

import signal
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from tests.faults.deployment import WORKERS, deployment
from tests.support.background import until
from tests.support.postgres import Postgres
from tests.support.service import running_service


def test_two_dispatchers_on_one_postgresql_serve_each_job_once(tmp_path: Path, a_postgres: Postgres) -> None:
    url = a_postgres.database()
    with deployment(tmp_path, instant={"seconds": 0.1}, lease=60.0) as made, ExitStack() as copies:
        addresses = [copies.enter_context(made.dispatcher(url)) for _ in range(2)]
        numbers = iter(range(10**6))

        def balanced(_delivery: object) -> list[float]:
            made.emulators.github.app.webhook_url = f"{addresses[next(numbers) % 2]}/webhook"
            return [0.0]

        made.emulators.github.webhooks.mishap = balanced
        made.queue(30)
        made.assert_all_ends_well()
        assert len(made.emulators.runpod.state.requests) == 30
        for address in addresses:
            assert httpx.get(f"{address}/readyz").status_code == 200, "also the copy without the leader lease"


def test_a_second_copy_resyncs_after_the_first_has_stopped(tmp_path: Path, a_postgres: Postgres) -> None:
    """No delivery arrives, so only a resync finds jobs. The copy with the leader lease stops after the first two."""
    url = a_postgres.database()
    with deployment(tmp_path) as made, made.dispatcher(url):
        made.emulators.github.webhooks.mishap = lambda _: ()
        with made.dispatcher(url):
            made.queue(2)
            made.assert_all_ends_well()
        made.queue(2)
        made.assert_all_ends_well()


def test_two_dispatchers_with_ledgers_of_their_own_serve_each_job_once(tmp_path: Path) -> None:
    urls = [f"sqlite:///{tmp_path}/{name}.sqlite3" for name in ("a", "b")]
    with deployment(tmp_path, instant={"seconds": 0.1}) as made, ExitStack() as copies:
        for url in urls:
            copies.enter_context(made.dispatcher(url, webhooks=False))
        made.queue(10)
        made.assert_all_ends_well()


def test_a_ledger_deleted_while_jobs_run_is_rebuilt(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.sqlite3"
    with deployment(tmp_path, instant={"seconds": 1.0}) as made:
        with made.dispatcher(url):
            jobs = made.queue(6)
            until(lambda: all(job.status == "in_progress" for job in jobs))
            made.queue(4)
            until(lambda: len(made.emulators.runpod.state.requests) == 10)
        for path in tmp_path.glob("ledger.sqlite3*"):
            path.unlink()
        with made.dispatcher(url):
            made.assert_all_ends_well()
        assert len(made.emulators.runpod.state.requests) == 10


def test_a_full_ledger_refuses_deliveries_and_loses_none(tmp_path: Path) -> None:
    """Deliveries that were answered with 503 are read from GitHub's delivery log when there is room again."""
    most = [2**30]
    sa.event.listen(Engine, "begin", limit := _limit(most))
    try:
        with deployment(tmp_path) as made, made.dispatcher(f"sqlite:///{tmp_path}/ledger.sqlite3") as address:
            until(lambda: httpx.get(f"{address}/readyz").status_code == 200)
            most[0] = 1
            made.queue(40)
            until(lambda: httpx.get(f"{address}/readyz").status_code == 503)
            most[0] = 2**30
            made.assert_all_ends_well()
    finally:
        sa.event.remove(Engine, "begin", limit)


def _limit(most: list[int]) -> Callable[[Connection], None]:
    """Limit the size of SQLite files to `most[0]` pages; a file that is larger already grows no further."""

    def limit(connection: Connection) -> None:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql(f"PRAGMA max_page_count = {most[0]}")

    return limit


def test_sigterm_under_load_leaves_no_unfinished_submission(tmp_path: Path, database_url: str) -> None:
    """Deliveries keep arriving while the service stops. The next start finds nothing to clean up."""
    with deployment(tmp_path, instant={"seconds": 0.05}) as made:
        made.database_urls.append(database_url)
        stop = threading.Event()

        def queue_jobs() -> None:
            while not stop.wait(0.05):
                made.queue(1)

        queueing = threading.Thread(target=queue_jobs)
        variables: dict[str, Any] = {"BRIDGE_DATABASE_URL": database_url, "BRIDGE_MAX_WORKERS": str(WORKERS)}
        try:
            with running_service(made.emulators, **variables) as service:
                queueing.start()
                until(lambda: len(made.emulators.runpod.state.requests) > 10)
                log = service.stop(signal.SIGTERM)
        finally:
            stop.set()
            queueing.join()
        assert service.process.returncode == 0, log
        left = [s for s in made.submissions(database_url) if s.state in ("claimed", "minted", "submitting", "unknown")]
        assert left == []
        with made.dispatcher(database_url):
            made.assert_all_ends_well()

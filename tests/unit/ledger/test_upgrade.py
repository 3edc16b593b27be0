"""A ledger of an earlier bridge, with jobs and submissions in it, works after the upgrade."""

import asyncio
import contextlib
from typing import Any

import sqlalchemy as sa

from bridge.core.cost import midnight
from bridge.core.model import JobStatus
from bridge.core.reference import Reference
from bridge.core.submissions import OPEN_STATES, State
from bridge.core.worker import Credentials
from bridge.ledger import Ledger, Transaction
from bridge.ledger.database import connect
from tests.support.values import NOW, ORG
from tests.unit.ledger.test_ledger import upgraded

DAY = 86_400.0


def old_job(job_id: int, status: JobStatus, **given: Any) -> dict[str, Any]:
    """A row with only what the first bridge wrote."""
    return {
        "id": job_id,
        "run_id": job_id,
        "repository": "acme/web",
        "name": f"job {job_id}",
        "labels": ["runpod"],
        "status": status,
        "created_at": NOW - 600,
        "public": False,
        "seen_at": NOW - 60,
        "doubted": False,
        "retried_at": 0.0,
        **given,
    }


def old_submission(job_id: int, state: State, **given: Any) -> dict[str, Any]:
    return {
        "id": f"s{job_id}",
        "name": f"runpod-{job_id}-1",
        "job_id": job_id,
        "generation": 1,
        "route": "gpu",
        "target": ORG,
        "endpoint": "ep-1",
        "credentials": Credentials.JIT,
        "state": state,
        "since": NOW - 60,
        "created_at": NOW - 600,
        "lease_until": NOW - 540,
        "not_after": NOW + 3000,
        "request_id": f"r{job_id}",
        **given,
    }


def filled(url: str) -> None:
    """One job and one submission for each state."""
    engine = connect(url)
    tables = sa.MetaData()
    tables.reflect(engine)
    jobs, submissions = [], []
    for number, state in enumerate(State, 1):
        over = {"conclusion": "failure", "runner_name": f"runpod-{number}-1", "completed_at": NOW - 60}
        jobs.append(old_job(number, JobStatus.COMPLETED, **over))
        submissions.append(old_submission(number, state))
    jobs.append(old_job(90, JobStatus.QUEUED))
    with engine.begin() as connection:
        for table, rows in (("jobs", jobs), ("submissions", submissions)):
            for row in rows:
                known = {name: value for name, value in row.items() if name in tables.tables[table].c}
                connection.execute(sa.insert(tables.tables[table]).values(**known))
    engine.dispose()


def read_all(transaction: Transaction) -> None:
    """Read what the new parts need."""
    usages = transaction.costs.usages(0.0)
    assert len(usages) == len(State)
    assert {(usage.boot, usage.peak_memory_mb, usage.execution) for usage in usages} == {(None, None, None)}
    transaction.costs.spent(midnight(NOW), NOW)
    transaction.costs.untold(0.0, 20)
    assert transaction.costs.prices() == {}
    assert transaction.costs.raises(NOW) == ()
    assert transaction.pauses() == {}
    assert transaction.starvations(0.0) == {}
    lost = {each.job.id for each in transaction.lost_jobs(["gpu"], NOW - 2 * DAY)}
    assert len(lost) == 4
    assert transaction.reruns_of(lost) == ()
    assert transaction.untraced(NOW - DAY, 100)
    overview = transaction.overview()
    finished = overview.finished(since=NOW - DAY, repository="acme/web", route="gpu", limit=50, offset=0)
    assert len(finished) == len(State)
    assert [record.waits for record in overview.records(finished)] == [()] * len(State)
    overview.waits(NOW - DAY)
    (record,) = transaction.named(Reference(1, None))
    assert record.rerun is None
    transaction.history()


def test_what_an_earlier_bridge_wrote_can_be_read_by_every_new_part_and_pruned(database_url: str) -> None:
    upgraded(database_url, "0005")
    filled(database_url)
    with contextlib.closing(Ledger.open(database_url)) as ledger:
        asyncio.run(ledger.read(read_all))
        asyncio.run(ledger.transact(lambda transaction: transaction.prune(NOW, NOW)))
        held = {number for number, state in enumerate(State, 1) if state in OPEN_STATES}
        assert asyncio.run(ledger.read(lambda transaction: transaction.jobs())).keys() == {90, *held}

"""The dashboard with 10,000 finished and 500 open jobs: the first page, and what an update costs."""

import asyncio
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import httpx
import sqlalchemy as sa

from bridge.commands.composition import composed
from bridge.core.model import JobStatus, Source
from bridge.core.submissions import Pool, State
from bridge.dashboard.content import read_content
from bridge.dashboard.queries import Group, Query
from bridge.dashboard.render import Extras, Pages
from bridge.ledger.rows import row_of_job, row_of_submission
from bridge.ledger.tables import jobs, submissions, transitions
from tests.bench.figures import percentile_ms
from tests.support.dashboard import ROUTES, Filled, a_config, filled, shown
from tests.support.values import ORG, a_submission

FIRST = 1_000_000
"""Id of the first finished job."""

PATHS = {"overview": "/", "queued": "/?jobs=queued", "finished, page 100": "/?jobs=finished&page=100", "job": "/jobs/1"}


def dashboard(*, finished: int, queued: int) -> Iterator[dict[str, Any]]:
    """Measure each page when it is opened first, and the read and the rendering of an update."""
    with tempfile.TemporaryDirectory() as home:
        ledger = a_large_ledger(home, finished, queued)
        given = {"bench": "dashboard", "finished_jobs": finished, "open_jobs": queued + 1}
        with shown(a_config(ledger.url)) as site:
            httpx.get(f"{site.url}/healthz")
            for name, path in PATHS.items():
                time.sleep(5.5)  # so that the answer is not one that was read for another page
                began = time.perf_counter()
                answer = httpx.get(site.url + path)
                seconds = time.perf_counter() - began
                assert answer.status_code == 200
                yield {
                    **given,
                    "page": name,
                    "ms": round(1000 * seconds, 1),
                    "kb": round(len(answer.content) / 1000, 1),
                }
        yield {**given, "page": "update", **asyncio.run(_update(ledger))}


def a_large_ledger(home: str, finished: int, queued: int) -> Filled:
    """A ledger in a folder: job 1 waits; beside it there are finished jobs, and others that run or wait."""
    ledger = filled(f"sqlite:///{home}/ledger.sqlite3")
    _finish(ledger, finished)
    ledger.running(*range(2, 10, 2))
    ledger.queued(*(ledger.job(number) for number in range(11, 11 + queued - 4)), ledger.job(1))
    return ledger


async def _update(ledger: Filled) -> dict[str, float]:
    """An update while the overview and a list are open."""
    config, pages = a_config(ledger.url), Pages("acme", "https://github.com")
    queries = [Query(), Query(group=Group.FINISHED)]
    reads, renders, cpu = [], [], []
    async with composed(config, dry_run=True) as bridge:
        for _ in range(20):
            began, used = time.perf_counter(), time.process_time()
            content = await bridge.ledger.read(
                lambda transaction: read_content(
                    transaction, bridge.reconciler.outlook(transaction), config.scope, queries, time.time()
                )
            )
            reads.append(time.perf_counter() - began)
            began = time.perf_counter()
            for query in queries:
                pages.fragment(query, content, Extras())
            renders.append(time.perf_counter() - began)
            cpu.append(time.process_time() - used)
    figures = {"read_p50_ms": reads, "render_p50_ms": renders, "cpu_p50_ms": cpu}
    return {name: percentile_ms(each, 0.5) for name, each in figures.items()}


def _finish(ledger: Filled, count: int) -> None:
    """Write jobs that have ended within the last day, at once: by single transitions it would take a minute."""
    done, ran, steps = [], [], []
    for number in range(FIRST, FIRST + count):
        route, at = ROUTES[number % len(ROUTES)], ledger.now - 86_000 * (number - FIRST + 1) / count
        submission = a_submission(
            number,
            State.FINISHED,
            pool=Pool(route.name, ORG),
            endpoint=route.endpoints[0],
            since=at + 100,
            taken_at=at,
            held_job_id=number,
        )
        job = ledger.job(
            number,
            status=JobStatus.COMPLETED,
            conclusion="success",
            runner_name=submission.name,
            created_at=at - number % 97,
            started_at=at,
            completed_at=at + 100,
        )
        done.append(row_of_job(job, at + 100, Source.WEBHOOK))
        ran.append(row_of_submission(submission))
        steps += [{"submission": submission.id, "number": n, "to_state": "busy", "at": at} for n in range(1, 7)]
    engine = sa.create_engine(ledger.url)
    with engine.begin() as connection:
        connection.execute(sa.insert(jobs), done)
        connection.execute(sa.insert(submissions), ran)
        connection.execute(sa.insert(transitions), steps)
    engine.dispose()

"""The ledger keeps what was decided, once, through crashes and beside other dispatchers."""

import asyncio
import multiprocessing
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

import bridge.ledger
from bridge.errors import ConfigError, Unavailable
from bridge.ledger import SCHEMA, Books, Ledger, metadata
from bridge.model import Claim, JobHistory, JobStatus, Move, Pool, Reason, State, Submission
from tests.values import NOW, ORG, a_job, a_route

GPU = Pool("gpu", ORG)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/state/ledger.sqlite3"


def claimed(books: Books, job_id: int = 1, generation: int = 1) -> Submission:
    name = f"runpod-{job_id}-{generation}"
    return books.claim(Claim(pool=GPU, job_id=job_id, name=name, generation=generation), a_route(), NOW)


def test_a_submission_is_read_back_as_it_was_written(url: str) -> None:
    async def main() -> None:
        ledger = Ledger.open(url)
        written = await ledger.transact(claimed)
        assert await ledger.read(lambda books: books.open_submissions()) == (written,)
        assert written.state is State.CLAIMED
        assert written.not_after == NOW + a_route().queue_timeout

    asyncio.run(main())


def test_a_job_is_read_back_as_it_was_seen_and_older_news_of_it_is_ignored(url: str) -> None:
    job = a_job(1, workflow_name="ci", head_branch="x'; DROP TABLE jobs; --", public=True)
    started = replace(job, status=JobStatus.IN_PROGRESS, runner_name="runpod-1-1")

    async def main() -> None:
        ledger = Ledger.open(url)
        await ledger.transact(lambda books: books.merge([job], NOW))
        assert await ledger.read(lambda books: books.jobs()) == {1: (job, NOW)}
        await ledger.transact(lambda books: books.merge([started], NOW + 10))
        await ledger.transact(lambda books: books.merge([job], NOW + 5))
        assert await ledger.read(lambda books: books.jobs()) == {1: (started, NOW + 10)}

    asyncio.run(main())


def test_a_completed_job_is_forgotten_unless_an_open_submissions_runner_took_it(url: str) -> None:
    done = {"status": JobStatus.COMPLETED, "conclusion": "success"}

    async def main() -> None:
        ledger = Ledger.open(url)
        row = await ledger.transact(claimed)
        jobs = [a_job(1, **done), a_job(2, **done, runner_name=row.name)]
        await ledger.transact(lambda books: books.merge(jobs, NOW))
        assert list(await ledger.read(lambda books: books.jobs())) == [2]

    asyncio.run(main())


def test_an_arrow_is_recorded_only_from_the_state_it_was_read_in(url: str) -> None:
    async def main() -> None:
        ledger = Ledger.open(url)
        row = await ledger.transact(claimed)
        assert await ledger.advance(row, State.MINTED, runner_id=5)
        assert not await ledger.advance(row, State.RELEASED), "another dispatcher has moved it meanwhile"
        (now,) = await ledger.read(lambda books: books.open_submissions())
        assert (now.state, now.runner_id) == (State.MINTED, 5)

    asyncio.run(main())


def test_a_name_can_never_be_claimed_twice(url: str) -> None:
    async def main() -> None:
        ledger = Ledger.open(url)
        row = await ledger.transact(claimed)
        await ledger.advance(row, State.RELEASED)
        with pytest.raises(sa.exc.IntegrityError):
            await ledger.transact(claimed)

    asyncio.run(main())


def test_history_counts_attempts_but_not_those_that_say_nothing_about_the_job(url: str) -> None:
    ends = [
        (State.FAILED, Reason.CRASHED),
        (State.FAILED, Reason.REGISTRATION_LOST),
        (State.FAILED, Reason.NAME_TAKEN),
        (State.NO_JOB, Reason.NO_JOB),
        (State.RELEASED, None),
    ]

    def write(books: Books) -> None:
        books.merge([a_job(1)], NOW)
        for generation, (state, reason) in enumerate(ends, 1):
            row = claimed(books, generation=generation)
            books.record(Move(submission=row, to=state, reason=reason), NOW + generation)

    async def main() -> None:
        ledger = Ledger.open(url)
        await ledger.transact(write)
        history = await ledger.read(lambda books: books.history())
        assert history == {1: JobHistory(generation=5, attempts=2, last_claim=NOW, last_end=NOW + 5)}

    asyncio.run(main())


def test_what_a_preview_wrote_is_not_kept(url: str) -> None:
    async def main() -> None:
        ledger = Ledger.open(url)
        await ledger.preview(claimed)
        assert await ledger.read(lambda books: books.open_submissions()) == ()

    asyncio.run(main())


def test_a_dry_run_makes_no_file(url: str, tmp_path: Path) -> None:
    async def main() -> None:
        ledger = Ledger.open_to_look(url)
        assert await ledger.read(lambda books: books.open_submissions()) == ()

    asyncio.run(main())
    assert list(tmp_path.iterdir()) == []


def _claim_in_a_process(url: str, name: str) -> None:
    """Claim the job unless another process has: read, decide and write in one transaction."""

    def work(books: Books) -> None:
        if not books.open_submissions():
            books.claim(Claim(pool=GPU, job_id=1, name=name, generation=int(name[-1])), a_route(), NOW)

    asyncio.run(Ledger.open(url).transact(work))


def test_of_dispatchers_that_start_at_once_on_a_new_ledger_one_claims(url: str) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_claim_in_a_process, args=(url, f"runpod-1-{number}")) for number in range(1, 5)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert len(asyncio.run(Ledger.open(url).read(lambda books: books.open_submissions()))) == 1


def test_migrations_make_what_the_code_expects(url: str) -> None:
    Ledger.open(url).close()
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()
    config = Config()
    config.set_main_option("script_location", str(Path(bridge.ledger.__file__).parent / "migrations"))
    assert ScriptDirectory.from_config(config).get_current_head() == SCHEMA


def test_a_ledger_of_a_newer_bridge_is_refused(url: str) -> None:
    Ledger.open(url).close()
    with sqlite3.connect(sa.make_url(url).database or "") as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    with pytest.raises(ConfigError, match="schema 9999 is newer"):
        Ledger.open(url)


def test_a_ledger_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "ledger.sqlite3"
    broken.write_text("this is no database, it only has its name " * 100)
    with pytest.raises(ConfigError, match="BRIDGE_DATABASE_URL: cannot open the ledger"):
        Ledger.open(f"sqlite:///{broken}")


def test_a_full_ledger_is_named_and_loses_nothing(url: str) -> None:
    async def main() -> None:
        ledger = Ledger.open(url)
        row = await ledger.transact(claimed)

        def fill(books: Books) -> None:
            books._connection.exec_driver_sql("PRAGMA max_page_count = 1")
            books.merge([a_job(i, name="x" * 2000) for i in range(500)], NOW)

        with pytest.raises(Unavailable, match="the ledger could not be written"):
            await ledger.transact(fill)
        assert await ledger.read(lambda books: books.open_submissions()) == (row,)

    asyncio.run(main())

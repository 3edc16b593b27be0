"""The ledger records each decision once, despite crashes and other dispatchers."""

import asyncio
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

import bridge.ledger
from bridge.core.actions import Claim, Transition
from bridge.core.model import Event, JobStatus, WorkflowJob
from bridge.core.submissions import JobHistory, Pool, State, Streak, Submission
from bridge.core.worker import Reason
from bridge.errors import ConfigError, Unavailable
from bridge.ledger import SCHEMA, Ledger, Transaction, metadata, tables
from bridge.ledger.database import connect
from tests.support.postgres import Postgres
from tests.support.values import NOW, ORG, a_job, a_route

GPU = Pool("gpu", ORG)


@pytest.fixture
def url(database_url: str) -> str:
    return database_url


@pytest.fixture
def file_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/state/ledger.sqlite3"


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    opened = Ledger.open(url)
    yield opened
    opened.close()


def claimed(transaction: Transaction, job_id: int = 1, generation: int = 1) -> Submission:
    name = f"runpod-{job_id}-{generation}"
    claim = Claim(pool=GPU, job_id=job_id, name=name, generation=generation, endpoint="ep-1")
    (submission,) = transaction.claim([(claim, a_route())], NOW)
    return submission


def test_a_submission_is_read_back_as_it_was_written(ledger: Ledger) -> None:
    async def main() -> None:
        written = await ledger.transact(claimed)
        assert await ledger.read(lambda transaction: transaction.open_submissions()) == (written,)
        assert written.state is State.CLAIMED
        assert written.not_after == NOW + a_route().queue_timeout

    asyncio.run(main())


def test_a_job_is_read_back_as_it_was_seen_and_older_news_of_it_is_ignored(ledger: Ledger) -> None:
    job = a_job(1, workflow_name="ci", head_branch="x'; DROP TABLE jobs; --", public=True)
    started = replace(job, status=JobStatus.IN_PROGRESS, runner_name="runpod-1-1")

    async def main() -> None:
        await ledger.transact(lambda transaction: transaction.merge([job], NOW))
        assert await ledger.read(lambda transaction: transaction.jobs()) == {1: (job, NOW)}
        await ledger.transact(lambda transaction: transaction.merge([started], NOW + 10))
        await ledger.transact(lambda transaction: transaction.merge([job], NOW + 5))
        assert await ledger.read(lambda transaction: transaction.jobs()) == {1: (started, NOW + 10)}

    asyncio.run(main())


def test_a_job_that_has_not_changed_is_not_built_again_in_each_pass(ledger: Ledger) -> None:
    """Passes overlap, and thousands of jobs may be queued."""
    taken = a_job(2, status=JobStatus.IN_PROGRESS, runner_name="runpod-2-1")

    async def main() -> None:
        await ledger.transact(lambda transaction: transaction.merge([a_job(1), a_job(2)], NOW))
        before = await ledger.read(lambda transaction: transaction.jobs())
        await ledger.transact(lambda transaction: transaction.merge([a_job(1), taken], NOW + 10))
        after = await ledger.transact(lambda transaction: transaction.jobs())
        assert after == {1: (a_job(1), NOW + 10), 2: (taken, NOW + 10)}
        assert after[1][0] is before[1][0]

    asyncio.run(main())


def test_a_completed_job_is_forgotten_unless_an_open_submissions_runner_took_it(ledger: Ledger) -> None:
    done = {"status": JobStatus.COMPLETED, "conclusion": "success"}

    async def main() -> None:
        row = await ledger.transact(claimed)
        jobs = [a_job(1, **done), a_job(2, **done, runner_name=row.name)]
        await ledger.transact(lambda transaction: transaction.merge(jobs, NOW))
        assert list(await ledger.read(lambda transaction: transaction.jobs())) == [2]

    asyncio.run(main())


def test_a_transition_is_recorded_only_from_the_state_that_was_read(ledger: Ledger) -> None:
    async def main() -> None:
        row = await ledger.transact(claimed)
        assert await ledger.advance(row, State.MINTED, runner_id=5)
        assert not await ledger.advance(row, State.RELEASED), "another dispatcher has moved it meanwhile"
        (now,) = await ledger.read(lambda transaction: transaction.open_submissions())
        assert (now.state, now.runner_id) == (State.MINTED, 5)

    asyncio.run(main())


def test_a_name_can_never_be_claimed_twice(ledger: Ledger) -> None:
    async def main() -> None:
        row = await ledger.transact(claimed)
        await ledger.advance(row, State.RELEASED)
        with pytest.raises(sa.exc.IntegrityError):
            await ledger.transact(claimed)

    asyncio.run(main())


def test_history_counts_attempts_but_not_those_that_say_nothing_about_the_job(ledger: Ledger) -> None:
    ends = [
        (State.FAILED, Reason.CRASHED),
        (State.FAILED, Reason.REGISTRATION_LOST),
        (State.FAILED, Reason.NAME_TAKEN),
        (State.NO_JOB, Reason.NO_JOB),
        (State.RELEASED, None),
    ]

    def write(transaction: Transaction) -> None:
        transaction.merge([a_job(1)], NOW)
        for generation, (state, reason) in enumerate(ends, 1):
            row = claimed(transaction, generation=generation)
            transaction.record(Transition(submission=row, to=state, reason=reason), NOW + generation)

    async def main() -> None:
        await ledger.transact(write)
        history = await ledger.read(lambda transaction: transaction.history())
        assert history == {1: JobHistory(generation=5, attempts=2, last_claim=NOW, last_end=NOW + 5, first_claim=NOW)}

    asyncio.run(main())


def test_what_a_preview_wrote_is_not_kept(ledger: Ledger) -> None:
    async def main() -> None:
        await ledger.preview(claimed)
        assert await ledger.read(lambda transaction: transaction.open_submissions()) == ()

    asyncio.run(main())


def test_only_the_owner_can_read_the_ledgers_files(tmp_path: Path) -> None:
    """Also the files of an earlier bridge, which had the default mode of the process."""
    path = tmp_path / "state" / "ledger.sqlite3"
    before = os.umask(0)
    try:
        for _ in range(2):
            opened = Ledger.open(f"sqlite:///{path}")
            asyncio.run(opened.transact(lambda transaction: transaction.hear([Event(guid="guid", at=NOW, job=None)])))
            files = {each.name: oct(each.stat().st_mode & 0o777) for each in path.parent.iterdir()}
            assert files == dict.fromkeys(("ledger.sqlite3", "ledger.sqlite3-wal", "ledger.sqlite3-shm"), "0o600")
            opened.close()
            path.chmod(0o644)
    finally:
        os.umask(before)


def test_a_dry_run_creates_no_file(file_url: str, tmp_path: Path) -> None:
    ledger = Ledger.open_existing(file_url)
    assert asyncio.run(ledger.read(lambda transaction: transaction.open_submissions())) == ()
    ledger.close()
    assert list(tmp_path.iterdir()) == []


def contents(url: str) -> list[str]:
    """Every table of a database, without a change to its files."""
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        tables = sa.inspect(connection).get_table_names()
    engine.dispose()
    return tables


def upgraded(url: str, revision: str, *statements: str) -> None:
    """Create the ledger of an earlier bridge."""
    engine = connect(url)
    with engine.connect() as connection:
        config = Config()
        config.set_main_option("script_location", str(Path(bridge.ledger.__file__).parent / "migrations"))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        for statement in statements:
            connection.execute(sa.text(statement), {"no": False})
        connection.commit()
    engine.dispose()


def test_a_dry_run_creates_no_table_in_a_database_without_a_ledger(url: str) -> None:
    connect(url).dispose()  # makes the directory
    if url.startswith("sqlite"):
        Path(str(sa.make_url(url).database)).touch()
    ledger = Ledger.open_existing(url)
    assert asyncio.run(ledger.read(lambda transaction: transaction.open_submissions())) == ()
    ledger.close()
    assert contents(url) == []


def test_a_dry_run_changes_no_byte_of_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    path.touch()
    ledger = Ledger.open_existing(f"sqlite:///{path}")
    asyncio.run(ledger.preview(claimed))
    ledger.close()
    assert [(each.name, each.stat().st_size) for each in tmp_path.iterdir()] == [(path.name, 0)]


def test_a_dry_run_reads_the_existing_ledger(url: str) -> None:
    ledger = Ledger.open(url)
    row = asyncio.run(ledger.transact(claimed))
    ledger.close()
    looking = Ledger.open_existing(url)
    assert asyncio.run(looking.read(lambda transaction: transaction.open_submissions())) == (row,)
    looking.close()


def test_a_dry_run_refuses_the_ledger_of_an_earlier_bridge_and_does_not_change_it(url: str) -> None:
    upgraded(url, "0001")
    before = contents(url)
    with pytest.raises(
        ConfigError, match=f"schema 0001 is older than this bridge's {SCHEMA}: run a pass without --dry-run"
    ):
        Ledger.open_existing(url)
    assert contents(url) == before
    Ledger.open(url).close()
    Ledger.open_existing(url).close()


def _claim_in_a_process(url: str, name: str) -> None:
    """Claim the job unless another process has: read, decide and write in one transaction."""

    def work(transaction: Transaction) -> None:
        if not transaction.open_submissions():
            claim = Claim(pool=GPU, job_id=1, name=name, generation=int(name[-1]), endpoint="ep-1")
            transaction.claim([(claim, a_route())], NOW)

    ledger = Ledger.open(url)
    asyncio.run(ledger.transact(work))
    ledger.close()


def test_only_one_of_several_dispatchers_that_start_at_once_on_a_new_ledger_claims(url: str) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_claim_in_a_process, args=(url, f"runpod-1-{number}")) for number in range(1, 5)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 4
    ledger = Ledger.open(url)
    assert len(asyncio.run(ledger.read(lambda transaction: transaction.open_submissions()))) == 1
    ledger.close()


def test_migrations_create_the_tables_that_the_code_expects(url: str) -> None:
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
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    engine.dispose()
    with pytest.raises(ConfigError, match="schema 9999 is newer"):
        Ledger.open(url)
    with pytest.raises(ConfigError, match="schema 9999 is newer"):
        Ledger.open_existing(url)


def test_a_ledger_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "ledger.sqlite3"
    broken.write_text("this is no database, it only has its name " * 100)
    with pytest.raises(ConfigError, match="BRIDGE_DATABASE_URL: cannot open the ledger"):
        Ledger.open(f"sqlite:///{broken}")


def test_a_directory_given_as_the_ledger_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with pytest.raises(ConfigError, match="cannot open the ledger"):
        Ledger.open(f"sqlite:///{tmp_path}")
    assert tmp_path.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("opened", [Ledger.open, Ledger.open_existing])
@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("garbage", "not a database URL; give sqlite:///PATH or "),
        ("postgresql://bridge:secret/db", "not a database URL; "),
        ("postgresql://bridge:p@secret@host/db", "more than one @; "),
        ("postgresql://bridge@host/db?port=secret", "not a database URL; "),
        ("sqlite:///ledger\nsecret", "not a database URL; "),
        ("sqlite:///ledger%00secret", "not a database URL; "),
        ("postgresql://bridge:secret@a..b/db", "cannot open the ledger: "),
        ("sqlite+aiosqlite://", "sqlite+aiosqlite is not supported; "),
        ("mysql://bridge:secret@host/db", "mysql is not supported; "),
        ("sqlite:////proc", "cannot open the ledger: "),
    ],
)
def test_an_invalid_database_url_is_refused_in_one_line_without_its_password(
    opened: Callable[[str], Ledger], url: str, why: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        opened(url)
    assert str(caught.value).startswith(f"BRIDGE_DATABASE_URL: {why}")
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


LONG = "x" * 300


@pytest.mark.parametrize(
    ("opened", "path", "why"),
    [
        (Ledger.open, "/dev/null/ledger", "File exists"),
        (Ledger.open, "/dev/null/state/ledger", "Not a directory"),
        (Ledger.open, "/proc/state/ledger", "No such file or directory"),
        (Ledger.open, f"/tmp/{LONG}/ledger", "File name too long"),
        (Ledger.open_existing, f"/tmp/{LONG}", "File name too long"),
    ],
)
def test_a_path_that_cannot_hold_a_ledger_is_refused_with_what_to_do(
    opened: Callable[[str], Ledger], path: str, why: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        opened(f"sqlite:///{path}")
    assert str(caught.value) == (
        f"BRIDGE_DATABASE_URL: cannot use {path}: {why}; give a file that the bridge may write"
    )


def test_the_url_of_the_ledger_is_shown_without_a_password(a_postgres: Postgres) -> None:
    url = sa.make_url(a_postgres.database())
    ledger = Ledger.open(url.update_query_dict({"password": "secret"}).render_as_string(hide_password=False))
    assert ledger.url.startswith("postgresql+psycopg://")
    assert "secret" not in ledger.url
    ledger.close()


def test_what_was_written_survives_a_power_cut(file_url: str) -> None:
    ledger = Ledger.open(file_url)
    for opened in (ledger, Ledger.open_existing(file_url)):
        synchronous = asyncio.run(
            opened.transact(lambda transaction: transaction._connection.exec_driver_sql("PRAGMA synchronous").scalar())
        )
        assert synchronous == 2, "FULL"
        opened.close()


def test_a_full_ledger_is_reported_and_loses_nothing(file_url: str) -> None:
    ledger = Ledger.open(file_url)

    def fill(transaction: Transaction) -> None:
        transaction._connection.exec_driver_sql("PRAGMA max_page_count = 1")
        transaction.merge([a_job(i, name="x" * 2000) for i in range(500)], NOW)

    async def main() -> None:
        row = await ledger.transact(claimed)
        with pytest.raises(Unavailable, match="the ledger could not be written"):
            await ledger.transact(fill)
        assert await ledger.read(lambda transaction: transaction.open_submissions()) == (row,)

    asyncio.run(main())
    ledger.close()


# --- what a service adds ---


def an_event(guid: str, job: WorkflowJob | None, at: float = NOW) -> Event:
    return Event(guid=guid, at=at, job=job)


def status_of(transaction: Transaction, job_id: int) -> tuple[str, str | None]:
    query = sa.select(tables.jobs.c.status, tables.jobs.c.runner_name).where(tables.jobs.c.id == job_id)
    row = transaction._connection.execute(query).one()
    return row.status, row.runner_name


QUEUED, RUNS, DONE = JobStatus.QUEUED, JobStatus.IN_PROGRESS, JobStatus.COMPLETED


@pytest.mark.parametrize(
    ("statuses", "comes_to"),
    [
        ([QUEUED], QUEUED),
        ([QUEUED, QUEUED], QUEUED),
        ([JobStatus.WAITING, QUEUED], QUEUED),
        ([QUEUED, JobStatus.WAITING], QUEUED),
        ([RUNS, QUEUED], RUNS),
        ([QUEUED, DONE], DONE),
        ([DONE, RUNS, QUEUED], DONE),
        ([DONE, QUEUED, QUEUED], DONE),
    ],
)
def test_events_change_a_job_only_to_later_states(
    ledger: Ledger, statuses: list[JobStatus], comes_to: JobStatus
) -> None:
    async def main() -> None:
        for number, status in enumerate(statuses):
            event = an_event(f"guid-{number}", a_job(1, status=status), NOW + number)
            await ledger.transact(partial(Transaction.hear, events=[event]))
        together = [an_event(f"batch-{n}", a_job(2, status=status)) for n, status in enumerate(statuses)]
        await ledger.transact(lambda transaction: transaction.hear(together))
        for job_id in (1, 2):
            assert (await ledger.read(partial(status_of, job_id=job_id)))[0] == comes_to

    asyncio.run(main())


def test_a_reading_after_the_last_event_replaces_the_jobs_state_in_either_direction(ledger: Ledger) -> None:
    async def main() -> None:
        await ledger.transact(lambda transaction: transaction.hear([an_event("g", a_job(1, status=RUNS), NOW)]))
        await ledger.transact(lambda transaction: transaction.merge([a_job(1)], NOW - 1))
        assert (await ledger.read(lambda transaction: status_of(transaction, 1)))[0] == RUNS
        await ledger.transact(lambda transaction: transaction.merge([a_job(1)], NOW + 1))
        assert (await ledger.read(lambda transaction: status_of(transaction, 1)))[0] == QUEUED, "GitHub queued it again"

    asyncio.run(main())


def test_a_queued_event_of_a_job_in_progress_causes_a_look_up(ledger: Ledger) -> None:
    """It may be late, or GitHub may have queued the job again: only a look-up can decide."""

    async def doubted(*events: Event) -> tuple[int, ...]:
        await ledger.transact(lambda transaction: transaction.hear(events))
        return tuple(job.id for job in await ledger.read(lambda transaction: transaction.jobs_to_look_up()))

    async def main() -> None:
        runs = a_job(1, status=RUNS, runner_name="runpod-1-1", started_at=NOW)
        assert await doubted(an_event("a", a_job(1)), an_event("b", runs), an_event("c", a_job(2))) == ()
        assert await doubted(an_event("d", a_job(2))) == (), "it is queued"
        assert await doubted(an_event("e", a_job(1), NOW + 1)) == (1,)
        assert await ledger.read(lambda transaction: status_of(transaction, 1)) == (RUNS, "runpod-1-1")
        await ledger.transact(lambda transaction: transaction.merge([runs], NOW + 2))
        assert await doubted() == (), "it was looked up"
        assert await doubted(an_event("e", a_job(1), NOW + 3)) == (), "a redelivery says nothing new"
        assert await doubted(an_event("f", a_job(1), NOW + 3)) == (1,)
        assert await doubted(an_event("g", a_job(1, status=DONE), NOW + 4)) == ()

    asyncio.run(main())


def test_a_job_that_another_runner_takes_later_belongs_to_that_runner(ledger: Ledger) -> None:
    first = a_job(1, status=RUNS, runner_name="runpod-1-1", started_at=NOW)
    anew = replace(first, runner_name="runpod-1-2", started_at=NOW + 60)

    async def main() -> None:
        await ledger.transact(lambda transaction: transaction.hear([an_event("a", first), an_event("b", anew)]))
        assert await ledger.read(lambda transaction: status_of(transaction, 1)) == (RUNS, "runpod-1-2")
        await ledger.transact(lambda transaction: transaction.hear([an_event("c", first)]))
        assert await ledger.read(lambda transaction: status_of(transaction, 1)) == (RUNS, "runpod-1-2")

    asyncio.run(main())


def test_a_redelivery_changes_nothing(ledger: Ledger) -> None:
    async def main() -> None:
        assert (
            await ledger.transact(
                lambda transaction: transaction.hear([an_event("g", a_job(1)), an_event("g", a_job(2))])
            )
            == 1
        )
        again = an_event("g", a_job(1, status=RUNS))
        assert await ledger.transact(lambda transaction: transaction.hear([again])) == 0
        assert await ledger.read(lambda transaction: transaction.known_deliveries({"g", "h"})) == {"g"}

    asyncio.run(main())


def test_what_an_event_does_not_say_is_kept(ledger: Ledger) -> None:
    """Neither events nor look-ups of single jobs say whether a run comes from a fork."""

    async def main() -> None:
        await ledger.transact(lambda transaction: transaction.hear([an_event("a", a_job(1, fork=None))]))
        await ledger.transact(lambda transaction: transaction.learn_forks({1: True}))
        await ledger.transact(lambda transaction: transaction.merge([a_job(1, fork=None)], NOW + 1))
        ((job, _),) = (await ledger.read(lambda transaction: transaction.jobs())).values()
        assert job.fork is True

    asyncio.run(main())


def test_a_change_of_a_repositorys_visibility_is_kept(ledger: Ledger) -> None:
    async def main() -> None:
        for at, public in enumerate((True, False, True)):
            await ledger.transact(partial(Transaction.merge, seen=[a_job(1, public=public)], at=NOW + at))
            ((job, _),) = (await ledger.read(lambda transaction: transaction.jobs())).values()
            assert job.public is public

    asyncio.run(main())


def test_a_renamed_repository_keeps_its_jobs_and_its_runners(ledger: Ledger) -> None:
    """Under one name and in one pool, whatever name they were recorded under."""

    async def main() -> None:
        jobs = [a_job(1, repository="Acme/Web"), a_job(2, repository="acme/website"), a_job(3, repository="acme/web-2")]
        await ledger.transact(lambda transaction: transaction.merge(jobs, NOW))
        claim = Claim(pool=Pool("gpu", "repos/acme/web"), job_id=1, name="runpod-1-1", generation=1, endpoint="ep-1")
        await ledger.transact(lambda transaction: transaction.claim([(claim, a_route())], NOW))
        await ledger.transact(lambda transaction: transaction.rename("acme/web", "acme/Website"))
        known = await ledger.read(lambda transaction: transaction.jobs())
        assert [known[n][0].repository for n in (1, 2, 3)] == ["acme/Website", "acme/website", "acme/web-2"]
        (submission,) = await ledger.read(lambda transaction: transaction.open_submissions())
        assert submission.pool == Pool("gpu", "repos/acme/website")

    asyncio.run(main())


def test_jobs_that_are_not_ours_are_deleted_unless_they_run_on_our_runner(ledger: Ledger) -> None:
    async def main() -> None:
        await ledger.transact(
            lambda transaction: transaction.merge([a_job(1), a_job(2, runner_name="runpod-9-1")], NOW)
        )
        claim = Claim(pool=Pool("gpu", ORG), job_id=9, name="runpod-9-1", generation=1, endpoint="ep-1")
        await ledger.transact(lambda transaction: transaction.claim([(claim, a_route())], NOW))
        await ledger.transact(lambda transaction: transaction.forget_jobs({1, 2}))
        assert list(await ledger.read(lambda transaction: transaction.jobs())) == [2]

    asyncio.run(main())


def test_one_piece_of_work_that_fails_does_not_fail_those_that_share_its_commit(ledger: Ledger) -> None:
    def broken(_books: Transaction) -> None:
        raise ValueError("broken")

    async def main() -> None:
        works = [lambda transaction, i=i: transaction.hear([an_event(f"g{i}", a_job(i))]) for i in range(1, 30)]
        results = await asyncio.gather(
            *(ledger.transact(work) for work in (*works[:10], broken, *works[10:])), return_exceptions=True
        )
        assert [type(each) for each in results if each != 1] == [ValueError]
        assert len(await ledger.read(lambda transaction: transaction.jobs())) == 29

    asyncio.run(main())


def test_one_dispatcher_at_a_time_holds_a_lease_and_another_takes_it_when_it_has_died(ledger: Ledger) -> None:
    def takes(holder: str, now: float) -> bool:
        return asyncio.run(
            ledger.transact(lambda transaction: transaction.take_leader_lease("resync", holder, now, now + 90))
        )

    assert takes("a", NOW)
    assert not takes("b", NOW + 60)
    assert takes("a", NOW + 60)
    assert not takes("b", NOW + 120)
    assert takes("b", NOW + 151)
    assert not takes("a", NOW + 152)


def test_the_streak_of_an_endpoint_counts_failures_since_a_worker_last_worked(ledger: Ledger) -> None:
    ends = [
        (State.FAILED, Reason.CRASHED),
        (State.FINISHED, Reason.COMPLETED),
        (State.FAILED, Reason.CRASHED),
        (State.FAILED, Reason.NAME_TAKEN),
        (State.FAILED, Reason.VERSION_DEPRECATED),
    ]

    def write(transaction: Transaction) -> None:
        for generation, (state, reason) in enumerate(ends, 1):
            row = claimed(transaction, generation=generation)
            transaction.record(Transition(submission=row, to=state, reason=reason), NOW + generation)

    async def main() -> None:
        await ledger.transact(write)
        streaks = await ledger.read(lambda transaction: transaction.streaks())
        assert streaks == {"ep-1": Streak(failures=2, first=NOW + 3, last=NOW + 5, reason="version_deprecated")}

    asyncio.run(main())


def killed_by_its_job(transaction: Transaction, generation: int, at: float, seen: str) -> None:
    """A worker that fails while it has a job. `seen`: who reported that it had one, and when."""
    row = claimed(transaction, generation=generation)
    if seen == "busy":
        transaction.record(Transition(submission=row, to=State.BUSY), at - 10)
        row = next(r for r in transaction.open_submissions() if r.id == row.id)
    named = 100 + generation if seen == "with its end" else None
    transaction.record(Transition(submission=row, to=State.FAILED, reason=Reason.CRASHED, held_job_id=named), at)
    if seen == "later, by name":
        transaction.merge([a_job(100 + generation, status=DONE, runner_name=row.name)], at + 1)


@pytest.mark.parametrize("seen", ["busy", "with its end", "later, by name"])
def test_a_worker_that_its_job_killed_is_no_failure_of_its_endpoint(ledger: Ledger, seen: str) -> None:
    def write(transaction: Transaction) -> None:
        for generation in range(1, 5):
            killed_by_its_job(transaction, generation, NOW + generation, seen)

    async def main() -> None:
        await ledger.transact(write)
        assert await ledger.read(lambda transaction: transaction.streaks()) == {}

    asyncio.run(main())


@pytest.mark.parametrize("seen", ["busy", "with its end"])
def test_a_worker_that_took_a_job_proves_that_its_endpoint_works_even_if_the_job_killed_it(
    ledger: Ledger, seen: str
) -> None:
    def write(transaction: Transaction) -> None:
        for generation in range(1, 4):
            row = claimed(transaction, generation=generation)
            transaction.record(Transition(submission=row, to=State.FAILED, reason=Reason.CRASHED), NOW + generation)
        killed_by_its_job(transaction, 4, NOW + 100, seen)

    async def main() -> None:
        await ledger.transact(write)
        assert await ledger.read(lambda transaction: transaction.streaks()) == {}

    asyncio.run(main())


def test_requests_without_an_answer_count_until_runpod_answers_one(ledger: Ledger) -> None:
    def unanswered(transaction: Transaction, job_id: int, at: float, to: State = State.UNKNOWN) -> Submission:
        transaction.merge([a_job(job_id)], NOW)
        claim = Claim(pool=Pool("gpu", ORG), job_id=job_id, name=f"runpod-{job_id}-1", generation=1, endpoint="ep-1")
        (row,) = transaction.claim([(claim, a_route())], at)
        transaction.record(Transition(submission=row, to=to), at + 10)
        return replace(row, state=to)

    def counted() -> dict[str, tuple[float, ...]]:
        found = asyncio.run(ledger.read(lambda transaction: transaction.unanswered()))
        return {endpoint: tuple(sorted(times)) for endpoint, times in found.items()}

    def write(transaction: Transaction) -> None:
        unanswered(transaction, 1, NOW)
        unanswered(transaction, 2, NOW + 20, State.LOST)
        unanswered(transaction, 3, NOW + 30, State.SUBMITTING)
        found = unanswered(transaction, 4, NOW + 40)
        transaction.advance(found, State.STARTED)  # its worker has shown itself

    asyncio.run(ledger.transact(write))
    assert counted() == {"ep-1": (NOW, NOW + 20)}

    def answer(transaction: Transaction) -> None:
        transaction.advance(
            unanswered(transaction, 5, NOW + 10, State.SUBMITTING), State.SUBMITTED, since=NOW + 21, request_id="r5"
        )

    asyncio.run(ledger.transact(answer))
    assert counted() == {"ep-1": (NOW + 20,)}


def test_retry_forgets_the_attempts_of_an_open_job(ledger: Ledger) -> None:
    def write(transaction: Transaction) -> None:
        transaction.merge([a_job(1)], NOW)
        transaction.record(Transition(submission=claimed(transaction), to=State.FAILED, reason=Reason.CRASHED), NOW)

    async def main() -> None:
        await ledger.transact(write)
        assert (await ledger.read(lambda transaction: transaction.history()))[1].attempts == 1
        assert await ledger.transact(lambda transaction: transaction.retry(1, NOW - 600)), "by a clock that is behind"
        assert (await ledger.read(lambda transaction: transaction.history()))[1].attempts == 0
        assert not await ledger.transact(lambda transaction: transaction.retry(404, NOW + 1))

    asyncio.run(main())


def test_what_ended_long_ago_is_deleted_except_names_of_open_jobs(ledger: Ledger) -> None:
    def write(transaction: Transaction) -> None:
        transaction.merge([a_job(1), a_job(2, status=DONE), a_job(3, status=DONE)], NOW)
        transaction.hear([an_event("old", None, NOW - 10**6), an_event("new", None, NOW)])
        for job_id in (1, 2):
            transaction.record(Transition(submission=claimed(transaction, job_id), to=State.FINISHED), NOW)
        claim = Claim(pool=GPU, job_id=3, name="runpod-3-1", generation=1, endpoint="ep-1")
        transaction.claim([(claim, a_route())], NOW)

    def left(transaction: Transaction) -> tuple[set[int], set[str], frozenset[str]]:
        ids = set(transaction._connection.execute(sa.select(tables.jobs.c.id)).scalars())
        return (
            ids,
            {s.name for s in transaction.submissions(since=0.0, names=())},
            transaction.known_deliveries({"old", "new"}),
        )

    async def main() -> None:
        await ledger.transact(write)
        await ledger.transact(lambda transaction: transaction.prune(NOW + 1, NOW + 1))
        assert await ledger.read(left) == ({1}, {"runpod-1-1", "runpod-3-1"}, {"new"})

    asyncio.run(main())


def test_a_ledger_of_the_first_version_is_migrated_without_loss(url: str) -> None:
    upgraded(
        url,
        "0001",
        "INSERT INTO meta (born) VALUES (5)",
        "INSERT INTO jobs (id, run_id, repository, name, labels, status, created_at, public, fork, seen_at) "
        "VALUES (7, 1, 'acme/web', 'build', '[\"gpu\"]', 'queued', 1, :no, :no, 1)",
    )
    ledger = Ledger.open(url)
    ((job, _),) = asyncio.run(ledger.read(lambda transaction: transaction.jobs())).values()
    assert (job.id, job.labels, job.fork) == (7, ("gpu",), False)
    ledger.close()
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        (partial,) = (i for i in sa.inspect(connection).get_indexes("jobs") if i["name"] == "jobs_open")
        (condition,) = (str(v) for k, v in partial["dialect_options"].items() if k.endswith("_where"))
        assert "completed" in condition
    engine.dispose()


def test_ledgers_that_are_made_at_the_same_time_in_one_process_do_not_hinder_each_other() -> None:
    """As `bridge doctor` makes empty ones in memory for several of its checks."""
    with ThreadPoolExecutor(8) as threads:
        for ledger in threads.map(lambda _: Ledger.open("sqlite://"), range(16)):
            ledger.close()

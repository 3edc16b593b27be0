"""Where claims, submissions and jobs are written down: a crash loses nothing, nothing is done twice.

SQLAlchemy Core over SQLite. Every public coroutine runs its SQL in a thread.
"""

import asyncio
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Self, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine, RowMapping

from bridge.errors import ConfigError, Unavailable
from bridge.model import (
    ATTEMPT_STATES,
    FREE_REASONS,
    OPEN_STATES,
    Claim,
    Credentials,
    JobHistory,
    JobStatus,
    Move,
    Pool,
    Reason,
    Route,
    State,
    Submission,
    WorkflowJob,
)

SCHEMA = "0001"
"""The newest revision in migrations/versions."""

CLAIM_LEASE = 120.0
"""s that a dispatcher may take from a claim to its request, and for each record on the way."""

metadata = sa.MetaData()

meta = sa.Table("meta", metadata, sa.Column("born", sa.Float, nullable=False))

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("run_id", sa.BigInteger, nullable=False),
    sa.Column("repository", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("workflow_name", sa.Text),
    sa.Column("labels", sa.JSON, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("conclusion", sa.Text),
    sa.Column("runner_id", sa.BigInteger),
    sa.Column("runner_name", sa.Text),
    sa.Column("runner_group", sa.Text),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("started_at", sa.Float),
    sa.Column("completed_at", sa.Float),
    sa.Column("head_branch", sa.Text),
    sa.Column("html_url", sa.Text),
    sa.Column("public", sa.Boolean, nullable=False),
    sa.Column("fork", sa.Boolean, nullable=False),
    sa.Column("seen_at", sa.Float, nullable=False),
    sa.Index("jobs_open", "id", sqlite_where=sa.text("status != 'completed'")),
    sa.Index("jobs_runner_name", "runner_name"),
)

submissions = sa.Table(
    "submissions",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("job_id", sa.BigInteger, nullable=False),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("route", sa.Text, nullable=False),
    sa.Column("target", sa.Text, nullable=False),
    sa.Column("endpoint", sa.Text, nullable=False),
    sa.Column("credentials", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("since", sa.Float, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("lease_until", sa.Float, nullable=False),
    sa.Column("not_after", sa.Float, nullable=False),
    sa.Column("runner_id", sa.BigInteger),
    sa.Column("request_id", sa.Text),
    sa.Column("started_at", sa.Float),
    sa.Column("held_job_id", sa.BigInteger),
    sa.Column("reason", sa.Text),
    sa.Column("result", sa.Text),
    sa.Column("detail", sa.Text),
    sa.UniqueConstraint("job_id", "generation"),
    sa.Index("submissions_state_since", "state", "since"),
)

T = TypeVar("T")
_JOB_FIELDS = tuple(f.name for f in fields(WorkflowJob))


class Ledger:
    """The bridge's memory. Made by `open`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @classmethod
    def open(cls, url: str) -> Self:
        """Open the ledger, made or migrated as needed.

        Args:
            url: SQLAlchemy's, such as `sqlite:////var/lib/bridge/ledger.sqlite3`.

        Raises:
            ConfigError: the database cannot be opened, or is of a newer bridge.
        """
        engine = _engine(url)
        try:
            with engine.connect() as connection:
                _migrate(connection)
            return cls(engine)
        except sa.exc.DBAPIError as error:
            raise ConfigError(f"BRIDGE_DATABASE_URL: cannot open the ledger: {error.orig}") from None

    @classmethod
    def open_to_look(cls, url: str) -> Self:
        """Open the ledger without making or migrating it; where there is none, an empty one in memory."""
        path = sa.make_url(url).database
        return cls.open(url if path and Path(path).exists() else "sqlite://")

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    async def transact(self, work: Callable[["Books"], T]) -> T:
        """Run `work` in one write transaction; transactions of all dispatchers follow each other."""
        return await asyncio.to_thread(self._transact, work)

    async def preview(self, work: Callable[["Books"], T]) -> T:
        """Run `work` as `transact` would, and keep nothing of what it wrote."""
        return await asyncio.to_thread(self._preview, work)

    async def read(self, work: Callable[["Books"], T]) -> T:
        """Run `work`, which only reads, beside any transaction."""
        return await asyncio.to_thread(self._read, work)

    async def advance(self, submission: Submission, to: State, **values: Any) -> bool:
        """Record an arrow of one submission, unless its state has changed meanwhile.

        Args:
            submission: as last read; only its id and state are used.
            to: the new state.
            values: further columns.

        Returns:
            Whether it was recorded: False tells the caller that another dispatcher has taken over.
        """
        return await self.transact(lambda books: books.advance(submission, to, **values))

    def _transact(self, work: Callable[["Books"], T]) -> T:
        try:
            with self._engine.begin() as connection:
                return work(Books(connection))
        except sa.exc.OperationalError as error:
            raise Unavailable(f"the ledger could not be written: {error.orig}") from None

    def _preview(self, work: Callable[["Books"], T]) -> T:
        with self._engine.connect() as connection:
            return work(Books(connection))  # the connection's end rolls it back

    def _read(self, work: Callable[["Books"], T]) -> T:
        with self._engine.connect().execution_options(only_reads=True) as connection:
            return work(Books(connection))


class Books:
    """The ledger within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def born(self) -> float:
        """Unix seconds when this ledger was made."""
        return float(self._connection.execute(sa.select(meta.c.born)).scalar_one())

    def merge(self, seen: Iterable[WorkflowJob], at: float) -> None:
        """Write what a look-up begun `at` (Unix seconds) told of jobs, unless something newer is known."""
        told = {job.id: job for job in seen}
        query = sa.select(jobs.c.id, jobs.c.seen_at).where(jobs.c.id.in_(told))
        known = {row.id: row.seen_at for row in self._connection.execute(query)}
        rows = [{**asdict(job), "seen_at": at} for job in told.values() if known.get(job.id, 0.0) <= at]
        fresh = [row for row in rows if row["id"] not in known]
        stale = [{f"_{k}": v for k, v in row.items()} for row in rows if row["id"] in known]
        if fresh:
            self._connection.execute(sa.insert(jobs), fresh)
        if stale:
            values: dict[str, Any] = {c.name: sa.bindparam(f"_{c.name}") for c in jobs.c if c.name != "id"}
            self._connection.execute(sa.update(jobs).where(jobs.c.id == sa.bindparam("_id")).values(values), stale)

    def jobs(self) -> dict[int, tuple[WorkflowJob, float]]:
        """Jobs not completed and those whose runner is of an open submission, with when they were seen."""
        open_names = sa.select(submissions.c.name).where(_is_open())
        relevant = (jobs.c.status != JobStatus.COMPLETED) | jobs.c.runner_name.in_(open_names)
        rows = self._connection.execute(sa.select(jobs).where(relevant)).mappings()
        return {row["id"]: (_job(row), row["seen_at"]) for row in rows}

    def submissions(self, *, since: float, names: Collection[str]) -> tuple[Submission, ...]:
        """The open submissions, those that changed after `since` (Unix seconds), and those of these names."""
        wanted = _is_open() | (submissions.c.since > since) | submissions.c.name.in_(names)
        return tuple(self._select(wanted))

    def open_submissions(self) -> tuple[Submission, ...]:
        """Those that count against a route's max_workers."""
        return tuple(self._select(_is_open()))

    def history(self) -> Mapping[int, JobHistory]:
        """What came of earlier submissions for each job that is not completed."""
        s = submissions.c
        reason_free = sa.func.coalesce(s.reason, "").in_(FREE_REASONS)
        attempt = sa.case((s.state.in_(ATTEMPT_STATES) & ~reason_free, 1), else_=0)
        ended = sa.case((s.state.in_(OPEN_STATES), 0.0), else_=s.since)
        query = (
            sa.select(
                s.job_id,
                sa.func.max(s.generation).label("generation"),
                sa.func.sum(attempt).label("attempts"),
                sa.func.max(s.created_at).label("last_claim"),
                sa.func.max(ended).label("last_end"),
            )
            .where(s.job_id.in_(sa.select(jobs.c.id).where(jobs.c.status != JobStatus.COMPLETED)))
            .group_by(s.job_id)
        )
        rows = self._connection.execute(query).mappings()
        return {row["job_id"]: JobHistory(**{k: v for k, v in row.items() if k != "job_id"}) for row in rows}

    def claim(self, claim: Claim, route: Route, now: float) -> Submission:
        """Write a claim; its name can never be claimed again."""
        submission = Submission(
            id=uuid.uuid4().hex,
            name=claim.name,
            job_id=claim.job_id,
            generation=claim.generation,
            pool=claim.pool,
            endpoint=route.endpoint,
            credentials=route.credentials,
            state=State.CLAIMED,
            since=now,
            created_at=now,
            lease_until=now + CLAIM_LEASE,
            not_after=now + route.queue_timeout,
        )
        self._connection.execute(sa.insert(submissions), _row(submission))
        return submission

    def record(self, move: Move, at: float) -> bool:
        """Write what was seen of a submission at `at` (Unix seconds)."""
        values = {
            "reason": move.reason,
            "held_job_id": move.held_job_id,
            "result": move.result,
            "detail": move.detail,
        }
        told = {k: v for k, v in values.items() if v is not None}
        return self.advance(move.submission, move.to, since=at, **told)

    def advance(self, submission: Submission, to: State, **values: Any) -> bool:
        """See `Ledger.advance`."""
        values.setdefault("since", time.time())
        if to is State.STARTED:
            values["started_at"] = sa.func.coalesce(submissions.c.started_at, values["since"])
        unchanged = (submissions.c.id == submission.id) & (submissions.c.state == submission.state)
        result = self._connection.execute(sa.update(submissions).where(unchanged).values(state=to, **values))
        return result.rowcount == 1

    def _select(self, where: sa.ColumnElement[bool]) -> Iterator[Submission]:
        rows = self._connection.execute(sa.select(submissions).where(where)).mappings()
        return (_submission(row) for row in rows)


def _is_open() -> sa.ColumnElement[bool]:
    return submissions.c.state.in_(OPEN_STATES)


def _job(row: RowMapping) -> WorkflowJob:
    values = {name: row[name] for name in _JOB_FIELDS}
    return WorkflowJob(**{**values, "labels": tuple(row["labels"]), "status": JobStatus(row["status"])})


def _submission(row: RowMapping) -> Submission:
    values: dict[str, Any] = dict(row)
    pool = Pool(values.pop("route"), values.pop("target"))
    values["credentials"] = Credentials(values["credentials"])
    values["state"] = State(values["state"])
    values["reason"] = Reason(values["reason"]) if values["reason"] else None
    return Submission(pool=pool, **values)


def _row(submission: Submission) -> dict[str, Any]:
    values = {f.name: getattr(submission, f.name) for f in fields(submission) if f.name != "pool"}
    return {**values, "route": submission.pool.route, "target": submission.pool.target}


def _engine(url: str) -> Engine:
    parsed = sa.make_url(url)
    in_memory = parsed.database in (None, "", ":memory:")
    if not in_memory:
        Path(str(parsed.database)).parent.mkdir(parents=True, exist_ok=True)
    pool = sa.pool.StaticPool if in_memory else None
    engine = sa.create_engine(url, poolclass=pool, connect_args={"timeout": 30, "check_same_thread": False})
    sa.event.listen(engine, "connect", _configure)
    sa.event.listen(engine, "begin", _begin)
    return engine


def _configure(connection: Any, _record: Any) -> None:
    # SQLAlchemy, not sqlite3, begins transactions:
    # https://docs.sqlalchemy.org/en/20/dialects/sqlite.html#enabling-non-legacy-sqlite-transactional-modes-with-the-sqlite3-or-aiosqlite-driver
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")


def _begin(connection: Connection) -> None:
    # A writer waits here, before it reads, so what it read stays true until it commits.
    only_reads = connection.get_execution_options().get("only_reads")
    connection.exec_driver_sql("BEGIN" if only_reads else "BEGIN IMMEDIATE")


def _migrate(connection: Connection) -> None:
    found = _revision(connection)
    if found == SCHEMA:
        return
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    try:
        if found:
            ScriptDirectory.from_config(config).get_revision(found)
        command.upgrade(config, "head")
    except CommandError:
        raise ConfigError(
            f"BRIDGE_DATABASE_URL: the ledger's schema {found} is newer than this bridge's {SCHEMA}: upgrade the bridge"
        ) from None
    if not connection.execute(sa.select(meta.c.born)).first():
        connection.execute(sa.insert(meta).values(born=time.time()))
    connection.commit()


def _revision(connection: Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()

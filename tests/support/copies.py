"""Dispatchers for the modelled world: the real reconciler and the real ledger's transactions, in one thread.

At each of their calls, also to the ledger, a history may let them wait, fail or die.
"""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from itertools import count
from typing import Any, TypeVar

import sqlalchemy as sa
import structlog

from bridge.controller.reconcile import Reconciler
from bridge.controller.report import Report
from bridge.core.lost import SeenRun
from bridge.core.model import (
    Absent,
    Cancellation,
    Deleted,
    EndpointHealth,
    JitConfig,
    JobStatus,
    RegistrationToken,
    Repository,
    Request,
    Runner,
    Sent,
    WaitingRun,
    WorkflowJob,
)
from bridge.core.routing import match
from bridge.core.scope import Route
from bridge.core.submissions import OPEN_STATES, WAITING_STATES, State, Submission
from bridge.errors import BridgeError, NameTaken, OutcomeUnknown, Unavailable
from bridge.ledger import Transaction, metadata
from bridge.ledger.database import connect
from bridge.ledger.rows import LastRead
from bridge.ledger.tables import meta
from tests.support.modelled import ROUTES, SCOPE, World

T = TypeVar("T")


class Mishap(StrEnum):
    """What happens to one call of a dispatcher."""

    WAIT = "it takes until the history lets it go on"
    RACE = "just before it, workers start and take what jobs they can"
    REFUSED = "nothing is done, and that is known"
    LOST = "it is done, and the answer is lost"
    NOT_DONE = "it is not done, and no answer comes"
    DIE_BEFORE = "the dispatcher dies before it"
    DIE_AFTER = "the dispatcher dies after it"


class Died(Exception):
    """The dispatcher has died."""


class Store:
    """A ledger in memory, with the rules that must hold at any time."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._generations: dict[int, int] = {}
        self._seen: set[str] = set()
        self._ids = count()
        self._engine = connect("sqlite://")
        self._last_read = LastRead()
        with self._engine.begin() as connection:
            metadata.create_all(connection)
            connection.execute(sa.insert(meta).values(born=world.now))

    def _new_id(self) -> str:
        return f"{next(self._ids):032x}"

    def run(self, work: Callable[[Transaction], T], *, keep: bool = True) -> T:
        with self._engine.connect() as connection, connection.begin() as transaction:
            with Transaction(connection, self._last_read, self._world.time, self._new_id) as within:
                result = work(within)
            if not keep:
                transaction.rollback()
        return result

    def rows(self) -> tuple[Submission, ...]:
        return self.run(lambda transaction: transaction.submissions(since=0.0, names=()))

    def check(self, *, truthful: bool = False) -> None:
        """Hold the ledger to DESIGN's rules; `truthful` if what it knows of jobs is what is so."""
        rows = self.rows()
        new = [row for row in rows if row.id not in self._seen]
        for route in ROUTES:
            live = [row for row in rows if row.pool.route == route.name and row.state in OPEN_STATES]
            assert len(live) <= route.max_workers, f"{route.name} has {len(live)} open"
            if any(row.pool.route == route.name for row in new):
                # Of those without an answer it may be doubted whether they exist.
                told = self._world.now - SCOPE.timing.unknown_lease
                sure = [row for row in live if row.state is not State.UNKNOWN or row.since > told]
                waiting = [row for row in sure if row.state in WAITING_STATES and self._can_take_a_job(row)]
                known = [job for job, _ in self.run(lambda transaction: transaction.jobs()).values()]
                assert len(waiting) <= _demand(known, route), f"{route.name}: more runners than jobs known"
                if truthful:
                    assert len(waiting) <= _demand(self._world.jobs.values(), route), f"{route.name}: too many"
        for row in sorted(new, key=lambda row: (row.job_id, row.generation)):
            assert row.generation > self._generations.get(row.job_id, 0)
            self._generations[row.job_id] = row.generation
        assert len({row.name for row in rows}) == len(rows)
        self._seen |= {row.id for row in rows}

    def _can_take_a_job(self, row: Submission) -> bool:
        """Whether its registration is there, or may still be made."""
        return row.runner_id is None or row.runner_id in self._world.runners

    def backup(self) -> dict[str, list[dict[str, Any]]]:
        """What it holds."""
        with self._engine.connect() as connection:
            return {
                table.name: [dict(row) for row in connection.execute(sa.select(table)).mappings()]
                for table in metadata.sorted_tables
            }

    def restore(self, copy: Mapping[str, list[dict[str, Any]]]) -> None:
        """Put back what it held; it has forgotten the names that it used since."""
        with self._engine.begin() as connection:
            for table in metadata.sorted_tables:
                connection.execute(sa.delete(table))
                if copy[table.name]:
                    connection.execute(sa.insert(table), copy[table.name])
        self._last_read = LastRead()
        rows = self.rows()
        self._seen = {row.id for row in rows}
        self._generations = {}
        for row in rows:
            self._generations[row.job_id] = max(row.generation, self._generations.get(row.job_id, 0))

    def close(self) -> None:
        self._engine.dispose()


def _demand(jobs: Any, route: Route) -> int:
    queued = (job for job in jobs if job.status is JobStatus.QUEUED)
    return sum(match(job.labels, job.repository, ROUTES) == route for job in queued)


class Process:
    """One dispatcher: its passes, until it dies."""

    def __init__(self, loop: asyncio.AbstractEventLoop, world: World, store: Store, *, webhook: bool) -> None:
        self._loop, self._world, self.store = loop, world, store
        self._script: dict[int, Mishap] = {}
        self._calls = 0
        self._paused: list[asyncio.Future[None]] = []
        self._passes: list[asyncio.Task[Report]] = []
        self.dead = False
        self.disturbed = False  # since the pass began
        # With a delivery log a resync scans the repositories only now and then.
        self.sees_all = not webhook
        self.truthful = False
        self.races = False  # before each deletion of a runner
        log = _Log(self, world) if webhook else None
        self._reconciler = Reconciler(
            SCOPE,
            _GitHub(self, world),
            _RunPod(self, world),
            _Ledger(self),
            log,
            clock=world.time,
        )

    @property
    def waits(self) -> int:
        """How many of its calls wait to go on."""
        return len(self._paused)

    def resync(self, script: Mapping[int, Mishap], *, races: bool = False) -> Report | None:
        """A resync; its report if it has ended."""
        self.truthful, self.races = self.sees_all, races
        return self._begin(self._reconciler.resync(), script)

    def event_pass(self, ended: Collection[str], script: Mapping[int, Mishap]) -> Report | None:
        """A pass on events."""
        self.truthful = self.races = False
        return self._begin(self._reconciler.event_pass(ended), script)

    def explain(self) -> Any:
        """What it would do now. No call fails: only a pass has a script."""
        self._script = {}
        return self._loop.run_until_complete(self._reconciler.explain())

    def resume(self, which: int) -> None:
        """Let a waiting call go on."""
        self._paused.pop(which % len(self._paused)).set_result(None)
        self._script, self.disturbed, self.races = {}, True, False
        self._settle()

    def die(self) -> None:
        """kill -9, with all that is in hand."""
        self.dead = True
        while self._paused:
            self._paused.pop().set_result(None)
        self._settle()

    def _begin(self, running: Coroutine[Any, Any, Report], script: Mapping[int, Mishap]) -> Report | None:
        self._script, self._calls, self.disturbed = dict(script), 0, bool(self._passes) or self.races
        task = self._loop.create_task(running)
        self._passes.append(task)
        self._settle()
        ended = task.done() and task.exception() is None
        return task.result() if ended and not self.dead else None

    def _settle(self) -> None:
        """Run until everything has ended or waits."""

        async def idle() -> None:
            while self._loop._ready:  # type: ignore[attr-defined]  # noqa: ASYNC110 - there is no event to wait for
                await asyncio.sleep(0)

        self._loop.run_until_complete(idle())
        ended = [task for task in self._passes if task.done()]
        self._passes = [task for task in self._passes if not task.done()]
        for task in ended:
            error = task.exception()
            assert error is None or isinstance(error, Died | BridgeError), repr(error)

    async def call(self, do: Callable[[], T], lost: type[BridgeError] = Unavailable, *, kept: bool = False) -> T:
        """One call: as the script says, else as it should be.

        Args:
            do: what it does.
            lost: the error when no answer comes.
            kept: of the ledger, which does not lose answers.
        """
        mishap = self._script.get(self._calls)
        self._calls += 1
        self.disturbed |= mishap is not None
        if mishap is Mishap.WAIT:
            waiting = self._loop.create_future()
            self._paused.append(waiting)
            try:
                await waiting
            finally:
                if waiting in self._paused:  # the pass gave this call up after an error of another one
                    self._paused.remove(waiting)
        if mishap is Mishap.RACE:
            self._world.race()
        self.dead |= mishap is Mishap.DIE_BEFORE
        if self.dead:
            raise Died
        if mishap is Mishap.REFUSED or (kept and mishap is Mishap.NOT_DONE):
            raise Unavailable("it failed")
        if mishap is Mishap.NOT_DONE:
            raise lost("no answer")
        result = do()
        self.dead |= mishap is Mishap.DIE_AFTER
        if self.dead:
            raise Died
        if mishap is Mishap.LOST and not kept:
            raise lost("no answer")
        return result


class _Ledger:
    """The ledger as the reconciler uses it, without threads."""

    def __init__(self, process: Process) -> None:
        self._process, self._store = process, process.store

    async def transact(self, work: Callable[[Transaction], T]) -> T:
        def do() -> T:
            result = self._store.run(work)
            self._store.check(truthful=self._process.truthful and not self._process.disturbed)
            return result

        return await self._process.call(do, kept=True)

    async def read(self, work: Callable[[Transaction], T]) -> T:
        return await self._process.call(lambda: self._store.run(work), kept=True)

    async def preview(self, work: Callable[[Transaction], T]) -> T:
        return self._store.run(work, keep=False)

    async def advance(self, submission: Submission, to: State, **values: Any) -> bool:
        def do() -> bool:
            return self._store.run(lambda transaction: transaction.advance(submission, to, **values))

        return await self._process.call(do, kept=True)


class _GitHub:
    def __init__(self, process: Process, world: World) -> None:
        self._process, self._call, self._world = process, process.call, world

    async def repositories(self, owner: str) -> tuple[Repository, ...]:
        raise AssertionError("they are configured")

    async def repository(self, name: str) -> Repository | None:
        return await self._call(lambda: Repository(id=1, full_name=name, public=False))

    async def waiting_runs(self, repository: str) -> tuple[WaitingRun, ...]:
        return ()

    async def run_jobs(self, run: WaitingRun) -> tuple[WorkflowJob, ...]:
        raise AssertionError("none waits")

    async def open_jobs(self, repository: str) -> tuple[WorkflowJob, ...]:
        jobs = self._world.jobs
        return await self._call(lambda: tuple(j for j in jobs.values() if j.status is not JobStatus.COMPLETED))

    async def job(self, repository: str, job_id: int) -> WorkflowJob | None:
        return await self._call(lambda: self._world.jobs.get(job_id))

    async def is_fork(self, repository: str, run_id: int) -> bool:
        return await self._call(lambda: False)

    async def runners(self, target: str) -> tuple[Runner, ...]:
        return await self._call(lambda: tuple(self._world.runners.values()))

    runners_at_low_priority = runners

    async def runner_group_id(self, target: str, name: str) -> int:
        return 1

    async def generate_jit_config(self, target: str, *, name: str, labels: list[str], group_id: int) -> JitConfig:
        runner_id = await self._call(lambda: self._world.register(name, labels), OutcomeUnknown)
        if runner_id is None:
            raise NameTaken(f"{name} exists", status=409)
        return JitConfig(runner_id=runner_id, encoded=str(runner_id))

    async def registration_token(self, target: str) -> RegistrationToken:
        until = self._world.now + 3600
        return await self._call(lambda: RegistrationToken(token="t", expires_at=until))

    async def seen_run(self, repository: str, run_id: int) -> SeenRun | None:
        raise AssertionError("no route re-runs jobs")

    async def rerun_job(self, repository: str, job_id: int) -> None:
        raise AssertionError("no route re-runs jobs")

    async def delete_runner(self, target: str, runner_id: int) -> Deleted | Absent | None:
        def delete() -> Deleted | Absent | None:
            if self._process.races:
                self._world.race()
            return self._world.delete(runner_id)

        return await self._call(delete)


class _RunPod:
    def __init__(self, process: Process, world: World) -> None:
        self._call, self._world = process.call, world

    async def status(self, endpoint: str, request_id: str) -> Request:
        return await self._call(lambda: self._world.status(request_id))

    async def health(self, endpoint: str) -> EndpointHealth:
        return await self._call(lambda: self._world.health(endpoint))

    async def prepare(self, endpoint: str) -> None: ...

    async def submit(
        self, endpoint: str, route: Route, worker_input: Mapping[str, object], callback: str | None
    ) -> str:
        return await self._call(lambda: self._world.submit(endpoint, route, worker_input), OutcomeUnknown)

    async def cancel(self, cancellation: Cancellation) -> None:
        await self._call(lambda: self._world.cancel(cancellation.request_id, cancellation.proof))


class _Log:
    """The App's delivery log."""

    def __init__(self, process: Process, world: World) -> None:
        self._call, self._world = process.call, world

    async def is_kept(self) -> bool:
        return True

    async def since(self, at: float) -> tuple[Sent, ...]:
        log = [
            Sent(
                id=n,
                guid=e.guid,
                event="workflow_job",
                at=e.at,
                action=str(e.job.status) if e.job else None,
                repository_id=1,
            )
            for n, e in enumerate(self._world.log)
        ]
        return await self._call(lambda: tuple(sent for sent in reversed(log) if sent.at >= at))

    async def job(self, delivery_id: int) -> WorkflowJob | None:
        return await self._call(lambda: self._world.log[delivery_id].job)


class _Silent(structlog.BoundLoggerBase):
    """A log that writes nothing."""

    def info(self, event: str, **values: Any) -> None: ...

    warning = info


@contextmanager
def unlogged() -> Iterator[None]:
    """The bridge without its log."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=_Silent)
    try:
        yield
    finally:
        structlog.configure(**before)

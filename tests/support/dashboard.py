"""A ledger full of jobs, and the dashboard that shows it, served without passes."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from bridge.commands.composition import composed
from bridge.commands.dashboard import dashboard_routes
from bridge.config.credentials import Pat
from bridge.config.dashboard import DashboardSettings
from bridge.config.settings import Config
from bridge.core.actions import Claim
from bridge.core.history import Execution
from bridge.core.model import EndpointHealth, Event, JobStatus, WorkflowJob
from bridge.core.readings import Readings, Timed
from bridge.core.scope import Route, Scope
from bridge.core.submissions import Pool, State, Submission
from bridge.core.worker import Reason
from bridge.errors import Problem
from bridge.ledger import Ledger, Transaction
from bridge.service.connections import Server, Warnings
from bridge.service.run import server_config
from tests.support.background import served
from tests.support.values import ORG, a_job, a_route
from tests.unit.service.test_http import some_dependencies

ROUTES = (
    a_route(name="l4", labels=("runpod", "l4"), endpoint="ep-l4", max_workers=8),
    a_route(name="a100", labels=("runpod", "a100"), endpoint="ep-a100", max_workers=2),
)
NAMES = ("unit tests", "train (small)", "benchmark", "convert weights", "evaluate", "lint kernels")
REPOSITORIES = ("acme/web", "acme/models", "acme/kernels")


def a_config(url: str, routes: Sequence[Route] = ROUTES, **given: Any) -> Config:
    """A configuration for this ledger; `given` are fields of `DashboardSettings`, or addresses."""
    public_url, web_url = given.pop("public_url", None), given.pop("web_url", "https://github.com")
    names = given.pop("endpoint_names", {})
    return Config(
        scope=Scope(
            owner="acme",
            organisation="acme",
            repositories=(),
            routes=tuple(routes),
            prefix="runpod",
            web_url=web_url,
            public_url=public_url,
            endpoint_names=names,
        ),
        github_api_url=given.pop("api_url", "http://127.0.0.1:9/api/v3"),
        github=Pat(token="ghp_secretpersonaltoken"),
        runpod_api_key="rp_secret_key",
        runpod_base_url="http://127.0.0.1:9/v2",
        management_api_key=None,
        management_url="http://127.0.0.1:9",
        database_url=url,
        webhook_secrets=("it's a webhook secret",),
        dashboard=DashboardSettings(**given),
    )


@dataclass
class Filled:
    """A ledger that a test fills.

    Args:
        url: of the ledger.
        now: Unix seconds.
    """

    url: str
    now: float

    def write(self, *works: Any) -> None:
        ledger = Ledger.open(self.url, lambda: self.now)
        try:
            # In a thread of its own: Playwright's loop runs in the one of the test.
            with ThreadPoolExecutor(1) as thread:
                changed = ledger.transact(lambda transaction: [work(transaction) for work in works])
                thread.submit(asyncio.run, changed).result()
        finally:
            ledger.close()

    def job(self, number: int, **given: Any) -> WorkflowJob:
        """A job with plausible values, and those that are given."""
        route = ROUTES[number % len(ROUTES)]
        values: dict[str, Any] = {
            "run_id": 7_000_000 + number // 4,
            "repository": REPOSITORIES[number % len(REPOSITORIES)],
            "name": NAMES[number % len(NAMES)],
            "workflow_name": "CI",
            "head_branch": "main" if number % 3 else "feature/faster-attention",
            "labels": ("self-hosted", *sorted(route.labels)),
            "created_at": self.now - 40 * (number % 60) - 30,
            "html_url": f"https://github.com/acme/web/actions/runs/7/job/{number}",
            "run_attempt": 1,
        }
        return a_job(number, **{**values, **given})

    def known(self) -> None:
        """What a resync read, before the requests of `starting`: the runners, and the health of the endpoints."""
        l4 = EndpointHealth(in_queue=1, in_progress=2, workers={"running": 2, "initializing": 1})
        a100 = EndpointHealth(in_queue=2, workers={"throttled": 2})
        health = {"ep-l4": Timed(self.now, l4), "ep-a100": Timed(self.now, a100)}
        read = Readings(runners={ORG: Timed(self.now - 70, ())}, health=health)
        self.write(lambda transaction: transaction.note(read))

    def queued(self, *jobs: WorkflowJob) -> None:
        self.write(lambda transaction: transaction.merge(jobs, self.now))

    def finished(self, numbers: Sequence[int]) -> None:
        """Jobs that ran on our runners; every ninth one failed."""

        def add(transaction: Transaction) -> None:
            for number in numbers:
                (claimed,) = _claimed(transaction, [number], self._start_of(number) - 15)
                self._finish(transaction, number, claimed)

        self.write(add)

    def _start_of(self, number: int) -> float:
        return self.now - 3600 + number * 7 % 3300

    def _finish(self, transaction: Transaction, number: int, submission: Submission) -> None:
        start = self._start_of(number)
        done = self.job(
            number,
            status=JobStatus.COMPLETED,
            conclusion="failure" if number % 9 == 0 else "success",
            runner_name=submission.name,
            runner_id=number,
            created_at=start - 20 - number % 90,
            started_at=start,
            completed_at=start + 200,
        )
        event = Event(guid=str(number), at=start - 19 - number % 90, job=replace(done, status=JobStatus.QUEUED))
        transaction.hear([event])
        transaction.merge([done], start + 200)
        submission = _advanced(transaction, submission, start - 14, State.MINTED, State.SUBMITTING, State.SUBMITTED)
        submission = _advanced(transaction, submission, start - 2, State.STARTED)
        transaction.advance(submission, State.BUSY, since=start, held_job_id=number)
        submission = replace(submission, state=State.BUSY, taken_at=start)
        transaction.advance(submission, State.FINISHED, since=start + 200)
        transaction.keep_executions({submission.id: Execution(delay=12.0, execution=210.0, worker_id="w1x2y3")})

    def running(self, *numbers: int) -> None:
        """Jobs on our runners."""

        def add(transaction: Transaction) -> None:
            for number in numbers:
                began = self.now - 90 - 60 * (number % 9)
                (claimed,) = _claimed(transaction, [number], began - 62)
                asked = _advanced(transaction, claimed, began - 60, State.MINTED, State.SUBMITTING, State.SUBMITTED)
                submission = _advanced(transaction, asked, began - 20, State.STARTED)
                transaction.advance(submission, State.BUSY, since=began, held_job_id=number)
                on = {"runner_name": submission.name, "runner_id": number, "started_at": began}
                job = self.job(number, status=JobStatus.IN_PROGRESS, created_at=began - 65, **on)
                transaction.merge([job], self.now)

        self.write(add)

    def starting(self, *numbers: int) -> None:
        """Queued jobs for which a runner was requested."""

        def add(transaction: Transaction) -> None:
            transaction.merge([self.job(number) for number in numbers], self.now - 60)
            for submission in _claimed(transaction, numbers, self.now - 60):
                _advanced(transaction, submission, self.now - 58, State.MINTED, State.SUBMITTING, State.SUBMITTED)

        self.write(add)

    def failing(self, *numbers: int) -> None:
        """Requests whose workers crashed: they open the breaker of their endpoint."""

        def add(transaction: Transaction) -> None:
            for place, submission in enumerate(_claimed(transaction, numbers, self.now - 300)):
                asked = _advanced(
                    transaction, submission, self.now - 290, State.MINTED, State.SUBMITTING, State.SUBMITTED
                )
                why: Any = {"reason": Reason.CRASHED, "detail": "the worker exited with status 1"}
                transaction.advance(asked, State.FAILED, since=self.now - 200 + place, **why)

        self.write(add)


def _claimed(transaction: Transaction, numbers: Sequence[int], at: float) -> tuple[Submission, ...]:
    made = [
        (
            Claim(
                pool=Pool(route.name, ORG), job_id=n, name=f"runpod-{n}-1", generation=1, endpoint=route.endpoints[0]
            ),
            route,
        )
        for n in numbers
        for route in [ROUTES[n % len(ROUTES)]]
    ]
    return transaction.claim(made, at)


def _advanced(transaction: Transaction, submission: Submission, at: float, *states: State) -> Submission:
    """The submission after these transitions, which take half a second each."""
    for place, state in enumerate(states):
        changes: Any = {"runner_id": submission.job_id} if state is State.MINTED else {}
        changes |= {"request_id": f"r{submission.job_id}"} if state is State.SUBMITTED else {}
        assert transaction.advance(submission, state, since=at + place / 2, **changes)
        submission = replace(submission, state=state, **changes)
    return submission


def filled(url: str) -> Filled:
    """An empty ledger that was read just now."""
    made = Filled(url, time.time())
    made.known()
    return made


@dataclass
class Shown:
    """A dashboard that is served.

    Args:
        url: where.
        problems: what it shows as failing; a test may change it.
    """

    url: str
    problems: list[Problem]


@contextmanager
def shown(config: Config, *, host: str = "127.0.0.1", port: int = 0) -> Iterator[Shown]:
    """Serve the dashboard of a ledger until the block ends; without a port on a free one."""

    @asynccontextmanager
    async def service() -> AsyncIterator[Shown]:
        stop, problems, warnings = asyncio.Event(), list[Problem](), Warnings()
        with socket.create_server((host, port)) as listener:
            async with (
                composed(config, dry_run=True) as bridge,
                dashboard_routes(config, bridge, lambda: problems, lambda: None, stop) as pages,
            ):
                server = Server(server_config(replace(some_dependencies(), pages=pages), warnings), warnings)
                serving = asyncio.create_task(server.serve([listener]))
                yield Shown(f"http://{host}:{listener.getsockname()[1]}", problems)
                stop.set()
                server.should_exit = True
                await serving

    with served(service) as made:
        yield made


__all__ = ["ROUTES", "Filled", "Shown", "a_config", "filled", "shown"]

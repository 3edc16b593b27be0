"""A deployment to break: emulators with instant workers, dispatchers in this process, and the rules that must hold."""

import asyncio
import json
import os
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import sqlalchemy as sa

from bridge.commands.serve import serve
from bridge.config.settings import Config, load
from bridge.core.submissions import OPEN_STATES, Submission
from bridge.core.timing import Retry, Timing
from bridge.emulator.github import UNLIMITED, Budget, GitHubState, Limits
from bridge.emulator.github.state import Job
from bridge.emulator.runpod.state import TERMINAL, EndpointConfig
from bridge.github.timing import GitHubTiming
from bridge.ledger import Ledger
from bridge.service.run import listening
from tests.support.background import served, until
from tests.support.emulators import Emulators, emulators
from tests.support.github import a_github, a_run, a_spec
from tests.support.histories import broken_histories
from tests.support.service import CALLBACK_KEY, SECRET, free_port

TIMING = Timing(
    claim_lease=0.6,
    boot_allowance=1.0,
    unknown_lease=0.6,
    gone_after=0.6,
    min_listening=1.0,
    stuck_job=Retry(3.0, 10.0),
    stuck_pool=Retry(2.0, 8.0),
    fresh_job=1.5,
    held_run=Retry(10.0, 10.0),
    failing_job=Retry(0.5, 10.0),
    quiet=1.5,
    probe=2.0,
    breaker_shortest=0.3,
    breaker_longest=2.0,
    starved_kept=20.0,
    starved_longest=2.0,
    refusal=Retry(0.3, 2.0),
    rejected_read=Retry(0.3, 1.0),
    failed_read=Retry(0.1, 0.5),
    look_up_after=0.2,
    last_answer=1.2,
)
"""How long the bridge waits: short enough for tests, in the same order as the real durations."""

GITHUB_TIMING = GitHubTiming(retry_wait=0.01)
"""How long the bridge's client of GitHub waits, in the same way."""


SPILL_AFTER = 1.0
"""s; the shortest that the configuration allows would take too long here."""


def configured(timing: Timing, **limits: Any) -> Config:
    """The configuration of the environment, with short waits.

    Args:
        timing: how long the bridge waits.
        limits: fields of the scope that are changed.
    """
    settings = load(None)
    routes = tuple(replace(route, spill_after=SPILL_AFTER) for route in settings.scope.routes)
    return replace(settings, scope=replace(settings.scope, interval=0.2, timing=timing, routes=routes, **limits))


PATIENT = Limits(pickup=20.0, heartbeat=20.0, renewal=20.0)
HASTY = Limits(pickup=2.0, heartbeat=1.0, renewal=2.0)
"""GitHub's limits, shortened too: HASTY where runners die, PATIENT where a slow runner must not look dead."""

WORKERS = 20

CANARY = 20.0
"""s in which a job is served that is queued when all is well again. By the scale of TIMING, a minute is 0.6 s."""


@dataclass(kw_only=True)
class Deployment:
    """GitHub, RunPod and the dispatchers that a test starts.

    Args:
        emulators: both emulators.
        database_urls: the ledgers that were used.
        cancelled: ids of the jobs that the test has cancelled.
        may_fail: how many jobs may fail, because the test lets their runners die.
        timing: how long its dispatchers wait.
        limits: fields of their scope that are changed.
    """

    emulators: Emulators
    timing: Timing = TIMING
    database_urls: list[str] = field(default_factory=list)
    cancelled: set[int] = field(default_factory=set)
    may_fail: int = 0
    limits: dict[str, Any] = field(default_factory=dict)

    @property
    def github(self) -> GitHubState:
        return self.emulators.github.state

    @property
    def jobs(self) -> list[Job]:
        return list(self.github.jobs.values())

    def queue(self, count: int = 1, repository: str = "acme/web") -> list[Job]:
        """Queue jobs, each in its own run."""
        runs = [self.github.add_run(repository, a_run(a_spec(f"job {n}"))) for n in range(count)]
        return [job for run in runs for job in run.jobs.values()]

    def cancel(self, *jobs: Job) -> None:
        """Cancel jobs, as a person would."""
        for job in jobs:
            self.cancelled.add(job.id)
            self.github.cancel_job(job)

    def over(self) -> bool:
        """Whether every job has ended and no runner or open request is left."""
        requests = self.emulators.runpod.state.requests.values()
        done = all(job.status == "completed" for job in self.jobs)
        return done and not self.github.runners and all(r.status in TERMINAL for r in requests)

    def assert_all_ends_well(self, seconds: float = 60.0) -> None:
        """Wait until everything has ended, then check the rules that always hold."""
        try:
            until(self.over, seconds)
        except AssertionError:
            raise AssertionError(self.story()) from None
        self.check()

    def check(self) -> None:
        """Check that every job ran at most once and ended as expected, and that max_workers was never exceeded."""
        failed = [job for job in self.jobs if job.conclusion == "failure"]
        assert len(failed) <= self.may_fail, self.story()
        for job in self.jobs:
            ends = ("success", "cancelled") if job.id in self.cancelled else ("success", "failure")
            assert job.conclusion in ends, self.story()
            assert len(job.executions) <= 1, self.story()
        for url in self.database_urls:
            assert self.most_open(url) <= WORKERS
            assert self.broken_histories(url) == []

    def assert_canary_is_served(self, repository: str = "acme/web", seconds: float = CANARY) -> None:
        """Check that one more job is served soon."""
        (canary,) = self.queue(1, repository)
        try:
            until(lambda: canary.status == "completed", seconds)
        except AssertionError:
            raise AssertionError(f"the canary {canary.id} was not served: {self.story()}") from None
        assert canary.conclusion == "success", self.story()

    def submissions(self, url: str) -> tuple[Submission, ...]:
        """All submissions in a ledger."""
        ledger = Ledger.open(url)
        try:
            return asyncio.run(ledger.read(lambda transaction: transaction.submissions(since=0.0, names=())))
        finally:
            ledger.close()

    def broken_histories(self, url: str) -> list[str]:
        """Submissions in a ledger whose history does not match their state."""
        engine = sa.create_engine(url)
        try:
            with engine.connect() as connection:
                return broken_histories(connection)
        finally:
            engine.dispose()

    def most_open(self, url: str) -> int:
        """The largest number of submissions that were open at the same time."""
        rows = self.submissions(url)
        steps = [(row.created_at, 1) for row in rows]
        steps += [(row.since, -1) for row in rows if row.state not in OPEN_STATES]
        live = most = 0
        for _, step in sorted(steps):
            live += step
            most = max(most, live)
        return most

    def story(self) -> str:
        """The state of jobs, runners, requests and ledgers, for the error message of a failed test."""
        jobs = [(j.id, j.status, j.conclusion, j.executions) for j in self.jobs if j.conclusion != "success"]
        runners = [(r.name, r.session, r.job and r.job.id) for r in self.github.runners.values()]
        requests = [
            (r.input["runner_name"], r.status, r.error)
            for r in self.emulators.runpod.state.requests.values()
            if r.status != "COMPLETED"
        ]
        rows = [
            [(s.name, str(s.state), str(s.reason), s.detail) for s in self.submissions(url)[-40:]]
            for url in self.database_urls
        ]
        return f"jobs {jobs}\nrunners {runners}\nrequests {requests}\nledgers {rows}"

    @contextmanager
    def dispatcher(self, database_url: str, *, webhooks: bool = True, **settings: Any) -> Iterator[str]:
        """Run a service in a thread of this process until the block ends; yields the URL where it listens."""
        self.database_urls = list(dict.fromkeys([*self.database_urls, database_url]))
        Ledger.open(database_url).close()  # Alembic works in one thread of a process at a time
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        variables = self.emulators.environment | {
            "BRIDGE_DATABASE_URL": database_url,
            "BRIDGE_MAX_WORKERS": str(WORKERS),
            "GITHUB_WEBHOOK_SECRET": SECRET,
            "BRIDGE_PUBLIC_URL": url,
            "BRIDGE_CALLBACK_KEY": CALLBACK_KEY,
            **{name: str(value) for name, value in settings.items()},
        }
        with patch.dict(os.environ, variables, clear=True):
            loaded = configured(self.timing, **self.limits)

        stop = asyncio.Event()
        with (
            listening("127.0.0.1", port) as listener,
            served(lambda: _Running(serve(loaded, listener, stop, github_timing=GITHUB_TIMING), stop)),
        ):
            if webhooks:
                self.emulators.github.app.webhook_secret = SECRET
                self.emulators.github.app.webhook_url = f"{url}/webhook"
            yield url


class _Running:
    """A service as a context manager: it is told to stop when the block ends."""

    def __init__(self, running: Any, stop: asyncio.Event) -> None:
        self._running = running
        self._stop = stop

    async def __aenter__(self) -> "_Running":
        self._task = asyncio.ensure_future(self._running)
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self._stop.set()
        await self._task


@contextmanager
def deployment(
    home: Path,
    *,
    instant: Mapping[str, Any] | None = None,
    clock: Callable[[], float] = time.time,
    limits: Limits = PATIENT,
    credentials: str = "jit",
    lease: float | None = None,
    queue_timeout: float | None = None,
    budget: Budget = UNLIMITED,
    rerun_lost_jobs: int = 0,
    endpoints: Sequence[str] = ("ep-1",),
    **config: Any,
) -> Iterator[Deployment]:
    """Run both emulators until the block ends.

    Args:
        home: an empty folder.
        instant: arguments of tests.support.instant.work.
        clock: GitHub's clock, Unix seconds.
        limits: GitHub's limits.
        credentials: the route's mode.
        lease: s that a claim and an unknown answer are left alone; long where a slow dispatcher must not look dead.
        queue_timeout: s that a request may wait for a worker; by default 60, or 5 in token modes.
        budget: the calls that GitHub allows.
        rerun_lost_jobs: of the route.
        endpoints: of the route, the preferred one first.
        config: the settings of each endpoint.
    """
    given = {"workers_max": WORKERS, **config}
    with ExitStack() as stack:
        made = stack.enter_context(
            emulators(home, state=a_github(limits=limits, clock=clock), instant=instant or {}, budget=budget, **given)
        )
        made.runpod.state.endpoints |= {name: EndpointConfig(**given) for name in endpoints[1:]}
        routes = home / "bridge.toml"
        # In token modes the bridge waits that long for a request whose answer was lost.
        queue_timeout = queue_timeout or (60 if credentials == "jit" else 5)
        routes.write_text(
            f'[[route]]\nname = "gpu"\nidle_timeout = 5\nqueue_timeout = {queue_timeout}\n'
            f'credentials = "{credentials}"\nrerun_lost_jobs = {rerun_lost_jobs}\n'
            f"endpoints = {json.dumps(list(endpoints))}\n"
        )
        made.variables["BRIDGE_CONFIG"] = str(routes)
        timing = replace(TIMING, claim_lease=lease, unknown_lease=lease) if lease else TIMING
        yield Deployment(emulators=made, timing=timing)


def mixed(seed: int) -> Any:
    """Make webhook deliveries fail at random: some are lost, some repeated, some late and so in the wrong order."""
    chance = random.Random(seed)

    def mishap(_delivery: object) -> list[float]:
        copies = [] if chance.random() < 0.3 else [0.0] * (2 if chance.random() < 0.3 else 1)
        return [chance.choice((0.0, 0.0, chance.uniform(0.0, 0.5))) for _ in copies]

    return mishap

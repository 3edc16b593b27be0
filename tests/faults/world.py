"""A world to break: both emulators with instant workers, dispatchers in this process, and what must hold at the end."""

import asyncio
import os
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import bridge.controller.backoff
import bridge.controller.observe
import bridge.controller.snapshot
import bridge.core.breaker
import bridge.core.evidence
import bridge.core.idle
import bridge.core.refusals
import bridge.core.settle
import bridge.core.strangers
import bridge.core.supply
import bridge.core.unknown
import bridge.github.transport
import bridge.ledger.transaction
from bridge.commands.serve import serve
from bridge.config.settings import load
from bridge.core.submissions import OPEN_STATES, Submission
from bridge.emulator.github import UNLIMITED, Budget, GitHubState, Limits
from bridge.emulator.github.state import Job
from bridge.emulator.runpod.state import TERMINAL
from bridge.ledger import Ledger
from tests.background import served, until
from tests.cloud import Cloud, cloud
from tests.github import a_github, a_run, a_spec
from tests.services import CALLBACK_KEY, SECRET, free_port

PATIENCE = {
    (bridge.ledger.transaction, "CLAIM_LEASE"): 0.6,
    (bridge.core.unknown, "UNKNOWN_LEASE"): 0.6,
    (bridge.core.settle, "MISSING_LASTS"): 0.6,
    (bridge.core.settle, "BOOT_ALLOWANCE"): 1.0,
    (bridge.core.evidence, "FAILED_PAUSE"): 0.5,
    (bridge.core.evidence, "LISTENED"): 1.0,
    (bridge.core.idle, "LISTENED"): 1.0,
    (bridge.controller.snapshot, "LISTENED"): 1.0,
    (bridge.core.idle, "QUIET"): 1.5,
    (bridge.core.idle, "PROBE"): 2.0,
    (bridge.core.evidence, "FIRST_PAUSE"): 3.0,
    (bridge.core.evidence, "LONGEST_PAUSE"): 10.0,
    (bridge.core.evidence, "FIRST_PROBE"): 2.0,
    (bridge.core.evidence, "LONGEST_PROBE"): 8.0,
    (bridge.core.evidence, "FRESH_PROBE"): 1.5,
    (bridge.core.supply, "BOOT_ALLOWANCE"): 1.0,
    (bridge.core.strangers, "BOOT_ALLOWANCE"): 1.0,
    (bridge.core.unknown, "BOOT_ALLOWANCE"): 1.0,
    (bridge.core.breaker, "SHORTEST"): 0.3,
    (bridge.core.breaker, "LONGEST"): 2.0,
    (bridge.controller.backoff, "REFUSED_FIRST"): 0.3,
    (bridge.controller.backoff, "REFUSED_LONGEST"): 1.0,
    (bridge.controller.backoff, "AWAY_FIRST"): 0.1,
    (bridge.controller.backoff, "AWAY_LONGEST"): 0.5,
    (bridge.core.refusals, "SHORTEST"): 0.3,
    (bridge.core.refusals, "LONGEST"): 2.0,
    (bridge.controller.observe, "LOOK_AGAIN"): 0.2,
    (bridge.github.transport, "RETRY_WAIT"): 0.01,
}
"""How long the bridge waits, in s: short enough for tests, in the same order as the real ones."""

PATIENT = Limits(pickup=20.0, heartbeat=20.0, renewal=20.0)
HASTY = Limits(pickup=2.0, heartbeat=1.0, renewal=2.0)
"""GitHub's, in the same way: hasty where runners die, patient where a slow machine must not look like death."""

WORKERS = 20

CANARY = 20.0
"""s in which a job is served that is queued when all is well again. By the scale of PATIENCE, a minute is 0.6 s."""


@dataclass(kw_only=True)
class World:
    """What a test breaks.

    Args:
        cloud: both emulators.
        database_urls: of every ledger that was used.
        cancelled: ids of the jobs that the test has cancelled.
        may_fail: how many jobs may fail, because the test lets their runners die.
    """

    cloud: Cloud
    database_urls: list[str] = field(default_factory=list)
    cancelled: set[int] = field(default_factory=set)
    may_fail: int = 0

    @property
    def github(self) -> GitHubState:
        return self.cloud.github.state

    @property
    def jobs(self) -> list[Job]:
        return list(self.github.jobs.values())

    def queue(self, count: int = 1, repository: str = "acme/web") -> list[Job]:
        """Queue jobs, each in a run of its own."""
        runs = [self.github.add_run(repository, a_run(a_spec(f"job {n}"))) for n in range(count)]
        return [job for run in runs for job in run.jobs.values()]

    def cancel(self, *jobs: Job) -> None:
        """Cancel jobs, as a person would."""
        for job in jobs:
            self.cancelled.add(job.id)
            self.github.cancel_job(job)

    def over(self) -> bool:
        """Whether every job has ended and nothing of ours is left."""
        requests = self.cloud.runpod.state.requests.values()
        done = all(job.status == "completed" for job in self.jobs)
        return done and not self.github.runners and all(r.status in TERMINAL for r in requests)

    def assert_all_ends_well(self, seconds: float = 60.0) -> None:
        """Wait for that, and hold it to what must hold whatever went wrong."""
        try:
            until(self.over, seconds)
        except AssertionError:
            raise AssertionError(self.story()) from None
        self.check()

    def check(self) -> None:
        """Every job that should run has run exactly once; no cap was passed."""
        failed = [job for job in self.jobs if job.conclusion == "failure"]
        assert len(failed) <= self.may_fail, self.story()
        for job in self.jobs:
            ends = ("success", "cancelled") if job.id in self.cancelled else ("success", "failure")
            assert job.conclusion in ends, self.story()
            assert len(job.executions) <= 1, self.story()
        for url in self.database_urls:
            assert self.most_open(url) <= WORKERS

    def assert_canary_is_served(self, repository: str = "acme/web", seconds: float = CANARY) -> None:
        """Whatever went before: one job more is served soon."""
        (canary,) = self.queue(1, repository)
        try:
            until(lambda: canary.status == "completed", seconds)
        except AssertionError:
            raise AssertionError(f"the canary {canary.id} was not served: {self.story()}") from None
        assert canary.conclusion == "success", self.story()

    def submissions(self, url: str) -> tuple[Submission, ...]:
        """All that a ledger holds."""
        ledger = Ledger.open(url)
        try:
            return asyncio.run(ledger.read(lambda transaction: transaction.submissions(since=0.0, names=())))
        finally:
            ledger.close()

    def most_open(self, url: str) -> int:
        """The most submissions that a ledger had open at a time."""
        rows = self.submissions(url)
        steps = [(row.created_at, 1) for row in rows]
        steps += [(row.since, -1) for row in rows if row.state not in OPEN_STATES]
        live = most = 0
        for _, step in sorted(steps):
            live += step
            most = max(most, live)
        return most

    def story(self) -> str:
        """What there is, for a person who wonders why it did not end."""
        jobs = [(j.id, j.status, j.conclusion, j.executions) for j in self.jobs if j.conclusion != "success"]
        runners = [(r.name, r.session, r.job and r.job.id) for r in self.github.runners.values()]
        requests = [
            (r.input["runner_name"], r.status, r.error)
            for r in self.cloud.runpod.state.requests.values()
            if r.status != "COMPLETED"
        ]
        rows = [
            [(s.name, str(s.state), str(s.reason), s.detail) for s in self.submissions(url)[-40:]]
            for url in self.database_urls
        ]
        return f"jobs {jobs}\nrunners {runners}\nrequests {requests}\nledgers {rows}"

    @contextmanager
    def dispatcher(self, database_url: str, *, webhooks: bool = True, **settings: Any) -> Iterator[str]:
        """Run a service in a thread of this process until the block ends; where it listens."""
        self.database_urls = list(dict.fromkeys([*self.database_urls, database_url]))
        Ledger.open(database_url).close()  # made here: Alembic works for one thread of a process at a time
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        variables = self.cloud.environment | {
            "BRIDGE_DATABASE_URL": database_url,
            "BRIDGE_MAX_WORKERS": str(WORKERS),
            "GITHUB_WEBHOOK_SECRET": SECRET,
            "BRIDGE_PUBLIC_URL": url,
            "BRIDGE_CALLBACK_KEY": CALLBACK_KEY,
            **{name: str(value) for name, value in settings.items()},
        }
        with patch.dict(os.environ, variables, clear=True):
            loaded = replace(load(None), interval=0.2)

        @contextmanager
        def listening() -> Iterator[None]:
            with listening("127.0.0.1", port) as listener:
                stop = asyncio.Event()
                with served(lambda: _Running(serve(loaded, listener, stop), stop)):
                    yield

        with listening():
            if webhooks:
                self.cloud.github.app.webhook_secret = SECRET
                self.cloud.github.app.webhook_url = f"{url}/webhook"
            yield url


class _Running:
    """A service as something that is open until it is told to stop."""

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
def world(
    home: Path,
    *,
    instant: Mapping[str, Any] | None = None,
    clock: Callable[[], float] = time.time,
    limits: Limits = PATIENT,
    credentials: str = "jit",
    lease: float | None = None,
    queue_timeout: float | None = None,
    budget: Budget = UNLIMITED,
    **config: Any,
) -> Iterator[World]:
    """A world until the block ends.

    Args:
        home: an empty folder.
        instant: of tests.instant.work.
        clock: GitHub's.
        limits: GitHub's.
        credentials: of the route.
        lease: s of a claim and of an unknown answer, where no dispatcher is to be taken for dead because it is slow.
        queue_timeout: s that a request may wait for a worker.
        budget: the calls that GitHub allows.
        config: of the endpoint.
    """
    given = {"workers_max": WORKERS, **config}
    with ExitStack() as stack:
        for (module, name), value in PATIENCE.items():
            longer = lease if lease and name.endswith("_LEASE") else value
            stack.enter_context(patch.object(module, name, longer))
        made = stack.enter_context(
            cloud(home, state=a_github(limits=limits, clock=clock), instant=instant or {}, budget=budget, **given)
        )
        routes = home / "bridge.toml"
        # In token modes a request whose answer was lost is waited for that long.
        queue_timeout = queue_timeout or (60 if credentials == "jit" else 5)
        routes.write_text(
            f'[[route]]\nname = "gpu"\nidle_timeout = 5\nqueue_timeout = {queue_timeout}\n'
            f'credentials = "{credentials}"\n'
        )
        made.variables["BRIDGE_CONFIG"] = str(routes)
        yield World(cloud=made)


def mixed(seed: int) -> Any:
    """A mishap for webhooks: some are lost, some doubled, some late and so out of order."""
    chance = random.Random(seed)

    def mishap(_delivery: object) -> list[float]:
        copies = [] if chance.random() < 0.3 else [0.0] * (2 if chance.random() < 0.3 else 1)
        return [chance.choice((0.0, 0.0, chance.uniform(0.0, 0.5))) for _ in copies]

    return mishap

"""A refused request is probed rarely, however many jobs wait, on both databases and across processes."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from bridge.controller.apply import TOGETHER
from bridge.controller.reconcile import Reconciler
from bridge.controller.report import Report
from bridge.core.model import (
    Deleted,
    EndpointHealth,
    JitConfig,
    Repository,
    Request,
    RequestStatus,
    Runner,
    WaitingRun,
    WorkflowJob,
)
from bridge.core.scope import Route, Scope
from bridge.core.submissions import State
from bridge.errors import AuthError, BridgeError, Problem, RateLimited, Rejected
from bridge.ledger import Ledger
from tests.support.values import NOW, a_job, a_route

JOBS = 100
HOUR = 3600.0
GPU, CPU = a_route(max_workers=JOBS), a_route(name="cpu", labels=("runpod", "cpu"), endpoint="ep-2", max_workers=JOBS)
SCOPE = Scope(
    owner="acme",
    organisation="acme",
    repositories=("acme/web",),
    routes=(GPU, CPU),
    prefix="runpod",
    web_url="https://github.example",
)


class Outside:
    """GitHub and RunPod in one. It counts changes, and refuses what the test tells it to refuse."""

    def __init__(self) -> None:
        self.now = NOW
        self.jobs: list[WorkflowJob] = [a_job(n) for n in range(1, JOBS + 1)]
        self.calls: Counter[str] = Counter()
        self.registered: dict[int, str] = {}
        self.inputs: list[Any] = []
        self.refuse: Callable[[str], BridgeError | None] = lambda _call: None
        self.ids = iter(range(1000, 10**6))

    async def _called(self, call: str) -> None:
        self.calls[call.partition(" ")[0]] += 1
        await asyncio.sleep(0)
        if error := self.refuse(call):
            raise error

    async def repositories(self, owner: str) -> tuple[Repository, ...]:
        raise AssertionError("they are configured")

    async def repository(self, name: str) -> Repository:
        return Repository(id=1, full_name=name, public=False)

    async def waiting_runs(self, repository: str) -> tuple[WaitingRun, ...]:
        return ()

    async def open_jobs(self, repository: str) -> tuple[WorkflowJob, ...]:
        return tuple(self.jobs)

    async def job(self, repository: str, job_id: int) -> WorkflowJob | None:
        return next(job for job in self.jobs if job.id == job_id)

    async def is_fork(self, repository: str, run_id: int) -> bool:
        return False

    async def runners(self, target: str) -> tuple[Runner, ...]:
        return ()

    async def runner_group_id(self, target: str, name: str) -> int:
        return 1

    async def generate_jit_config(self, target: str, *, name: str, labels: list[str], group_id: int) -> JitConfig:
        await self._called(f"register {target}")
        runner_id = next(self.ids)
        self.registered[runner_id] = name
        return JitConfig(runner_id=runner_id, encoded="x")

    async def delete_runner(self, target: str, runner_id: int) -> Deleted:
        await self._called("delete")
        self.registered.pop(runner_id)
        return Deleted(target=target, runner_id=runner_id)

    async def prepare(self, endpoint: str) -> None: ...

    async def submit(self, endpoint: str, route: Route, worker_input: Any, callback: str | None) -> str:
        await self._called(f"submit {endpoint}")
        self.inputs.append(worker_input)
        return f"r{next(self.ids)}"

    async def cancel(self, endpoint: str, request_id: str) -> None: ...

    async def status(self, endpoint: str, request_id: str) -> Request:
        return Request(id=request_id, status=RequestStatus.IN_QUEUE)

    async def health(self, endpoint: str) -> EndpointHealth:
        return EndpointHealth()

    def time(self) -> float:
        self.now += 0.0001
        return self.now


class Bridge:
    """Processes that run one after the other with one ledger."""

    def __init__(self, outside: Outside, ledger: Ledger, scope: Scope = SCOPE) -> None:
        self.outside, self.ledger, self.scope = outside, ledger, scope

    async def resync(self) -> Report:
        """A resync in a process of its own, as cron runs it."""
        made: Any = self.outside
        return await Reconciler(self.scope, made, made, self.ledger, None, clock=self.outside.time).resync()

    async def resyncs(self, seconds: float, every: float = 60.0) -> list[Report]:
        reports = []
        for _ in range(int(seconds / every)):
            reports.append(await self.resync())
            self.outside.now += every
        return reports

    async def rows(self) -> Counter[State]:
        rows = await self.ledger.read(lambda transaction: transaction.submissions(since=0.0, names=()))
        return Counter(row.state for row in rows)


@contextmanager
def a_bridge(database_url: str) -> Iterator[Bridge]:
    ledger = Ledger.open(database_url)
    try:
        yield Bridge(Outside(), ledger)
    finally:
        ledger.close()


REFUSED = {
    "the endpoint is gone": ("submit ep-1", Rejected("RunPod: POST /ep-1/run: 404", status=404)),
    "the key is revoked": ("submit ep-1", AuthError("RunPod: POST /ep-1/run: 401, RUNPOD_API_KEY was refused")),
    "a permission is missing": ("register", AuthError("GitHub: POST /x: 403: needs the permission y")),
    "the group is gone": ("register", Rejected("GitHub: orgs/acme has no runner group 'gpu'", status=404)),
}


@pytest.mark.parametrize("what", REFUSED)
def test_an_hour_of_a_standing_refusal_costs_one_burst_and_a_few_probes(database_url: str, what: str) -> None:
    call, error = REFUSED[what]

    async def main(bridge: Bridge) -> None:
        bridge.outside.refuse = lambda made: error if made.startswith(call) else None
        first, *later = await bridge.resyncs(HOUR)
        assert first.problems == (Problem.of(error),)
        probes = 6  # after 1, 3, 7, 15, 31 and 60 min
        assert bridge.outside.calls["register"] <= TOGETHER + probes
        assert bridge.outside.calls["delete"] <= TOGETHER + probes
        assert (await bridge.rows()).total() <= JOBS + probes
        assert not bridge.outside.registered
        assert all(report.problems == (Problem.of(error),) for report in later), "it stands as long as jobs wait for it"
        explained = await bridge.resync()
        assert all(str(error) in skip.why for skip in explained.decision.plan.skips)

    with a_bridge(database_url) as bridge:
        asyncio.run(main(bridge))


def test_jobs_of_another_endpoint_are_served_meanwhile(database_url: str) -> None:
    async def main(bridge: Bridge) -> None:
        bridge.outside.refuse = lambda made: Rejected("404", status=404) if made == "submit ep-1" else None
        await bridge.resyncs(300)
        bridge.outside.jobs += [a_job(n, labels=("runpod", "cpu")) for n in (201, 202)]
        report = await bridge.resync()
        assert sorted(s.job_id for s in report.submitted) == [201, 202]

    with a_bridge(database_url) as bridge:
        asyncio.run(main(bridge))


def test_once_a_probe_is_granted_all_jobs_are_served(database_url: str) -> None:
    async def main(bridge: Bridge) -> None:
        bridge.outside.refuse = lambda made: AuthError("401") if made.startswith("submit") else None
        await bridge.resyncs(120)
        bridge.outside.refuse = lambda _made: None
        reports = await bridge.resyncs(600)
        served = [len(report.submitted) for report in reports]
        assert served[:4] == [0, 1, JOBS - 1, 0] or served[:3] == [1, JOBS - 1, 0], served
        readings = await bridge.ledger.read(lambda transaction: transaction.readings())
        assert not any(refusal for _, refusal in readings.refusals.values())

    with a_bridge(database_url) as bridge:
        asyncio.run(main(bridge))


def test_a_rate_limit_writes_no_row_per_job_and_pass(database_url: str) -> None:
    async def main(bridge: Bridge) -> None:
        until = NOW + 1800

        def limit(made: str) -> BridgeError | None:
            waits = made.startswith("register") and bridge.outside.now < until
            return RateLimited("GitHub asked to wait", retry_at=until) if waits else None

        bridge.outside.refuse = limit
        await bridge.resyncs(1740)
        assert (await bridge.rows()).total() == JOBS
        await bridge.resyncs(180)
        assert (await bridge.rows())[State.SUBMITTED] == JOBS

    with a_bridge(database_url) as bridge:
        asyncio.run(main(bridge))


def test_retry_lets_the_next_pass_ask_again_at_once(database_url: str) -> None:
    async def main(bridge: Bridge) -> None:
        bridge.outside.refuse = lambda made: AuthError("401") if made.startswith("submit") else None
        await bridge.resyncs(600)
        bridge.outside.refuse = lambda _made: None
        assert await bridge.ledger.transact(lambda transaction: transaction.retry(1, bridge.outside.now))
        assert len((await bridge.resync()).submitted) == JOBS

    with a_bridge(database_url) as bridge:
        asyncio.run(main(bridge))


@pytest.mark.parametrize(("given", "sent"), [({}, {None}), ({"cache": True, "cache_gb": 7.5}, {7.5})])
def test_only_a_request_of_a_route_with_a_cache_asks_for_one(
    database_url: str, given: dict[str, Any], sent: set[float | None]
) -> None:
    with a_bridge(database_url) as bridge:
        bridge.scope = replace(SCOPE, routes=(replace(GPU, **given), CPU))
        asyncio.run(bridge.resync())
        assert {each.get("cache_gb") for each in bridge.outside.inputs} == sent

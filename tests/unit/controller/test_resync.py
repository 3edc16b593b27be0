"""Which jobs passes find and keep, and what they read of GitHub: several resyncs in a row with a real ledger."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from bridge.controller.reconcile import Reconciler
from bridge.controller.report import Report
from bridge.core.model import (
    EndpointHealth,
    JitConfig,
    Repository,
    Request,
    RequestStatus,
    Runner,
    Sent,
    WaitingRun,
    WorkflowJob,
)
from bridge.core.scope import Route, Scope
from bridge.core.submissions import Pool
from bridge.core.timing import Timing
from bridge.errors import Problem, Rejected, Unavailable
from bridge.ledger import Ledger
from tests.support.values import NOW, a_job, a_route

HOSTED = ("ubuntu-latest",)
SCOPE = Scope(
    owner="acme",
    organisation="acme",
    repositories=(),
    routes=(a_route(),),
    prefix="runpod",
    web_url="https://github.example",
)


class GitHub:
    """Repositories with their jobs. It notes what was read."""

    def __init__(self) -> None:
        self.known = {1: Repository(id=1, full_name="acme/web", public=False)}
        self.old_names: dict[str, int] = {}
        self.jobs: dict[int, WorkflowJob] = {}
        self.waiting: dict[int, WaitingRun] = {}
        self.broken: set[str] = set()
        self.registered: dict[int, tuple[int, Runner]] = {}  # by id, with that of its repository
        self.calls: list[tuple[str, object]] = []

    def found(self, name: str) -> Repository:
        by_name = {each.full_name.lower(): each for each in self.known.values()}
        number = self.old_names.get(name.lower(), 0)
        found = by_name.get(name.lower()) or self.known.get(number)
        if not found:
            raise Rejected(f"GitHub: {name}: 404", status=404)
        return found

    def rename(self, number: int, name: str) -> None:
        old = self.known[number].full_name
        self.old_names[old.lower()] = number
        self.known[number] = replace(self.known[number], full_name=name)

    def asked(self, call: str) -> list[object]:
        return [about for made, about in self.calls if made == call]

    async def repositories(self, owner: str) -> tuple[Repository, ...]:
        self.calls.append(("repositories", owner))
        return tuple(self.known.values())

    async def repository(self, name: str) -> Repository | None:
        self.calls.append(("repository", name))
        try:
            return self.found(name)
        except Rejected:
            return None

    async def open_jobs(self, repository: str) -> tuple[WorkflowJob, ...]:
        self.calls.append(("open_jobs", repository))
        if repository in self.broken:
            raise Unavailable(f"GitHub: {repository}: 502")
        return self._listed(repository, lambda job: job.run_id not in self.waiting)

    async def waiting_runs(self, repository: str) -> tuple[WaitingRun, ...]:
        self.calls.append(("waiting_runs", repository))
        return tuple(run for run in self.waiting.values() if run.repository == repository)

    async def run_jobs(self, run: WaitingRun) -> tuple[WorkflowJob, ...]:
        self.calls.append(("run_jobs", run.id))
        return self._listed(run.repository, lambda job: job.run_id == run.id)

    def _listed(self, name: str, wanted: Callable[[WorkflowJob], bool]) -> tuple[WorkflowJob, ...]:
        found = self.found(name)
        of_it = (job for job in self.jobs.values() if self.found(job.repository).id == found.id and wanted(job))
        return tuple(replace(job, repository=name, public=found.public) for job in of_it)

    async def job(self, repository: str, job_id: int) -> WorkflowJob | None:
        self.calls.append(("job", job_id))
        return self.jobs.get(job_id)

    async def is_fork(self, repository: str, run_id: int) -> bool:
        return False

    async def runners(self, target: str) -> tuple[Runner, ...]:
        self.calls.append(("runners", target))
        number = self.found(target.partition("/")[2]).id if target.startswith("repos/") else 0
        return tuple(runner for at, runner in self.registered.values() if at == number)

    async def runners_at_low_priority(self, target: str) -> tuple[Runner, ...]:
        return await self.runners(target)

    async def runner_group_id(self, target: str, name: str) -> int:
        return 1

    async def generate_jit_config(self, target: str, *, name: str, labels: list[str], group_id: int) -> JitConfig:
        self.calls.append(("jit", target))
        runner_id = len(self.registered) + 1
        made = Runner(id=runner_id, name=name, online=False, busy=False, labels=tuple(labels))
        number = self.found(target.partition("/")[2]).id if target.startswith("repos/") else 0
        self.registered[runner_id] = number, made
        return JitConfig(runner_id=runner_id, encoded="")

    async def delete_runner(self, target: str, runner_id: int) -> bool:
        self.registered.pop(runner_id, None)
        return True


class RunPod:
    """An endpoint whose requests wait for a worker."""

    async def prepare(self, endpoint: str) -> None: ...

    async def submit(
        self, endpoint: str, route: Route, worker_input: Mapping[str, object], callback: str | None
    ) -> str:
        return str(worker_input["runner_name"])

    async def cancel(self, endpoint: str, request_id: str) -> None: ...

    async def status(self, endpoint: str, request_id: str) -> Request:
        return Request(id=request_id, status=RequestStatus.IN_QUEUE)

    async def health(self, endpoint: str) -> EndpointHealth:
        return EndpointHealth()


class Log:
    """A delivery log in which nothing is new."""

    async def is_kept(self) -> bool:
        return True

    async def since(self, at: float) -> tuple[Sent, ...]:
        return ()

    async def job(self, delivery_id: int) -> WorkflowJob | None:
        raise AssertionError("nothing is new")


class Bridge:
    """The reconciler with a ledger in memory and a clock of its own."""

    def __init__(self, scope: Scope = SCOPE, log: Log | None = None) -> None:
        self.now = NOW
        self.github = GitHub()
        self.ledger = Ledger.open("sqlite://")
        parts: Any = (scope, self.github, RunPod(), self.ledger, log)
        self.reconciler = Reconciler(*parts, clock=lambda: self.now)

    async def resync(self, *, after: float = 0.0) -> Report:
        """A resync, `after` so many s."""
        self.now += after
        self.github.calls.clear()
        return await self.reconciler.resync()

    async def kept(self) -> dict[int, WorkflowJob]:
        """The jobs in the ledger."""
        return {
            job_id: job for job_id, (job, _) in (await self.ledger.read(lambda transaction: transaction.jobs())).items()
        }


def driven(drive: Callable[[Bridge], Awaitable[None]], **given: Any) -> None:
    async def main() -> None:
        bridge = Bridge(**given)
        try:
            await drive(bridge)
        finally:
            bridge.ledger.close()

    asyncio.run(main())


# --- which endpoints ---


@pytest.mark.parametrize(("endpoints", "read"), [(("ep-1", "ep-2"), ["ep-1", "ep-2"]), (("ep-1",), [])])
def test_a_resync_reads_the_health_of_endpoints_that_a_waiting_job_may_use(
    endpoints: tuple[str, ...], read: list[str]
) -> None:
    async def drive(bridge: Bridge) -> None:
        bridge.github.jobs = {1: a_job(1, fork=True)}  # it waits: its route serves no forks
        await bridge.resync()
        bridge.now += 30
        await bridge.resync()
        readings = await bridge.ledger.read(lambda transaction: transaction.readings())
        assert sorted(readings.health) == read

    scope = replace(SCOPE, routes=(a_route(endpoints=endpoints),))
    driven(drive, scope=scope)


# --- whose jobs ---


def test_a_scan_keeps_only_our_jobs_and_looks_up_no_others() -> None:
    async def drive(bridge: Bridge) -> None:
        hosted = [a_job(n, labels=HOSTED) for n in range(2, 102)]
        bridge.github.jobs = {job.id: job for job in (a_job(1), *hosted)}
        report = await bridge.resync()
        assert len(report.decision.plan.skips) == 100, "they are shown"
        assert list(await bridge.kept()) == [1]
        bridge.github.jobs = {1: a_job(1)}
        await bridge.resync(after=60)
        assert not bridge.github.asked("job")

    driven(drive)


def test_a_job_that_no_route_serves_any_more_is_deleted_and_not_looked_up() -> None:
    async def drive(bridge: Bridge) -> None:
        others = [a_job(1, labels=HOSTED)]
        await bridge.ledger.transact(lambda transaction: transaction.merge(others, NOW))
        await bridge.resync(after=60)
        assert not await bridge.kept()
        assert not bridge.github.asked("job")

    driven(drive)


def test_a_dry_run_shows_jobs_that_no_route_serves_even_when_the_delivery_log_has_nothing_new() -> None:
    async def drive(bridge: Bridge) -> None:
        bridge.github.jobs = {job.id: job for job in (a_job(1), a_job(2, labels=HOSTED))}
        await bridge.resync()
        assert not [skip for skip in (await bridge.resync(after=30)).decision.plan.skips if skip.job_id == 2]
        assert not bridge.github.asked("open_jobs"), "the delivery log was enough"
        before = await bridge.kept()
        report = await bridge.reconciler.preview()
        (why,) = [skip.why for skip in report.decision.plan.skips if skip.job_id == 2]
        assert why == 'no route has any of the labels "ubuntu-latest"'
        assert await bridge.kept() == before
        await bridge.resync(after=30)
        assert not bridge.github.asked("open_jobs"), "the dry run did not change when the next full scan is due"

    driven(drive, log=Log())


# --- runs that wait for a review ---


def test_a_queued_job_of_a_run_that_waits_is_found_within_minutes_without_reading_the_run_in_each_pass() -> None:
    async def drive(bridge: Bridge) -> None:
        run = WaitingRun(id=5, repository="acme/web", created_at=NOW, updated_at=NOW)
        bridge.github.waiting = {5: run}
        await bridge.resync()
        assert bridge.github.asked("run_jobs") == [5]
        bridge.github.jobs = {1: a_job(1, run_id=5, created_at=NOW)}
        for _ in range(int(Timing().reviews_every / 30) - 1):
            await bridge.resync(after=30)
            assert not bridge.github.asked("waiting_runs")
        report = await bridge.resync(after=30)
        assert [claim.job_id for claim in report.decision.plan.claims] == [1]
        asked = []
        for _ in range(int(Timing().reviews_every / 30) - 1):
            await bridge.resync(after=30)
            asked += bridge.github.asked("job")
        assert len(asked) <= 1, "it is read with its run"

    driven(drive)


# --- repositories ---


def test_a_renamed_repository_is_served_under_its_new_name_and_keeps_its_runners() -> None:
    async def drive(bridge: Bridge) -> None:
        bridge.github.jobs = {1: a_job(1)}
        await bridge.resync()
        assert bridge.github.asked("jit") == ["repos/acme/web"]
        bridge.github.rename(1, "acme/site")
        report = await bridge.resync(after=Timing().names_every)
        assert not report.decision.plan.claims, "its runner is supply under the new name"
        assert not report.problems
        assert (await bridge.kept())[1].repository == "acme/site"
        bridge.github.jobs[2] = a_job(2, repository="acme/site")
        assert bridge.reconciler.keeps(bridge.github.jobs[2]), "so are its webhooks"
        await bridge.resync(after=30)
        assert bridge.github.asked("jit") == ["repos/acme/site"]
        assert bridge.github.asked("open_jobs") == ["acme/site"]
        rows = await bridge.ledger.read(lambda transaction: transaction.open_submissions())
        assert {row.pool for row in rows} == {Pool("gpu", "repos/acme/site")}

    driven(drive, scope=replace(SCOPE, organisation=None, repositories=("acme/web",)))


def test_a_renamed_repository_of_an_installation_keeps_its_pool() -> None:
    async def drive(bridge: Bridge) -> None:
        bridge.github.jobs = {1: a_job(1)}
        await bridge.resync()
        bridge.github.rename(1, "acme/site")
        report = await bridge.resync(after=30)
        assert not report.decision.plan.claims
        (row,) = await bridge.ledger.read(lambda transaction: transaction.open_submissions())
        assert row.pool == Pool("gpu", "repos/acme/site")

    driven(drive, scope=replace(SCOPE, organisation=None))


def test_a_route_for_a_repository_follows_its_new_name() -> None:
    async def drive(bridge: Bridge) -> None:
        await bridge.resync()
        bridge.github.rename(1, "acme/site")
        bridge.github.jobs = {1: a_job(1, repository="acme/site")}
        report = await bridge.resync(after=Timing().names_every)
        assert [claim.job_id for claim in report.decision.plan.claims] == [1]

    driven(drive, scope=replace(SCOPE, routes=(a_route(repositories=frozenset({"acme/web"})),)))


def test_a_deleted_repository_is_reported_once_and_read_now_and_then() -> None:
    async def drive(bridge: Bridge) -> None:
        bridge.github.jobs = {1: a_job(1)}
        await bridge.resync()
        bridge.github.known[2] = bridge.github.known.pop(1)
        bridge.github.known[2] = replace(bridge.github.known[2], full_name="acme/other")
        bridge.github.jobs.clear()
        problems: list[Problem] = []
        calls: list[Any] = []
        for _ in range(40):
            problems += (await bridge.resync(after=30)).problems
            calls += [call for call in bridge.github.calls if "web" in str(call[1])]
        assert len([line for line in problems if "is gone" in str(line)]) == 1
        assert len(problems) <= 2, "the first resync may also fail to read its runners"
        assert len(calls) <= 2 + 40 * 30 / Timing().names_every
        bridge.github.known = {1: Repository(id=1, full_name="acme/web", public=False)}
        bridge.github.jobs = {3: a_job(3)}
        claims = [(await bridge.resync(after=30)).decision.plan.claims for _ in range(11)]
        assert any(claims), "it is back"

    driven(drive, scope=replace(SCOPE, organisation=None, repositories=("acme/web", "acme/other")))


def test_a_job_is_served_once_its_repository_is_private() -> None:
    async def drive(bridge: Bridge) -> None:
        bridge.github.jobs = {1: a_job(1)}
        bridge.github.known[1] = replace(bridge.github.known[1], public=True)
        assert not (await bridge.resync()).decision.plan.claims
        bridge.github.known[1] = replace(bridge.github.known[1], public=False)
        assert (await bridge.resync(after=30)).decision.plan.claims

    driven(drive)


def test_a_job_with_a_misspelt_label_is_kept_with_its_reason_until_it_ends_and_is_never_looked_up() -> None:
    """It is another deployment's job, or a label is wrong: only the person who wrote it knows."""

    async def drive(bridge: Bridge) -> None:
        bridge.github.jobs = {1: a_job(1, labels=("self-hosted", "runpod", "gpuu"))}
        for _ in range(3):
            report = await bridge.resync(after=300)
            assert [skip.why for skip in report.decision.plan.skips] == ['route gpu lacks "gpuu"']
            assert not bridge.github.asked("job")
        explained = await bridge.reconciler.explain()
        assert [(skip.job_id, skip.nearest) for skip in explained.plan.skips] == [(1, "gpu")]
        bridge.github.jobs.clear()
        await bridge.resync(after=300)
        assert not bridge.github.asked("job")
        assert await bridge.kept() == {}

    driven(drive)


def test_a_job_with_a_misspelt_label_is_kept_while_its_repository_cannot_be_read() -> None:
    async def drive(bridge: Bridge) -> None:
        bridge.github.jobs = {1: a_job(1, labels=("runpod", "gpuu"))}
        await bridge.resync()
        bridge.github.broken = {"acme/web"}
        await bridge.resync(after=30)
        assert list(await bridge.kept()) == [1]

    driven(drive)


# --- scans beside the delivery log ---


def test_only_the_repository_whose_scan_failed_is_scanned_again() -> None:
    async def drive(bridge: Bridge) -> None:
        bridge.github.known[2] = Repository(id=2, full_name="acme/docs", public=False)
        bridge.github.broken = {"acme/docs"}
        bridge.github.jobs = {1: a_job(1, repository="acme/docs")}
        await bridge.resync()
        await bridge.resync(after=30)
        assert bridge.github.asked("open_jobs") == ["acme/docs"]
        bridge.github.broken.clear()
        assert (await bridge.resync(after=30)).decision.plan.claims
        await bridge.resync(after=30)
        assert not bridge.github.asked("open_jobs")

    driven(drive, log=Log())


def test_repositories_that_cannot_be_listed_do_not_count_as_scanned() -> None:
    async def drive(bridge: Bridge) -> None:
        async def broken(owner: str) -> tuple[Repository, ...]:
            raise Unavailable(f"GitHub: {owner}: 502")

        bridge.github.jobs = {1: a_job(1)}
        listing, bridge.github.repositories = bridge.github.repositories, broken  # type: ignore[method-assign]
        assert (await bridge.resync()).problems
        bridge.github.repositories = listing  # type: ignore[method-assign]
        assert (await bridge.resync(after=30)).decision.plan.claims

    driven(drive, log=Log())

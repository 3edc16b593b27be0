"""The bridge's readers and writers on top of the models, with latency, outages and a count of each call."""

import asyncio
import zlib
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from bridge.core.lost import SeenRun
from bridge.core.model import (
    Absent,
    Cancellation,
    Deleted,
    EndpointHealth,
    JitConfig,
    RegistrationToken,
    Repository,
    Request,
    Runner,
    Sent,
    WaitingRun,
    WorkflowJob,
)
from bridge.core.scope import Route
from bridge.errors import NameTaken, OutcomeUnknown, Rejected, Unavailable
from bridge.github.clock import GitHubClock

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

CLIENT_TIMEOUT = 10.0
"""s that the SDK's `run` waits for an answer."""

PAGE = 100

WAITING = "waiting"
"""Status of a run in which a job waits for a review."""


class GitHubPort:
    """GitHub for one dispatcher.

    Args:
        simulation: where it runs.
        owner: the name of the dispatcher.
        clock: the dispatcher's clock, which is corrected by GitHub's answers.
    """

    def __init__(self, simulation: "Simulation", owner: str, clock: GitHubClock) -> None:
        self._simulation, self._owner, self._clock = simulation, owner, clock
        self._model = simulation.github

    async def learn_time(self) -> None:
        """As `bridge.github.api.GitHub.learn_time`."""
        with suppress(Unavailable):
            await self._call("create installation token")

    async def _call(self, kind: str, calls: int = 1) -> None:
        self._simulation.count(self._owner, f"github {kind}", calls)
        sent = self._simulation.now
        await asyncio.sleep(self._model.facts.latency)
        self._clock.learn(float(int(self._model.wall())), sent, self._simulation.now)
        if self._simulation.within(self._model.facts.unavailable):
            raise Unavailable(f"GitHub: {kind}: HTTP 503")

    async def repositories(self, owner: str) -> tuple[Repository, ...]:
        await self._call("list repositories")
        found = dict.fromkeys(run.repository for run in self._simulation.scenario.runs)
        return tuple(Repository(full_name=name, public=False, id=_id_of(name)) for name in found)

    async def repository(self, name: str) -> Repository | None:
        await self._call("get repository")
        return Repository(full_name=name, public=False, id=_id_of(name))

    async def open_jobs(self, repository: str) -> tuple[WorkflowJob, ...]:
        """The jobs of all runs with a status in `listed`."""
        facts = self._model.facts
        await self._call("list runs", len(facts.listed))
        runs = [run for run in self._model.open_runs(repository) if run.status in facts.listed]
        for run in runs:
            self._simulation.count(self._owner, "github list jobs", -(-len(run.jobs) // PAGE))
        return tuple(self._model.view(job) for run in runs for job in run.jobs)

    async def waiting_runs(self, repository: str) -> tuple[WaitingRun, ...]:
        await self._call("list runs")
        runs = [run for run in self._model.open_runs(repository) if run.status == WAITING]
        return tuple(WaitingRun(id=run.id, repository=repository, created_at=0.0, updated_at=0.0) for run in runs)

    async def run_jobs(self, run: WaitingRun) -> tuple[WorkflowJob, ...]:
        await self._call("list jobs")
        return tuple(self._model.view(job) for job in self._model.runs[run.id].jobs)

    async def job(self, repository: str, job_id: int) -> WorkflowJob | None:
        await self._call("get job")
        job = self._model.jobs.get(job_id)
        return self._model.view(job) if job else None

    async def is_fork(self, repository: str, run_id: int) -> bool:
        await self._call("get run")
        return False

    async def seen_run(self, repository: str, run_id: int) -> SeenRun | None:
        raise AssertionError("no route re-runs jobs")

    async def rerun_job(self, repository: str, job_id: int) -> None:
        raise AssertionError("no route re-runs jobs")

    async def runners(self, target: str) -> tuple[Runner, ...]:
        await self._call("list runners")
        return tuple(self._model.runners(target))

    runners_at_low_priority = runners

    async def runner_group_id(self, target: str, name: str) -> int:
        # The client caches the answer, so this is not counted as a call.
        groups = ["Default", *sorted(self._model.facts.groups)]
        if name not in groups:
            raise Rejected(f"GitHub: {target} has no runner group {name!r}", status=404)
        return 1 + groups.index(name)

    async def generate_jit_config(self, target: str, *, name: str, labels: list[str], group_id: int) -> JitConfig:
        await self._call("generate jit config")
        group = ["Default", *sorted(self._model.facts.groups)][group_id - 1]
        made = self._model.register(name=name, labels=tuple(labels), target=target, group=group, owner=self._owner)
        if made is None:
            raise NameTaken(f"GitHub: a runner called {name} exists", status=409)
        return JitConfig(runner_id=made.id, encoded=str(made.id))

    async def registration_token(self, target: str) -> RegistrationToken:
        """A registration token; here its text is the time when it expires."""
        await self._call("create registration token")
        expires_at = self._model.wall() + self._model.facts.token_life
        return RegistrationToken(token=str(expires_at), expires_at=expires_at)

    async def delete_runner(self, target: str, runner_id: int) -> Deleted | Absent | None:
        await self._call("delete runner")
        runner = self._model.registrations.get(runner_id)
        if runner and runner.owner != self._owner:
            self._simulation.count(self._owner, "deleted another dispatcher's registration")
        if runner is None:
            return Absent(target=target, runner_id=runner_id)
        return Deleted(target=target, runner_id=runner_id) if self._model.delete(runner_id) else None


class DeliveryLogPort:
    """The App's delivery log for one dispatcher."""

    def __init__(self, simulation: "Simulation", owner: str) -> None:
        self._simulation, self._owner = simulation, owner

    async def _call(self, kind: str) -> None:
        self._simulation.count(self._owner, f"github {kind}")
        await asyncio.sleep(self._simulation.github.facts.latency)
        if self._simulation.within(self._simulation.github.facts.unavailable):
            raise Unavailable(f"GitHub: {kind}: HTTP 503")

    async def is_kept(self) -> bool:
        return True

    async def since(self, at: float) -> tuple[Sent, ...]:
        """Deliveries since `at` (Unix seconds), lost ones too, newest first."""
        await self._call("list deliveries")
        found = []
        for sent, _ in reversed(self._simulation.github.log):
            if sent.at < at:
                break
            found.append(sent)
        self._simulation.count(self._owner, "github list deliveries", len(found) // PAGE)
        return tuple(found)

    async def job(self, delivery_id: int) -> WorkflowJob | None:
        await self._call("get delivery")
        return self._simulation.github.log[delivery_id][1]


class RunPodPort:
    """RunPod for one dispatcher."""

    def __init__(self, simulation: "Simulation", owner: str) -> None:
        self._simulation, self._owner = simulation, owner
        self._model = simulation.runpod

    async def _call(self, kind: str) -> None:
        self._simulation.count(self._owner, f"runpod {kind}")
        await asyncio.sleep(self._model.facts.latency)
        if self._simulation.within(self._model.facts.unavailable):
            raise Unavailable(f"RunPod: {kind}: HTTP 503")

    async def status(self, endpoint: str, request_id: str) -> Request:
        await self._call("status")
        return self._model.status(request_id)

    async def health(self, endpoint: str) -> EndpointHealth:
        await self._call("health")
        return self._model.endpoint(endpoint).health()

    async def prepare(self, endpoint: str) -> None: ...

    async def submit(self, endpoint: str, route: Route, worker_input: Mapping[str, Any], callback: str | None) -> str:
        await self._call("run")
        facts = self._model.facts
        if self._simulation.occurs(facts.answer_never):
            await asyncio.sleep(CLIENT_TIMEOUT)
            raise OutcomeUnknown("RunPod: run: no readable answer (ReadTimeout); the request may have been accepted")
        request_id = self._model.submit(endpoint, route, worker_input, callback, self._owner)
        if self._simulation.occurs(facts.answer_lost):
            await asyncio.sleep(CLIENT_TIMEOUT)
            raise OutcomeUnknown("RunPod: run: no readable answer (ReadTimeout); the request may have been accepted")
        return request_id

    async def cancel(self, cancellation: Cancellation) -> None:
        await self._call("cancel")
        self._model.cancel(cancellation.request_id)


def _id_of(repository: str) -> int:
    return zlib.crc32(repository.encode())

"""A small model of GitHub, RunPod and time for the reconciler, in one process, without HTTP or waiting.

The emulators test the clients; this model tests the decisions, thousands of times a second.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from bridge.core.model import (
    Absent,
    Deleted,
    EndpointHealth,
    Event,
    JitConfig,
    JobStatus,
    Request,
    RequestStatus,
    Runner,
    WorkflowJob,
)
from bridge.core.scope import Route, Scope
from bridge.core.worker import WORKER_GRACE, Credentials, Reason
from tests.support.values import NOW, ORG, a_job, a_route, a_runner

ROUTES = (
    a_route(name="gpu", max_workers=3),
    a_route(name="cpu", labels=("runpod", "cpu"), max_workers=2, endpoint="ep-2", credentials=Credentials.REGISTRATION),
)
SCOPE = Scope(
    owner="acme",
    organisation="acme",
    repositories=("acme/web",),
    routes=ROUTES,
    prefix="runpod",
    web_url="https://github.example",
)
OTHERS = a_runner("builder-1", id=1, labels=("self-hosted", "linux", "x64", "builder"))
ENDED = frozenset(RequestStatus) - {RequestStatus.IN_QUEUE, RequestStatus.IN_PROGRESS}


@dataclass
class Req:
    """A request on RunPod.

    Args:
        said: the answer that its worker has given and RunPod does not show yet.
        shown: what `/status` shows instead of the real status.
    """

    id: str
    endpoint: str
    route: Route
    name: str
    runner_id: int | None  # its registration; None if its worker makes one
    not_after: float
    status: RequestStatus = RequestStatus.IN_QUEUE
    output: Mapping[str, object] | None = None
    error: str | None = None
    said: Reason | None = None
    shown: RequestStatus | None = None

    @property
    def is_open(self) -> bool:
        return self.status not in ENDED


@dataclass
class Worker:
    """A runner process that is registered and listens or runs a job."""

    request: Req
    runner_id: int
    since: float


@dataclass
class World:
    """GitHub, RunPod and the time."""

    now: float = NOW
    jobs: dict[int, WorkflowJob] = field(default_factory=dict)
    runners: dict[int, Runner] = field(default_factory=lambda: {OTHERS.id: OTHERS})
    requests: dict[str, Req] = field(default_factory=dict)
    workers: list[Worker] = field(default_factory=list)
    log: list[Event] = field(default_factory=list)
    executions: dict[int, list[int]] = field(default_factory=dict)
    assigned: dict[int, int] = field(default_factory=dict)  # jobs still queued -> the runners that were given them
    names: dict[int, str] = field(default_factory=dict)  # runner id -> name, of every registration that was ever made
    ids: Iterator[int] = field(default_factory=lambda: iter(range(100, 1_000_000)))

    def time(self) -> float:
        """The clock; each call is a little later."""
        self.now += 0.001
        return self.now

    # --- GitHub ---

    def queue(self, *labels: str) -> None:
        """Queue a job."""
        job = a_job(next(self.ids), labels=("self-hosted", "runpod", *labels), created_at=self.now)
        self.jobs[job.id] = job
        self._tell(job)

    def eligible(self, job: WorkflowJob) -> list[Worker]:
        """Workers to which GitHub may give a queued job."""
        wanted = set(job.labels)
        idle = ((w, self.runners.get(w.runner_id)) for w in self.workers)
        if job.id in self.assigned:
            return []
        return [w for w, r in idle if r and r.online and not r.busy and wanted <= set(r.labels)]

    def hand_over(self, job: WorkflowJob, worker: Worker) -> None:
        """GitHub gives a queued job to a runner that does not take it: the job still looks queued."""
        runner = self.runners[worker.runner_id]
        self.runners[runner.id] = replace(runner, busy=True)
        self.assigned[job.id] = runner.id

    def take_back(self, job_id: int) -> None:
        """The runner did not take its job within 60 s: GitHub requeues it without an event (facts/github.md)."""
        runner = self.runners.get(self.assigned.pop(job_id))
        if runner:
            self.runners[runner.id] = replace(runner, busy=False)

    def assign(self, job: WorkflowJob, worker: Worker) -> None:
        """GitHub gives a queued job to a runner, and the runner takes it."""
        assert job.status is JobStatus.QUEUED
        runner = self.runners[worker.runner_id]
        busy = {r.name for r in self.runners.values() if r.busy and r.id not in self.assigned.values()}
        assert busy == {j.runner_name for j in self.jobs.values() if j.status is JobStatus.IN_PROGRESS}
        self.executions.setdefault(job.id, []).append(runner.id)
        self.runners[runner.id] = replace(runner, busy=True)
        self._change(
            job, status=JobStatus.IN_PROGRESS, runner_name=runner.name, runner_id=runner.id, started_at=self.time()
        )

    def end(self, job: WorkflowJob, conclusion: str) -> None:
        """End a job on its runner, or cancel it before it has one."""
        if job.id in self.assigned:
            self.take_back(job.id)
        runner = self.runners.get(job.runner_id or 0)
        if runner and job.status is JobStatus.IN_PROGRESS:
            del self.runners[runner.id]
            for worker in [w for w in self.workers if w.runner_id == runner.id]:
                self._leave(worker, Reason.COMPLETED)
        self._change(job, status=JobStatus.COMPLETED, conclusion=conclusion, completed_at=self.time())

    def dead(self) -> list[WorkflowJob]:
        """Jobs whose runner process has died."""
        alive = {w.runner_id for w in self.workers}
        return [j for j in self.jobs.values() if j.status is JobStatus.IN_PROGRESS and j.runner_id not in alive]

    def notice(self, job: WorkflowJob) -> None:
        """GitHub notices that a runner is dead: its job fails and is not requeued (facts/github.md)."""
        self.runners.pop(job.runner_id or 0, None)
        self._change(job, status=JobStatus.COMPLETED, conclusion="failure", completed_at=self.time())

    def reap(self, worker: Worker) -> None:
        """GitHub deletes the registration of a runner that has listened for 2 to 6 min (facts/runner.md)."""
        del self.runners[worker.runner_id]
        self._leave(worker, Reason.REGISTRATION_LOST)

    def idle(self) -> list[Worker]:
        """Workers whose runners listen and have no job."""
        return [w for w in self.workers if (r := self.runners.get(w.runner_id)) and r.online and not r.busy]

    def register(self, name: str, labels: list[str]) -> int | None:
        """Make a registration; None if a runner of this name exists."""
        if any(r.name == name for r in self.runners.values()):
            return None
        made = Runner(id=next(self.ids), name=name, online=False, busy=False, labels=tuple(labels))
        self.names[made.id] = name
        self.runners[made.id] = made
        return made.id

    def delete(self, runner_id: int) -> Deleted | Absent | None:
        """Delete a registration; GitHub refuses while it is busy."""
        assert runner_id != OTHERS.id, "a runner of another system was deleted"
        runner = self.runners.get(runner_id)
        if runner is None:
            return Absent(target=ORG, runner_id=runner_id)
        if runner.busy:
            return None
        del self.runners[runner_id]
        for worker in [w for w in self.workers if w.runner_id == runner_id]:
            self._leave(worker, Reason.REGISTRATION_LOST)
        return Deleted(target=ORG, runner_id=runner_id)

    def _change(self, job: WorkflowJob, **values: Any) -> None:
        self.jobs[job.id] = replace(job, **values)
        self._tell(self.jobs[job.id])

    def _tell(self, job: WorkflowJob) -> None:
        # An event does not say whether the run is from a fork.
        self.log.append(Event(guid=f"guid-{len(self.log)}", at=self.time(), job=replace(job, fork=None)))

    # --- RunPod ---

    def submit(self, endpoint: str, route: Route, given: Mapping[str, Any]) -> str:
        request = Req(
            id=f"r{next(self.ids)}",
            endpoint=endpoint,
            route=route,
            name=str(given["runner_name"]),
            runner_id=int(str(given["jit_config"])) if "jit_config" in given else None,
            not_after=float(str(given["not_after"])),
        )
        self.requests[request.id] = request
        self._labels[request.id] = list(given["runner_labels"])
        return request.id

    _labels: dict[str, list[str]] = field(default_factory=dict)

    def start(self, request: Req) -> None:
        """A worker takes a request. If a worker has it already, RunPod has delivered it twice."""
        twin = any(w.request is request for w in self.workers)
        request.status = RequestStatus.IN_PROGRESS
        runner_id = self.runner_of(request)
        if twin:
            self.show(request, Reason.SESSION_CONFLICT)
        elif self.now > request.not_after:
            request.said = Reason.NO_JOB
        elif runner_id is None:
            lost = request.runner_id is not None
            request.said = Reason.REGISTRATION_LOST if lost else Reason.NAME_TAKEN
        else:
            self.runners[runner_id] = replace(self.runners[runner_id], online=True)
            self.workers.append(Worker(request, runner_id, self.now))

    def runner_of(self, request: Req) -> int | None:
        """The registration of a request; in token modes it is made here."""
        if request.runner_id is not None:
            return request.runner_id if request.runner_id in self.runners else None
        return self.register(request.name, self._labels[request.id])

    def show(self, request: Req, reason: Reason) -> None:
        """RunPod shows how a request ended."""
        request.said = None
        if not request.is_open:
            return
        if reason in (Reason.COMPLETED, Reason.NO_JOB):
            request.status, request.output = RequestStatus.COMPLETED, {"outcome": reason, "result": "Succeeded"}
        elif reason is Reason.TIMED_OUT:
            request.status = RequestStatus.TIMED_OUT
        elif reason is Reason.STOPPED:
            request.status = RequestStatus.CANCELLED
        else:
            request.status, request.error = RequestStatus.FAILED, f"{reason}: chosen by the history"

    def kill(self, request: Req, reason: Reason) -> None:
        """End a request and kill its worker; GitHub notices later that its runner is gone."""
        for worker in [w for w in self.workers if w.request is request]:
            self.workers.remove(worker)
            runner = self.runners[worker.runner_id]
            self.runners[runner.id] = replace(runner, online=False)
        self.show(request, reason)

    def cancel(self, request_id: str, proof: Deleted | JitConfig) -> None:
        """The bridge cancels a request. Before, it must have deleted the registration or taken its name itself."""
        request = self.requests[request_id]
        assert self.names[proof.runner_id] == request.name, (
            f"{request.name} was cancelled because of another registration"
        )
        assert request.said is not Reason.COMPLETED, (
            f"{request.name} was cancelled after its job, before its answer was shown"
        )
        names = {r.name: r for r in self.runners.values()}
        if isinstance(proof, JitConfig):
            assert names[request.name].id == proof.runner_id, (
                f"{request.name} was cancelled although its name is not taken by the bridge"
            )
        else:
            assert request.runner_id in (None, proof.runner_id), f"{request.name} has another registration of that name"
            assert request.name not in names, f"{request.name} was cancelled although its registration exists"
        assert all(w.request is not request for w in self.workers), (
            f"{request.name} was cancelled although its worker has a runner"
        )
        self.show(request, Reason.STOPPED)

    def health(self, endpoint: str) -> EndpointHealth:
        at = [r.status for r in self.requests.values() if r.endpoint == endpoint]
        return EndpointHealth(
            in_queue=at.count(RequestStatus.IN_QUEUE), in_progress=at.count(RequestStatus.IN_PROGRESS)
        )

    def status(self, request_id: str) -> Request:
        request = self.requests[request_id]
        if request.shown:
            return Request(id=request.id, status=request.shown)
        return Request(id=request.id, status=request.status, output=request.output, error=request.error)

    def _leave(self, worker: Worker, reason: Reason) -> None:
        self.workers.remove(worker)
        worker.request.said = reason

    # --- time ---

    def pass_time(self, seconds: float) -> None:
        """Let time pass; idle workers end at their own limit."""
        self.now += seconds
        for worker in list(self.workers):
            runner = self.runners[worker.runner_id]
            if not runner.busy and self.now > worker.since + worker.request.route.idle_timeout + WORKER_GRACE:
                self.runners[runner.id] = replace(runner, online=False)
                self._leave(worker, Reason.NO_JOB)

    def go_on(self) -> None:
        """Do everything that happens by itself when GitHub and RunPod work."""
        for job in self.dead():
            self.notice(job)
        for job_id in list(self.assigned):
            self.take_back(job_id)
        self.race()
        for job in [j for j in self.jobs.values() if j.status is JobStatus.IN_PROGRESS]:
            self.end(job, "success")
        for request in self.requests.values():
            request.shown = None
            if request.said:
                self.show(request, request.said)

    def race(self) -> None:
        """Give every queued request a worker, and every queued job an eligible runner."""
        for request in list(self.requests.values()):
            if request.status is RequestStatus.IN_QUEUE:
                self.start(request)
        for job in [j for j in self.jobs.values() if j.status is JobStatus.QUEUED]:
            if idle := self.eligible(job):
                self.assign(job, idle[-1])

    def is_over(self) -> bool:
        """Whether every job has ended and no runner or open request of the bridge is left."""
        jobs_done = all(j.status is JobStatus.COMPLETED for j in self.jobs.values())
        return jobs_done and set(self.runners) == {OTHERS.id} and not any(r.is_open for r in self.requests.values())


__all__ = ["ENDED", "ORG", "OTHERS", "ROUTES", "SCOPE", "Req", "Worker", "World"]

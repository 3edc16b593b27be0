"""What a request waits for, from what RunPod says now. Pure.

RunPod has one status for all of it, IN_QUEUE. Its workers and the log of their host tell the cases apart.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from bridge.core.account import ListedWorker
from bridge.core.model import EndpointHealth, JobStatus, Request, RequestStatus, WorkflowJob
from bridge.core.steps import line, span

RESTARTS = 3
"""Starts of one worker's container in the last lines of its log that are a crash loop."""

NO_CONTAINERS = (
    "workers have no Docker, so a job with `container:` or `services:` cannot run: "
    "use an image of your own for the route instead"
)

INITIALIZE = "Initialize containers"
"""The step that the runner adds to a job with `container:` or `services:`:
https://github.com/actions/runner/blob/main/src/Runner.Worker/JobExtension.cs"""

# As in https://github.com/runpod-workers/worker-comfyui/issues/78 and /201.
_STARTS = "start container for"
_PULL_FAILS = ("error creating container", "failed to pull image", "error pulling image")
_PULLS = ("create container", "pulling", "downloading", "extracting", "image pull", "waiting", "verifying checksum")


class Stage(StrEnum):
    """What a request in RunPod's queue waits for."""

    NO_CAPACITY = "no capacity"  # RunPod has no machine for its worker
    UNHEALTHY = "unhealthy workers"
    CRASH_LOOP = "crash loop"
    IMAGE_FAILS = "image cannot be pulled"
    IMAGE_PULL = "image pull"
    COLD_START = "cold start"
    BUSY_WORKERS = "busy workers"
    IDLE_WORKER = "idle worker"
    NO_WORKER = "no worker"
    SWITCHED_OFF = "switched off"  # the endpoint may have no worker


@dataclass(frozen=True, kw_only=True)
class Workers:
    """The workers of an endpoint now.

    Args:
        counts: by RunPod's state in lower case, such as `throttled`.
        listed: each worker; empty if the management API was not asked.
        host_log: the last lines of the log of the host of one that is starting; empty if it was not read.
        most: workers that the endpoint may have; None if the management API was not asked.
    """

    counts: Mapping[str, int]
    listed: Sequence[ListedWorker] = ()
    host_log: Sequence[str] = ()
    most: int | None = None


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What a request does or waits for.

    Args:
        stage: of a request in the queue; None for another.
        said: one line for a person.
    """

    said: str
    stage: Stage | None = None


def counted(health: EndpointHealth | None, listed: Sequence[ListedWorker] | None) -> dict[str, int]:
    """The workers by state: from the list of workers, else from `/health`."""
    if listed is None:
        return dict(health.workers) if health else {}
    states = ("running", "idle", "initializing", "throttled", "unhealthy")
    return {state: sum(worker.status == state.upper() for worker in listed) for state in states}


def of_request(request: Request, workers: Workers) -> Diagnosis:
    """What a request does or waits for.

    Args:
        request: as `/status` shows it.
        workers: of its endpoint.
    """
    if request.status is RequestStatus.MISSING:
        return Diagnosis(said="RunPod does not know the request: it has expired, or was deleted")
    if request.status is RequestStatus.IN_PROGRESS:
        return Diagnosis(said=_in_progress(request, workers))
    if request.status is not RequestStatus.IN_QUEUE:
        why = f": {line(request.error)}" if request.error else ""
        return Diagnosis(said=f"its request has ended as {request.status}{why}")
    stage, said = _queued(workers)
    return Diagnosis(stage=stage, said=f"its request is in RunPod's queue ({stage}): {said}")


def of_job(job: WorkflowJob | None, failed_step: str | None) -> str:
    """What GitHub says of a job now, in one line.

    Args:
        job: None if GitHub does not know it.
        failed_step: the name of the first step that failed; None for none.
    """
    if job is None:
        return "GitHub has no such job any more"
    runner = f" on runner {job.runner_name}" if job.runner_name and job.status is not JobStatus.QUEUED else ""
    ended = f" as {line(job.conclusion)}" if job.conclusion else ""
    failed = f'; its step "{line(failed_step)}" failed' if failed_step else ""
    why = f": {NO_CONTAINERS}" if failed_step == INITIALIZE else ""
    return f"it is {job.status}{ended}{runner}{failed}{why}"


def _in_progress(request: Request, workers: Workers) -> str:
    if not request.worker_id:
        return "a worker has its request"
    mine = next((each for each in workers.listed if each.id == request.worker_id), None)
    place = [part for part in ((mine.gpu_type, mine.data_center) if mine else ()) if part]
    where = f" ({line(', '.join(place))})" if place else ""
    return f"worker {line(request.worker_id)}{where} has its request"


def _queued(workers: Workers) -> tuple[Stage, str]:
    counts = {state: count for state, count in workers.counts.items() if count}
    running = counts.get("running", 0)
    if workers.most == 0:
        return Stage.SWITCHED_OFF, "the endpoint may have no worker; run `bridge doctor --fix`"
    if counts.get("idle"):
        return Stage.IDLE_WORKER, "a worker is idle and takes it within seconds"
    if starting := counts.get("initializing"):
        return _starting(starting, workers)
    if throttled := counts.get("throttled"):
        said = f"RunPod has no machine for {throttled} workers; wait, or allow more GPU types or regions"
        return Stage.NO_CAPACITY, said
    if unhealthy := counts.get("unhealthy"):
        return Stage.UNHEALTHY, f"{unhealthy} workers fail their health checks{_log_of('UNHEALTHY', workers)}"
    if running:
        return Stage.BUSY_WORKERS, f"all {running} workers of the endpoint have other requests"
    return Stage.NO_WORKER, "RunPod has not started a worker for it yet"


def _starting(starting: int, workers: Workers) -> tuple[Stage, str]:
    stage = host_stage(workers.host_log)
    last = f"; its host says: {line(workers.host_log[-1])}" if workers.host_log else ""
    match stage:
        case Stage.CRASH_LOOP:
            return stage, f"the worker's container starts again and again{_log_of('INITIALIZING', workers)}"
        case Stage.IMAGE_FAILS:
            return stage, f"correct `image` or `registry` of the endpoint{last}"
        case Stage.IMAGE_PULL:
            return stage, f"the worker's image is being pulled{last}"
        case _:
            up = [each.uptime for each in workers.listed if each.status == "INITIALIZING" and each.uptime]
            since = f", the first for {span(max(up))}" if up else ""
            return Stage.COLD_START, f"{starting} workers are starting{since}"


def host_stage(log: Sequence[str]) -> Stage:
    """What a worker that is starting does, from the last lines of its host's log, the oldest first."""
    told = [text.lower() for text in log]
    if sum(_STARTS in text for text in told) >= RESTARTS:
        return Stage.CRASH_LOOP
    last = next((text for text in reversed(told) if text.strip()), "")
    if any(part in last for part in _PULL_FAILS):
        return Stage.IMAGE_FAILS
    pulls = _STARTS not in last and any(part in last for part in _PULLS)
    return Stage.IMAGE_PULL if pulls else Stage.COLD_START


def _log_of(status: str, workers: Workers) -> str:
    """How to read the log of a worker in this state."""
    worker = next((each.id for each in workers.listed if each.status == status), None)
    return f"; see its log: `bridge logs JOB --worker {line(worker)}`" if worker else "; see the endpoint's logs"

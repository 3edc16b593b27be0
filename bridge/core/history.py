"""What the ledger keeps of a job and its runners, so that their story can be told. Pure.

Times are Unix seconds (UTC), durations are seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from bridge.core.lost import RerunRecord
from bridge.core.model import LONGEST_NAME, Request, RequestStatus, Source, WorkflowJob, storable
from bridge.core.submissions import State, Submission
from bridge.core.worker import SECOND_DELIVERY, GpuUsage

MOST_PHASES = 20
"""Phases of one worker that are kept; it has six."""

LONGEST = 1e9
"""s; a longer phase is an error."""

LONGEST_BOOT = 3600.0
"""s; a worker that says that it took longer to start is wrong, and what it says would be money."""

MOST_GPUS = 1024
"""GPUs of one worker; a higher number is an error."""

MOST_MEMORY = 1e9
"""10^6 bytes of a worker's GPUs; more is an error."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TransitionRecord:
    """One transition of a submission, as it was written down.

    Args:
        start: the state before; None for a submission's first row.
        to: the state after.
        at: Unix seconds.
        reason: one of bridge.core.worker.Reason; None for none.
        detail: one line for a person.
    """

    start: State | None
    to: State
    at: float
    reason: str | None = None
    detail: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Execution:
    """How RunPod executed a request, as `/status` and the worker's answer say. What they did not say is None.

    Args:
        delay: s that the request waited for a worker.
        execution: s that its worker had it.
        worker_id: RunPod's id of its last worker.
        gpu_type: of the worker.
        data_center: of the worker.
        gpu_usage: how the job used the GPUs.
        phases: s of the worker's phases, by their names in bridge.core.worker.WorkerAnswer.
        runner_version: of the official runner.
        error: why RunPod says that the request failed.
        boot: s from the start of the worker until it had the request, as the worker says.
    """

    delay: float | None = None
    execution: float | None = None
    worker_id: str | None = None
    gpu_type: str | None = None
    data_center: str | None = None
    gpu_usage: GpuUsage | None = None
    phases: Mapping[str, float] | None = None
    runner_version: str | None = None
    error: str | None = None
    boot: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class SubmissionRecord:
    """A submission with its transitions, the oldest first, and how RunPod executed its request.

    Args:
        usd: what it cost, as estimated; None if it is open or its price is not known.
    """

    submission: Submission
    transitions: tuple[TransitionRecord, ...] = ()
    execution: Execution = Execution()
    usd: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Wait:
    """Why a job waited, or waits.

    Args:
        at: Unix seconds, when a pass first found this reason.
        kind: one of bridge.core.actions.SkipKind, or one of a newer bridge.
        why: one line for a person, as of that pass.
        route: that serves the job; None if none does.
    """

    at: float
    kind: str
    why: str
    route: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class JobRecord:
    """What the ledger knows of a job.

    Args:
        first_seen_at: Unix seconds, when the bridge first saw it; None if an older bridge did.
        source: how the bridge first saw it; None if an older bridge did.
        retried_at: Unix seconds, when it was last retried by hand; 0 for never.
        submissions: those that were requested for it, and those whose runner took it, the oldest first.
        waits: why it has waited so far, the oldest first; see bridge.core.waits.
        rerun: what was decided if it may have lost its worker; None if nothing was.
    """

    job: WorkflowJob
    first_seen_at: float | None = None
    source: Source | None = None
    retried_at: float = 0.0
    submissions: tuple[SubmissionRecord, ...] = ()
    waits: tuple[Wait, ...] = ()
    rerun: RerunRecord | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Waits:
    """How long the jobs of a route waited, from when they were queued until they started.

    Args:
        jobs: how many started.
        p50: s that half of them did not exceed.
        p95: s that 95 % of them did not exceed.
    """

    jobs: int
    p50: float
    p95: float


def execution_of(request: Request) -> Execution:
    """What RunPod and the worker say about the execution of a request. The worker's answer is not trusted."""
    output = request.output or {}
    return Execution(
        delay=request.delay,
        execution=request.execution,
        worker_id=request.worker_id,
        gpu_type=_text(output.get("gpu_type")),
        data_center=_text(output.get("data_center")),
        gpu_usage=_gpu_usage(output.get("gpu_usage")),
        phases=_phases(output.get("seconds")),
        runner_version=_text(output.get("runner_version")),
        error=_error(request),
        boot=_number(output.get("boot_seconds"), LONGEST_BOOT),
    )


def _error(request: Request) -> str | None:
    """Why a request failed, unless it was delivered twice and the first worker goes on."""
    if request.status is RequestStatus.TIMED_OUT:
        return "RunPod ended the request at its executionTimeout"
    if request.status is not RequestStatus.FAILED:
        return None
    said = request.error or "RunPod gives no reason"
    return None if said.partition(": ")[0] in SECOND_DELIVERY else _text(said)


def _text(value: object) -> str | None:
    return storable(value)[:LONGEST_NAME] if value and isinstance(value, str) else None


def _phases(value: object) -> dict[str, float] | None:
    if not isinstance(value, Mapping):
        return None
    named = ((_text(name), _number(seconds, LONGEST)) for name, seconds in value.items())
    found = {name: seconds for name, seconds in named if name and seconds is not None and seconds < LONGEST}
    return dict(list(found.items())[:MOST_PHASES]) or None


def _gpu_usage(value: object) -> GpuUsage | None:
    """How the GPUs were used; None if a part is missing or impossible."""
    given = value if isinstance(value, Mapping) else {}
    name, driver, count = _text(given.get("name")), _text(given.get("driver")), _number(given.get("count"), MOST_GPUS)
    memory = _number(given.get("memory_mb"), MOST_MEMORY)
    peak = _number(given.get("peak_memory_mb"), MOST_MEMORY)
    if not name or not driver or not count or memory is None or peak is None:
        return None
    usage: GpuUsage = {
        "name": name,
        "count": int(count),
        "driver": driver,
        "memory_mb": int(memory),
        "peak_memory_mb": int(peak),
    }
    mean, highest = _number(given.get("mean_utilisation"), 100), _number(given.get("peak_utilisation"), 100)
    if mean is not None and highest is not None:
        usage |= {"mean_utilisation": mean, "peak_utilisation": highest}
    return usage


def _number(value: object, most: float) -> float | None:
    """A number from 0 to `most`; None for anything else."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= most:
        return float(value)
    return None

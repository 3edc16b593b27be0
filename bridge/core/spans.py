"""The trace of a job that has ended: spans from its creation to its end, made of the ledger's history. Pure.

    run                     (sent by the collector's GitHub receiver)
      job                   queued until completed
        queue-{job}         queued until a runner took it
          plan              seen until a runner was claimed
          submit            until RunPod accepted the request
          RunPod queue      until a worker had the request, with its cold start
          worker start      until the runner was connected to GitHub
          listen            until the runner had a job
        run                 the job on its runner

The attributes follow https://opentelemetry.io/docs/specs/semconv/cicd/cicd-spans/ and the registry of vcs.*.
Times are Unix seconds (UTC).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from bridge.core.history import JobRecord, SubmissionRecord
from bridge.core.model import WorkflowJob
from bridge.core.steps import GITHUB_PRECISION, line
from bridge.core.submissions import FAILURE_STATES, OPEN_STATES, State
from bridge.core.trace_ids import job_span_id, queue_span_id, run_span_id, stage_span_id, trace_id

TRACE = "trace"
"""Under which kind the ledger keeps whose traces were sent."""

SETTLED = 60.0
"""s after a job's end for which its trace waits for RunPod's record of its requests."""

PATIENCE = 600.0
"""s after a job's end for which its trace waits for the end of its submissions."""

FIRST_ATTEMPT = 1
"""The attempt of a run, if the ledger does not have it: an older bridge wrote the job."""

_RESULTS = {"cancelled": "cancellation", "skipped": "skip", "timed_out": "timeout"}
"""GitHub's conclusions that have another name in cicd.pipeline.task.run.result."""

Attributes = Mapping[str, str | int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """One span.

    Args:
        trace_id: 32 hex digits.
        span_id: 16 hex digits.
        parent_id: 16 hex digits.
        start: Unix seconds.
        end: Unix seconds, not before `start`.
        ok: how it ended; None if that has no meaning.
        error: one line; None if it did not fail.
    """

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    start: float
    end: float
    attributes: Attributes = field(default_factory=dict)
    ok: bool | None = None
    error: str | None = None


def is_ready(record: JobRecord, now: float) -> bool:
    """Whether the trace of a job can be made: nothing more is to come, or it has been awaited for long enough.

    Args:
        record: what the ledger knows.
        now: Unix seconds.
    """
    ended_at = record.job.completed_at
    if ended_at is None or not record.submissions:
        return False
    if any(each.submission.state in OPEN_STATES for each in record.submissions):
        return ended_at <= now - PATIENCE
    return ended_at <= now - SETTLED or all(_is_told(each) for each in record.submissions)


def _is_told(record: SubmissionRecord) -> bool:
    """Whether RunPod has said how it executed a request; none was sent for a submission without an id."""
    return record.submission.request_id is None or record.execution.delay is not None


def spans(record: JobRecord, *, with_job: bool) -> tuple[Span, ...]:
    """The spans of a job that has ended.

    Args:
        record: what the ledger knows.
        with_job: also the spans of the job and of its time in the queue.
    """
    own = tuple(_of_job(record)) if with_job else ()
    return (*own, *_of_submissions(record), *_of_run(record))


def _trace_id(job: WorkflowJob) -> str:
    return trace_id(job.run_id, job.run_attempt or FIRST_ATTEMPT)


def _of_job(record: JobRecord) -> Iterator[Span]:
    job = record.job
    attributes, error = _job_attributes(record), _job_error(record)
    yield Span(
        name=job.name,
        trace_id=_trace_id(job),
        span_id=job_span_id(job.id),
        parent_id=run_span_id(job.run_id, job.run_attempt or FIRST_ATTEMPT),
        start=job.created_at,
        end=max(job.created_at, job.completed_at or job.created_at),
        attributes=attributes,
        ok={"success": True, "failure": False}.get(job.conclusion or ""),
        error=error,
    )
    yield Span(
        name=f"queue-{job.name}",
        trace_id=_trace_id(job),
        span_id=queue_span_id(job.id),
        parent_id=job_span_id(job.id),
        start=job.created_at,
        end=max(job.created_at, _queued_until(job)),
        attributes=attributes,
    )


def _queued_until(job: WorkflowJob) -> float:
    """When a runner took it, or its end if none did. GitHub sets `started_at` on queued jobs, too."""
    started_at = job.started_at if job.runner_name else None
    return started_at or job.completed_at or job.created_at


def _job_error(record: JobRecord) -> str | None:
    if record.job.conclusion != "failure":
        return None
    taken = _own(record)
    error = taken.execution.error if taken else None
    return line(error) if error else "failure"


def _own(record: JobRecord) -> SubmissionRecord | None:
    """The submission whose runner took the job."""
    return next((each for each in record.submissions if each.submission.name == record.job.runner_name), None)


def _job_attributes(record: JobRecord) -> dict[str, str | int]:
    job = record.job
    owner, _, name = job.repository.partition("/")
    run_url, _, _ = (job.html_url or "").rpartition("/job/")
    found = {
        "cicd.pipeline.name": job.workflow_name,
        "cicd.pipeline.run.id": str(job.run_id),
        "cicd.pipeline.run.url.full": run_url,
        "cicd.pipeline.task.name": job.name,
        "cicd.pipeline.task.run.id": str(job.id),
        "cicd.pipeline.task.run.result": _result(record),
        "cicd.pipeline.task.run.url.full": job.html_url,
        "vcs.owner.name": owner,
        "vcs.provider.name": "github",
        "vcs.ref.head.name": job.head_branch,
        "vcs.repository.name": name,
        "vcs.repository.url.full": run_url.rpartition("/actions/runs/")[0],
    }
    return {key: value for key, value in found.items() if value}


def _result(record: JobRecord) -> str | None:
    """How the job ended; `error` if its worker failed."""
    conclusion = record.job.conclusion
    taken = _own(record)
    if conclusion == "failure" and taken and taken.execution.error:
        return "error"
    return _RESULTS.get(conclusion or "", conclusion)


def _of_submissions(record: JobRecord) -> Iterator[Span]:
    """The stages of each runner that was requested for the job, the first one first.

    The stages of a runner that was requested for another job are in the trace of that job.
    """
    began = record.first_seen_at or record.job.created_at
    for each in record.submissions:
        if each.submission.job_id == record.job.id:
            stages = _stages(each, began, _until(record.job, each))
            for stage in stages:
                yield _stage_span(record, each, stage, is_last=stage is stages[-1])
            began = max(began, each.submission.since)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Stage:
    name: str
    start: float
    end: float


def _until(job: WorkflowJob, record: SubmissionRecord) -> float:
    """When a runner got a job, or ended without one; if neither is known, the end of the job that it was for."""
    submission = record.submission
    if submission.name == job.runner_name and job.started_at is not None:
        latest = job.started_at + GITHUB_PRECISION
        return min(latest, max(job.started_at, submission.taken_at or 0.0))
    if submission.taken_at is not None:
        return submission.taken_at
    ended = submission.since if submission.state not in OPEN_STATES else job.completed_at
    return ended if ended is not None else submission.since


def _stages(record: SubmissionRecord, began: float, until: float) -> list[_Stage]:
    """The stages of a runner; those of which the ledger has the times.

    Args:
        record: of the submission.
        began: Unix seconds, when the bridge could have asked for it.
        until: Unix seconds, when the last stage ended.
    """
    at = {each.to: each.at for each in reversed(record.transitions)}  # the first time of each state
    starts = [("plan", began), ("submit", at.get(State.CLAIMED, record.submission.created_at))]
    starts += _after_submit(record, at)
    reached = [(name, start) for name, start in starts if start < until] or starts[:1]
    ends = [*(start for _, start in reached[1:]), until]
    return [
        _Stage(name=name, start=start, end=max(start, end)) for (name, start), end in zip(reached, ends, strict=True)
    ]


def _after_submit(record: SubmissionRecord, at: Mapping[State, float]) -> Iterator[tuple[str, float]]:
    """The stages from RunPod's answer on, each with its start. RunPod and the worker tell them after their end."""
    sent = at.get(State.SUBMITTED, at.get(State.UNKNOWN))
    if sent is None:
        return
    yield "RunPod queue", sent
    execution = record.execution
    taken = sent + execution.delay if execution.delay is not None else at.get(State.STARTED)
    if taken is None:
        return
    phases = execution.phases
    if phases and execution.delay is not None:
        yield "worker start", taken
        taken += phases.get("configure", 0.0) + phases.get("connect", 0.0)
    yield "listen", taken


def _stage_span(record: JobRecord, of: SubmissionRecord, stage: _Stage, *, is_last: bool) -> Span:
    in_vain = is_last and of.submission.taken_at is None
    failed = in_vain and of.submission.state in FAILURE_STATES | {State.RELEASED, State.EXPIRED}
    reason = of.submission.reason or of.submission.state
    return Span(
        name=stage.name,
        trace_id=_trace_id(record.job),
        span_id=stage_span_id(of.submission.id, stage.name),
        parent_id=queue_span_id(record.job.id),
        start=stage.start,
        end=stage.end,
        attributes={**_runner_attributes(of), **({"error.type": str(reason)} if failed else {})},
        ok=False if failed else None,
        error=line(of.submission.detail or reason) if failed else None,
    )


def _of_run(record: JobRecord) -> Iterator[Span]:
    """The job on its runner, if that is one of the bridge."""
    job, taken = record.job, _own(record)
    if taken is None or job.started_at is None or job.completed_at is None:
        return
    error = _job_error(record)
    yield Span(
        name="run",
        trace_id=_trace_id(job),
        span_id=stage_span_id(taken.submission.id, "run"),
        parent_id=job_span_id(job.id),
        start=job.started_at,
        end=max(job.started_at, job.completed_at),
        attributes={**_runner_attributes(taken), **({"error.type": str(_result(record))} if error else {})},
        ok={"success": True, "failure": False}.get(job.conclusion or ""),
        error=error,
    )


def _runner_attributes(record: SubmissionRecord) -> dict[str, str | int]:
    submission, execution = record.submission, record.execution
    found = {
        "cicd.worker.id": execution.worker_id,
        "cicd.worker.name": submission.name,
        "bridge.route": submission.pool.route,
        "bridge.submission.id": submission.id,
        "bridge.submission.state": str(submission.state),
        "runpod.data_center": execution.data_center,
        "runpod.endpoint.id": submission.endpoint,
        "runpod.gpu.type": execution.gpu_type,
        "runpod.request.id": submission.request_id,
    }
    return {"bridge.generation": submission.generation, **{key: value for key, value in found.items() if value}}

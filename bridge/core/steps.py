"""The steps of a job and its runners, with their times, as lines for a person. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import zip_longest

from bridge.core.actions import SkipKind
from bridge.core.endpoint_names import NO_NAMES, EndpointNames, with_id
from bridge.core.history import Execution, JobRecord, SubmissionRecord, TransitionRecord, Wait
from bridge.core.lost import RerunState
from bridge.core.model import JobStatus, Source, WorkflowJob
from bridge.core.submissions import State, Submission
from bridge.core.worker import Credentials, gpu_line

LONGEST_LINE = 200
"""Characters of a text from outside, such as RunPod's error, that are shown."""

GITHUB_PRECISION = 1.0
"""s; GitHub's times have no fractions, so something of the same second may have come before."""

_SEEN = {
    Source.WEBHOOK: "seen: GitHub sent a webhook",
    Source.DELIVERY_LOG: "seen in the App's delivery log",
    Source.POLL: "seen when the bridge asked GitHub",
}


_REQUESTED = frozenset({SkipKind.NO_CAPACITY, SkipKind.UNHEALTHY})
"""Reasons of a job whose runner is requested: the bridge does not hold it back."""
_RERUN = {
    RerunState.ASKED: "GitHub was asked to re-run it, and its answer is not known yet",
    RerunState.POSTPONED: "not re-run yet",
    RerunState.RERUN: "re-run as a new attempt of its run",
    RerunState.REFUSED: "GitHub refused to re-run it",
    RerunState.SKIPPED: "not re-run",
    RerunState.NOT_LOST: "not re-run, because it failed by itself",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One step of a story.

    Args:
        at: Unix seconds; of GitHub's clock for what GitHub reports.
        what: one line for a person.
        seconds: until the next step; None for the last one.
        runner: the name of the runner that it is about; None for the job itself.
        precision: s by which it may be later than `at`.
    """

    at: float
    what: str
    seconds: float | None = None
    runner: str | None = None
    precision: float = 0.0


def steps_of(
    record: JobRecord, route: str | None, waits: str | None, now: float, names: EndpointNames = NO_NAMES
) -> tuple[Step, ...]:
    """All steps of a job, the oldest first.

    Args:
        record: what the ledger knows.
        route: that serves the job, as the plan says; None if the plan does not say it.
        waits: why it waits now; None if it does not wait.
        now: Unix seconds.
        names: of the endpoints.
    """
    found = [
        *_of_job(record, route),
        *_of_waits(record),
        *(step for each in record.submissions for step in _of_runner(each, record.job.id, names)),
    ]
    ordered = sorted(found, key=lambda step: step.at + step.precision)
    if waits:
        ordered.append(Step(at=now, what=f"waits: {waits}"))
    return tuple(
        replace(step, seconds=max(0.0, following.at - step.at)) if following else step
        for step, following in zip_longest(ordered, ordered[1:])
    )


def span(seconds: float) -> str:
    """A duration for a person."""
    if seconds < 10:
        return f"{max(0.0, seconds):.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7_200 else f"{seconds / 3600:.1f} h"


def line(text: str) -> str:
    """A text from outside as one line that is not too long."""
    joined = " ".join(text.split())
    return joined if len(joined) <= LONGEST_LINE else f"{joined[:LONGEST_LINE]}..."


def reason_of(reason: str | None, detail: str | None) -> str:
    """Why a submission ended, to be put after how it ended; empty if that is not known."""
    said = ", ".join(line(part) for part in (reason, detail) if part)
    return f": {said}" if said else ""


def _of_job(record: JobRecord, route: str | None) -> Iterator[Step]:
    job = record.job
    yield Step(at=job.created_at, what=f"queued in GitHub for {line(', '.join(job.labels)) or 'a runner group'}")
    served_by = route or next((each.submission.pool.route for each in record.submissions), None)
    if record.first_seen_at is not None and record.source is not None:
        by = f"; route {served_by} serves it" if served_by else ""
        yield Step(at=record.first_seen_at, what=f"{_SEEN[record.source]}{by}")
    if record.retried_at:
        yield Step(at=record.retried_at, what="retried by hand: its failed attempts are forgotten")
    if job.runner_name and job.started_at is not None and job.status in (JobStatus.IN_PROGRESS, JobStatus.COMPLETED):
        yield Step(at=job.started_at, what=f"GitHub gave it to runner {job.runner_name}", precision=GITHUB_PRECISION)
    if record.rerun:
        yield Step(at=record.rerun.at, what=f"{_RERUN[record.rerun.state]}: {line(record.rerun.why)}")
    if job.completed_at is not None:
        what = f"completed in GitHub: {line(job.conclusion or 'no conclusion')}"
        yield Step(at=job.completed_at, what=what, precision=GITHUB_PRECISION)


def _of_waits(record: JobRecord) -> Iterator[Step]:
    """Why the job was held back, and for how long. The transitions of its runner tell the wait for a requested one."""
    ends = [*_requested(record), *_taken_or_ended(record.job)]
    for wait, following in zip_longest(record.waits, record.waits[1:]):
        if wait.kind != SkipKind.REQUESTED:
            until = min((at for at in [*ends, *([following.at] if following else [])] if at >= wait.at), default=None)
            lasted = "" if until is None else f" {span(until - wait.at)}"
            yield Step(at=wait.at, what=f"{_held(wait)}{lasted}: {line(wait.why)}")


def _held(wait: Wait) -> str:
    return "waited" if wait.kind in _REQUESTED else "held back"


def _requested(record: JobRecord) -> Iterator[float]:
    """Unix seconds when each runner was requested for a job: then the bridge held it back no longer."""
    for each in record.submissions:
        if each.submission.job_id == record.job.id:
            yield each.submission.created_at


def _taken_or_ended(job: WorkflowJob) -> Iterator[float]:
    """Unix seconds when a job stopped waiting, if it did. GitHub sets started_at on queued jobs, too."""
    ended = job.started_at if job.runner_name and job.started_at is not None else job.completed_at
    if job.status is not JobStatus.QUEUED and ended is not None:
        yield ended


def _of_runner(record: SubmissionRecord, job_id: int, names: EndpointNames) -> Iterator[Step]:
    submission = record.submission
    for transition in record.transitions:
        said = _said(transition, record, job_id, names)
        yield Step(at=transition.at, what=f"{submission.name}: {said}", runner=submission.name)


def _said(transition: TransitionRecord, record: SubmissionRecord, job_id: int, names: EndpointNames) -> str:
    """What a transition means."""
    submission, execution = record.submission, record.execution
    match transition.to:
        case State.CLAIMED:
            other = "" if submission.job_id == job_id else f" for job {submission.job_id}"
            return f"claimed{other}, route {submission.pool.route}{reason_of(None, transition.detail)}"
        case State.MINTED:
            jit = submission.credentials is Credentials.JIT
            return "registered with GitHub" if jit else "its worker will register it with GitHub"
        case State.SUBMITTING:
            return f"sending a request to endpoint {with_id(submission.endpoint, names)}"
        case State.UNKNOWN:
            return f"RunPod did not answer{reason_of(None, transition.detail)}"
        case State.SUBMITTED:
            return f"RunPod accepted request {submission.request_id}"
        case State.STARTED:
            return _started(transition, execution)
        case State.BUSY:
            return _took(submission, job_id)
        case State.WITHDRAWN:
            return "GitHub deleted its registration; its request is being cancelled"
        case _:
            return f"{_ended(transition)}{_executed(execution, record.usd)}"


def _ended(transition: TransitionRecord) -> str:
    if transition.to is State.FINISHED:
        return f"ended: its job is over{reason_of(None, transition.detail)}"
    return f"ended as {transition.to}{reason_of(transition.reason, transition.detail)}"


def _started(transition: TransitionRecord, execution: Execution) -> str:
    if transition.start is State.BUSY:
        return "GitHub took its job back"
    queued = f" after {span(execution.delay)} in RunPod's queue" if execution.delay is not None else ""
    return f"its worker started{queued}"


def _took(submission: Submission, job_id: int) -> str:
    if submission.held_job_id is None:
        return "took a job"
    return "took the job" if submission.held_job_id == job_id else f"took job {submission.held_job_id} instead"


def _executed(execution: Execution, usd: float | None) -> str:
    cost = f"; it cost about {usd:.4f} USD" if usd else ""
    if execution.execution is None:
        return cost
    worker = f" on worker {line(execution.worker_id)}" if execution.worker_id else ""
    failed = f", and failed: {line(execution.error)}" if execution.error else ""
    gpu = f"; {line(gpu_line(execution.gpu_usage))}" if execution.gpu_usage else ""
    return f"; its request ran for {span(execution.execution)}{worker}{failed}{gpu}{cost}"

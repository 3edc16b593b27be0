"""The story of a job: one sentence that says what happened or why it waits, and the steps with their times. Pure.

What happens next is the plan's decision: this module only tells it.
"""

from dataclasses import dataclass

from bridge.core.actions import Claim, Plan, SkipKind
from bridge.core.advice import ADVICE
from bridge.core.endpoint_names import NO_NAMES, EndpointNames, named
from bridge.core.history import JobRecord, SubmissionRecord
from bridge.core.lost import OPEN_RERUNS, RerunState
from bridge.core.model import JobStatus, WorkflowJob
from bridge.core.steps import Step, line, reason_of, span, steps_of
from bridge.core.submissions import State

_ENDED_EARLY = frozenset({State.FAILED, State.LOST, State.EXPIRED, State.CANCELLED})
"""Ends of a submission that took no job, or lost it, which a person wants to know of."""

_NOT_QUEUED = {
    JobStatus.WAITING: "it waits for a deployment review: approve it in GitHub",
    JobStatus.PENDING: "it waits for its concurrency group",
    JobStatus.REQUESTED: "GitHub has not queued it yet",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Outlook:
    """What the plan says about a job now.

    Args:
        runner: that the next pass asks for; None if it asks for none.
        placed: where its request goes and why; empty if its route has one endpoint.
        why: the reason if it asks for none.
        kind: of the reason.
        rerun: why it is decided later whether the job is re-run; None if nothing is to be decided.
        route: that serves the job; None if none does, or the plan says nothing.
    """

    runner: str | None = None
    placed: str = ""
    why: str | None = None
    kind: SkipKind | None = None
    rerun: str | None = None
    route: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Story:
    """What is told of a job.

    Args:
        sentence: what happened or why it waits, and what to do.
        steps: the oldest first.
    """

    job: WorkflowJob
    sentence: str
    steps: tuple[Step, ...]


def outlook(plan: Plan, job_id: int, names: EndpointNames) -> Outlook:
    """What a plan says about a job; `names` of the endpoints."""
    return outlooks(plan, names).get(job_id, Outlook())


def outlooks(plan: Plan, names: EndpointNames) -> dict[int, Outlook]:
    """What a plan says about each job, by job id; `names` of the endpoints."""
    lost = {each.job.id: Outlook(rerun=each.why) for each in plan.reruns}
    skipped = {each.job_id: Outlook(why=each.why, kind=each.kind, route=each.route) for each in plan.skips}
    return lost | skipped | {each.job_id: _claimed(each, names) for each in plan.claims}


def placed_at(claim: Claim, names: EndpointNames) -> str:
    """Where a request goes and why, to be put after its runner; empty if its route has one endpoint."""
    return f" at endpoint {named(claim.endpoint, names)}: {claim.placed}" if claim.placed else ""


def _claimed(claim: Claim, names: EndpointNames) -> Outlook:
    return Outlook(runner=claim.name, placed=placed_at(claim, names), route=claim.pool.route)


def story(record: JobRecord, seen: Outlook, now: float, names: EndpointNames = NO_NAMES) -> Story:
    """Tell what happened to a job.

    Args:
        record: what the ledger knows.
        seen: what the plan says now.
        now: Unix seconds.
        names: of the endpoints.
    """
    waits = _waits(seen) if record.job.status is JobStatus.QUEUED else None
    steps = steps_of(record, seen.route, waits, now, names)
    return Story(job=record.job, sentence=f"Job {record.job.id} {told(record, seen, now)}.", steps=steps)


def told(record: JobRecord, seen: Outlook, now: float) -> str:
    """The sentence of a story, without its subject and its full stop. Arguments as for `story`."""
    job = record.job
    match job.status:
        case JobStatus.QUEUED:
            return f"waits: {_queued(seen)}{_before(record)}"
        case JobStatus.IN_PROGRESS:
            return _running(record, now)
        case JobStatus.COMPLETED:
            return _ended(record, seen)
        case _:
            return f"is not queued: {_NOT_QUEUED[job.status]}"


def _waits(seen: Outlook) -> str:
    if seen.runner:
        return f"the next pass asks for runner {seen.runner}{seen.placed}"
    return seen.why or "no pass has decided about it yet"


def _queued(seen: Outlook) -> str:
    why = _waits(seen)
    todo = ADVICE[seen.kind] if seen.kind else "if this stays, check that the bridge runs"
    return f"{why}; {todo}" if todo else why


def _before(record: JobRecord) -> str:
    """What became of the last runner that was requested for a queued job."""
    ended = [each for each in record.submissions if each.submission.job_id == record.job.id]
    told = next((said for each in reversed(ended) if (said := _left(each, record.job))), None)
    return f" (before: {told})" if told else ""


def _left(record: SubmissionRecord, job: WorkflowJob) -> str | None:
    """How a runner left the job that it was requested for; None if it did not."""
    submission = record.submission
    if submission.held_job_id not in (None, job.id):
        return f"runner {submission.name} took job {submission.held_job_id} instead"
    if submission.state in _ENDED_EARLY:
        return f"runner {submission.name} ended as {submission.state}{reason_of(submission.reason, submission.detail)}"
    return None


def _running(record: JobRecord, now: float) -> str:
    job = record.job
    if not job.runner_name:
        return "is in progress, and GitHub does not name its runner"
    since = f" for {span(now - job.started_at)}" if job.started_at else ""
    told = f"runs on runner {job.runner_name}{_origin(record)}{since}"
    if error := _error(record):
        gone = "if the runner is gone, GitHub fails the job after about 10 minutes: then it can be re-run"
        return f"{told}, but its request failed: {error}; {gone}"
    return told


def _ended(record: JobRecord, seen: Outlook) -> str:
    job = record.job
    if job.conclusion == "deleted":
        return "was deleted with its run in GitHub"
    how = f"ended as {line(job.conclusion or 'completed')}"
    if not job.runner_name:
        todo = "" if job.conclusion in ("cancelled", "skipped", "success") else "; re-run it in GitHub"
        return f"{how} before a runner took it{todo}"
    if job.conclusion == "failure" and (error := _error(record)):
        rerun = _rerun(record, seen) or "re-run it in GitHub, or set `rerun_lost_jobs`"
        return f"failed because the worker of runner {job.runner_name} failed: {error}; {rerun}"
    told = f"{how} on runner {job.runner_name}{_origin(record)}{_durations(job)}"
    if job.conclusion != "failure":
        return told
    return f"{told}; {_rerun(record, seen) or 'its log in GitHub says why'}"


def _rerun(record: JobRecord, seen: Outlook) -> str | None:
    """Whether a job that may have lost its worker was re-run, and why not; None if nothing was to be decided."""
    decided = record.rerun
    if decided is None or decided.state in OPEN_RERUNS:
        why = seen.rerun or (decided and decided.why)
        return f"it may be re-run: {line(why)}" if why else None
    match decided.state:
        case RerunState.RERUN:
            return f"the bridge re-ran it as attempt {decided.run_attempt + 1} of its run"
        case RerunState.REFUSED:
            return f"GitHub did not re-run it: {line(decided.why)}"
        case RerunState.SKIPPED:
            return f"the bridge did not re-run it: {line(decided.why)}"
        case _:
            return None


def _durations(job: WorkflowJob) -> str:
    if job.started_at is None or job.completed_at is None:
        return ""
    waited, ran = job.started_at - job.created_at, job.completed_at - job.started_at
    return f": it waited for {span(waited)} and ran for {span(ran)}"


def _own(record: JobRecord) -> SubmissionRecord | None:
    """The submission whose runner GitHub gave the job to."""
    names = (each for each in record.submissions if each.submission.name == record.job.runner_name)
    return next(names, None)


def _error(record: JobRecord) -> str | None:
    """Why the request of the job's runner failed; None if it did not."""
    own = _own(record)
    return line(own.execution.error) if own and own.execution.error else None


def _origin(record: JobRecord) -> str:
    """For which job the runner was requested, if not for this one."""
    own = _own(record)
    if own is None:
        return ", which is not in this ledger,"
    return "" if own.submission.job_id == record.job.id else f" (requested for job {own.submission.job_id})"

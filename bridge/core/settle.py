"""The next transition of one submission, from what was seen of it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from bridge.core.actions import Transition, Withdrawal
from bridge.core.model import JobStatus, Request, RequestStatus, Runner, WorkflowJob
from bridge.core.scope import Route
from bridge.core.submissions import State, Submission
from bridge.core.timing import Timing
from bridge.core.worker import JIT_LIFETIME, SECOND_DELIVERY, Credentials, Reason

CONCLUSIONS = {
    "Succeeded": "success",
    "Failed": "failure",
    "Canceled": "cancelled",
    "Skipped": "skipped",
    "Abandoned": "failure",
}
"""The runner's result of a job -> GitHub's conclusion."""

_OPEN = frozenset({RequestStatus.IN_QUEUE, RequestStatus.IN_PROGRESS})


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What was seen of a submission.

    Args:
        job: the job whose `runner_name` is the submission's.
        runner: its registration.
        runners_known: the runners of its target were listed in this very pass, and after its state began. Then
            `runner` is up to date, and None means that there is none.
        request: RunPod's answer; None if it was not asked or did not answer.
        route: the submission's route; None if it is no longer configured.
        unexplained: how many requests of its endpoint the ledger does not explain; None if that was not read in this
            very pass.
        missing_since: Unix seconds since when RunPod has answered 404.
    """

    job: WorkflowJob | None
    runner: Runner | None
    runners_known: bool
    request: Request | None
    route: Route | None
    unexplained: int | None = None
    missing_since: float | None = None

    @property
    def unregistered(self) -> bool:
        """Whether the request waits for a worker and no runner has the submission's name."""
        waits = self.request is not None and self.request.status is RequestStatus.IN_QUEUE
        return waits and self.runners_known and self.runner is None


def settle(
    submission: Submission, observation: Observation, timing: Timing, now: float
) -> Transition | Withdrawal | None:
    """Decide the next step of an open submission.

    Args:
        submission: in one of OPEN_STATES.
        observation: what was seen of it.
        timing: how long an answer or a worker is waited for.
        now: Unix seconds.

    Returns:
        None for no change. What GitHub says about the runner has precedence over what RunPod says about the request.
    """
    if submission.state in (State.CLAIMED, State.MINTED, State.SUBMITTING):
        return _abandoned(submission, observation, now)
    observation = _credible(observation, timing, now)
    if observation.job:
        held = _held(submission, observation.job, observation, now)
        if held or observation.job.status is JobStatus.IN_PROGRESS:
            return held
    if observation.runner and observation.runner.busy:
        return None if submission.state is State.BUSY else Transition(submission=submission, to=State.BUSY)
    if submission.state is State.WITHDRAWN:
        return _withdrawn(submission, observation.request)
    if observation.request and observation.request.status is RequestStatus.MISSING:
        return _missing(submission, observation, now)
    if observation.request and observation.request.status not in _OPEN:
        return _ended(submission, observation.request)
    return _waiting(submission, observation, timing, now)


def _credible(observation: Observation, timing: Timing, now: float) -> Observation:
    """Drop an end of the request that RunPod reports and that may be wrong.

    A 404 must last. A runner that is online contradicts any end that is not the worker's own answer.
    """
    request = observation.request
    if request is None or request.status in _OPEN or _is_answer(request):
        return observation
    since = now if observation.missing_since is None else observation.missing_since
    lasts = request.status is not RequestStatus.MISSING or now >= since + timing.gone_after
    contradicted = observation.runner is not None and observation.runner.online
    return observation if lasts and not contradicted else replace(observation, request=None)


def _is_answer(request: Request) -> bool:
    """Whether the worker that started the runner reported the end itself."""
    if request.status is RequestStatus.COMPLETED:
        given = (request.output or {}).get("outcome")
        return isinstance(given, str) and given in set(Reason)  # a worker may answer with anything, such as a list
    word = (request.error or "").partition(": ")[0]
    return request.status is RequestStatus.FAILED and word in set(Reason) - SECOND_DELIVERY


def outcome(request: Request) -> tuple[State, Reason, str | None, str | None]:
    """Read the final answer of RunPod.

    Returns:
        The state, its reason, the job's conclusion if it is known, and one line for a person.
    """
    if request.status is RequestStatus.COMPLETED:
        return _answer(request.output or {})
    if request.status is RequestStatus.CANCELLED:
        return State.CANCELLED, Reason.STOPPED, None, "the request was cancelled on RunPod"
    if request.status is RequestStatus.TIMED_OUT:
        return State.FAILED, Reason.TIMED_OUT, None, "RunPod ended the request at its executionTimeout"
    word, _, detail = (request.error or "").partition(": ")
    if word in set(Reason):
        return State.FAILED, Reason(word), None, detail or None
    return State.FAILED, Reason.CRASHED, None, request.error


def _answer(output: Mapping[str, object]) -> tuple[State, Reason, str | None, str | None]:
    match output.get("outcome"):
        case Reason.COMPLETED:
            return State.FINISHED, Reason.COMPLETED, CONCLUSIONS.get(str(output.get("result"))), None
        case Reason.NO_JOB:
            return State.NO_JOB, Reason.NO_JOB, None, "the runner got no job"
        case Reason.EXPIRED:
            return State.EXPIRED, Reason.EXPIRED, None, "the worker started too late to start a runner"
        case _:
            return State.FAILED, Reason.CRASHED, None, "the worker's answer has no outcome"


def _abandoned(submission: Submission, observation: Observation, now: float) -> Transition | Withdrawal | None:
    """Clean up after a dispatcher that died between two records."""
    if now < submission.lease_until:
        return None
    if submission.state is State.SUBMITTING:
        return Transition(
            submission=submission,
            to=State.UNKNOWN,
            detail="the bridge stopped before it recorded RunPod's answer",
        )
    if not observation.runners_known:
        if not _is_long_over(submission, observation, now):
            return None
        detail = "the bridge stopped before it submitted a request, and no longer reads the runners of its target"
        return Transition(submission=submission, to=State.RELEASED, detail=detail)
    runner_id = submission.runner_id or (observation.runner.id if observation.runner else None)
    return Withdrawal(
        submission=submission,
        to=State.RELEASED,
        runner_id=runner_id,
        detail="the bridge stopped before it submitted a request",
    )


def _held(submission: Submission, job: WorkflowJob, observation: Observation, now: float) -> Transition | None:
    """Follow the job that GitHub gave to this submission's runner."""
    if job.status is JobStatus.COMPLETED:
        return Transition(
            submission=submission,
            to=State.FINISHED,
            reason=Reason.COMPLETED,
            held_job_id=job.id,
            result=job.conclusion,
        )
    if job.status is not JobStatus.IN_PROGRESS:
        return None
    # While GitHub lists the runner as busy or online, the job runs, whatever RunPod says about the request.
    away = _is_away(observation) or _is_long_over(submission, observation, now)
    if observation.request and observation.request.status not in _OPEN and away:
        if observation.request.status is RequestStatus.MISSING:
            return replace(_vanished(submission), held_job_id=job.id)
        state, reason, _, detail = outcome(observation.request)
        if state is not State.FINISHED and reason not in SECOND_DELIVERY:
            return Transition(
                submission=submission, to=_end_with_job(state), reason=reason, held_job_id=job.id, detail=detail
            )
    if submission.state is State.BUSY and submission.held_job_id == job.id:
        return None
    return Transition(submission=submission, to=State.BUSY, held_job_id=job.id)


def _is_away(observation: Observation) -> bool:
    """Whether GitHub no longer lists the runner as busy or online."""
    return observation.runners_known and not (
        observation.runner and (observation.runner.busy or observation.runner.online)
    )


def _end_with_job(state: State) -> State:
    """The end of a submission whose runner had a job: a worker that saw no job has failed.

    That happens when GitHub assigns a job just as the runner leaves, or when RunPod delivers a request a second time
    after its first worker has died.
    """
    return State.FAILED if state in (State.NO_JOB, State.EXPIRED) else state


def _ended(submission: Submission, request: Request) -> Transition:
    state, reason, result, detail = outcome(request)
    return Transition(submission=submission, to=state, reason=reason, result=result, detail=detail)


def _missing(submission: Submission, observation: Observation, now: float) -> Transition | Withdrawal | None:
    detail = "RunPod no longer knows the request"
    long_over = _is_long_over(submission, observation, now)
    if submission.state is State.BUSY and (_is_away(observation) or long_over):
        return _vanished(submission)
    if long_over:
        return Transition(submission=submission, to=State.EXPIRED, detail=detail)
    if _provably_idle(submission, observation):
        return _withdraw(submission, observation, State.EXPIRED, detail)
    # In token modes its worker may have registered since the runners were last listed.
    return Transition(submission=submission, to=State.EXPIRED, detail=detail) if observation.runners_known else None


def _waiting(
    submission: Submission, observation: Observation, timing: Timing, now: float
) -> Transition | Withdrawal | None:
    """Follow a submission whose runner is not known to hold a job."""
    state, runner = submission.state, observation.runner
    online = runner is not None and runner.online
    if state in (State.STARTED, State.BUSY) and _gone(submission, observation, now):
        return _vanished(submission)
    if state is State.BUSY:
        # A runner that is offline and idle has died. If no request id is known, only GitHub's list shows it.
        back = observation.runners_known and (online or (runner is not None and submission.request_id is None))
        return Transition(submission=submission, to=State.STARTED, detail="GitHub took its job back") if back else None
    if state is State.STARTED:
        return _idle(submission, observation, now) or _expired(submission, observation, now)
    if online or (observation.request and observation.request.status is RequestStatus.IN_PROGRESS):
        return Transition(submission=submission, to=State.STARTED)
    if state is State.UNKNOWN:
        return _unanswered(submission, observation, timing, now)
    return _expired(submission, observation, now)


def _expired(submission: Submission, observation: Observation, now: float) -> Withdrawal | None:
    """Withdraw a request that no worker may start any more: a start costs, and other requests wait behind it."""
    if now <= submission.not_after:
        return None
    never_started = submission.state is State.SUBMITTED and _provably_idle(submission, observation)
    unregistered = submission.credentials is not Credentials.JIT and observation.unregistered
    if not (never_started or unregistered):
        return None
    return _withdraw(submission, observation, State.EXPIRED, "no worker took the request in time")


def _gone(submission: Submission, observation: Observation, now: float) -> bool:
    """Whether a runner has disappeared and no request id is known to look up."""
    gone = observation.runners_known and observation.runner is None
    return submission.request_id is None and (gone or _is_long_over(submission, observation, now))


def _is_long_over(submission: Submission, observation: Observation, now: float) -> bool:
    """Whether nothing can be left of a submission whose target is no longer read, such as a deleted repository.

    By then its worker has ended, and GitHub has removed a registration that was not used.
    """
    works = observation.route.execution_timeout if observation.route else JIT_LIFETIME
    return not observation.runners_known and now >= submission.not_after + works + JIT_LIFETIME


def _vanished(submission: Submission) -> Transition:
    if submission.state is State.BUSY:
        return Transition(
            submission=submission,
            to=State.FINISHED,
            reason=Reason.COMPLETED,
            detail="its runner left after a job",
        )
    return Transition(
        submission=submission, to=State.LOST, detail="its runner is gone, and RunPod never returned a request id"
    )


def _withdrawn(submission: Submission, request: Request | None) -> Transition | Withdrawal | None:
    """Cancel a request whose registration was deleted: the dispatcher may have died before it could."""
    detail = submission.detail or "its registration was already deleted"
    if request is None:
        return None
    if request.status in _OPEN:
        to, reason = State.CANCELLED, submission.reason
        return Withdrawal(submission=submission, to=to, runner_id=None, detail=detail, reason=reason)
    if request.status in (RequestStatus.MISSING, RequestStatus.CANCELLED):
        reason = submission.reason or Reason.STOPPED
        return Transition(submission=submission, to=State.CANCELLED, reason=reason, detail=detail)
    return _ended(submission, request)


def _unanswered(submission: Submission, observation: Observation, timing: Timing, now: float) -> Withdrawal | None:
    """Give up a request without an answer if it does not exist, or if no worker may start it any more."""
    if observation.unexplained != 0 and now < submission.not_after + timing.boot_allowance:
        return None
    return _withdraw(submission, observation, State.LOST, "RunPod did not answer, and no worker appeared")


def _idle(submission: Submission, observation: Observation, now: float) -> Withdrawal | None:
    if not observation.route or not _provably_idle(submission, observation):
        return None
    if now < submission.since + observation.route.idle_timeout:
        return None
    if observation.runner and not observation.runner.online:
        # It did not listen: that is evidence against its endpoint, not against the job.
        detail = "its runner was not online at the end of its idle_timeout"
        return replace(_withdraw(submission, observation, State.FAILED, detail), reason=Reason.GITHUB_UNREACHABLE)
    return _withdraw(submission, observation, State.NO_JOB, "the runner got no job within its idle_timeout")


def _provably_idle(submission: Submission, observation: Observation) -> bool:
    """Whether its registration can be deleted: if GitHub agrees, the runner holds no job.

    A registration that is gone proves nothing. RunPod shows how its request ends.
    """
    may_be_there = submission.runner_id is not None and not observation.runners_known
    return observation.runner is not None or may_be_there


def _withdraw(submission: Submission, observation: Observation, to: State, detail: str) -> Withdrawal:
    runner_id = observation.runner.id if observation.runner else submission.runner_id
    return Withdrawal(submission=submission, to=to, runner_id=runner_id, detail=detail)

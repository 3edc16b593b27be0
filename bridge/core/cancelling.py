"""Whether a person may cancel a request, and how. Pure.

Only a request that provably holds no job is cancelled: its registration is deleted first, and GitHub refuses that while
the runner has a job.
"""

from collections.abc import Iterable

from bridge.core.actions import Withdrawal
from bridge.core.model import Runner
from bridge.core.submissions import LEASED_STATES, OPEN_STATES, State, Submission


def refusal(submission: Submission, now: float) -> str | None:
    """Why a request cannot be cancelled now, in one line; None if it can be tried.

    Args:
        submission: whose request it is.
        now: Unix seconds.
    """
    name = submission.name
    if submission.state not in OPEN_STATES:
        return f"runner {name} has ended as {submission.state}; there is nothing to cancel"
    if submission.state is State.BUSY:
        job = f"job {submission.held_job_id}" if submission.held_job_id else "a job"
        return f"runner {name} runs {job}; cancel the job in GitHub"
    if submission.state in LEASED_STATES:
        works = now < submission.lease_until
        wait = "a pass is sending its request; try again in a minute" if works else "the next pass gives it back"
        return f"runner {name} is {submission.state}: {wait}"
    if submission.state is State.UNKNOWN:
        return f"runner {name}: RunPod did not answer its request, so there is no id to cancel; the bridge follows it"
    return None


def withdrawal(submission: Submission, listed: Iterable[Runner], by: str) -> Withdrawal:
    """How to cancel a request.

    Args:
        submission: whose request it is.
        listed: the runners of its target.
        by: who cancels it.
    """
    runner_id = submission.runner_id
    if runner_id is None:
        runner_id = next((runner.id for runner in listed if runner.name == submission.name), None)
    return Withdrawal(submission=submission, to=State.CANCELLED, runner_id=runner_id, detail=f"cancelled by {by}")


def outcome(before: Submission, after: Submission) -> str | None:
    """What did not work, in one line; None if the request is cancelled.

    Args:
        before: the submission as it was.
        after: the submission now.
    """
    name = before.name
    match after.state:
        case State.CANCELLED:
            return None
        case State.BUSY:
            return f"runner {name} has got a job: GitHub keeps it, and nothing was cancelled; cancel the job in GitHub"
        case State.WITHDRAWN:
            return f"runner {name}: GitHub deleted it, but RunPod has not confirmed; the next pass cancels the request"
        case state if state is before.state:
            return f"runner {name}: nothing was cancelled, because GitHub does not confirm that it has no job"
        case state:
            return f"runner {name} has become {state} meanwhile; nothing was cancelled"

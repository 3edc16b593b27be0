"""A request is cancelled by hand only if it can be proved that it holds no job; else one line says why not."""

import pytest

from bridge.core.actions import Withdrawal
from bridge.core.cancelling import outcome, refusal, withdrawal
from bridge.core.submissions import OPEN_STATES, State
from bridge.core.worker import Credentials
from tests.support.values import NOW, a_runner, a_submission

NAME = "runpod-1-1"


@pytest.mark.parametrize("state", [State.SUBMITTED, State.STARTED, State.WITHDRAWN])
def test_a_request_that_may_hold_no_job_can_be_tried(state: State) -> None:
    assert refusal(a_submission(state=state), NOW) is None


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (State.BUSY, f"runner {NAME} runs job 7; cancel the job in GitHub"),
        (State.CLAIMED, f"runner {NAME} is claimed: a pass is sending its request; try again in a minute"),
        (State.SUBMITTING, f"runner {NAME} is submitting: a pass is sending its request; try again in a minute"),
        (
            State.UNKNOWN,
            f"runner {NAME}: RunPod did not answer its request, so there is no id to cancel; the bridge follows it",
        ),
        (State.FINISHED, f"runner {NAME} has ended as finished; there is nothing to cancel"),
    ],
)
def test_other_requests_are_refused_in_one_line(state: State, said: str) -> None:
    assert refusal(a_submission(state=state, held_job_id=7, lease_until=NOW + 60), NOW) == said


def test_what_a_dead_pass_left_is_given_back_by_the_next_one() -> None:
    left = a_submission(state=State.MINTED, lease_until=NOW)
    assert refusal(left, NOW) == f"runner {NAME} is minted: the next pass gives it back"


def test_a_runner_that_its_worker_registered_is_found_by_its_name() -> None:
    submission = a_submission(credentials=Credentials.REGISTRATION, runner_id=None)
    runners = [a_runner("other", id=3), a_runner(NAME, id=5)]
    assert withdrawal(submission, runners, "anna") == Withdrawal(
        submission=submission, to=State.CANCELLED, runner_id=5, detail="cancelled by anna"
    )
    assert withdrawal(submission, [], "anna").runner_id is None
    assert withdrawal(a_submission(), runners, "anna").runner_id == 101, "the ledger knows its id"


@pytest.mark.parametrize("after", [*sorted(OPEN_STATES), State.FINISHED])
def test_only_a_cancelled_request_counts_as_done(after: State) -> None:
    before = a_submission(state=State.SUBMITTED)
    said = outcome(before, a_submission(state=after))
    assert said is not None
    assert said.startswith(f"runner {NAME}")
    assert outcome(before, a_submission(state=State.CANCELLED)) is None


def test_a_runner_whose_job_is_not_known_runs_a_job() -> None:
    assert refusal(a_submission(state=State.BUSY), NOW) == f"runner {NAME} runs a job; cancel the job in GitHub"


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (State.BUSY, " has got a job: GitHub keeps it, and nothing was cancelled; cancel the job in GitHub"),
        (State.WITHDRAWN, ": GitHub deleted it, but RunPod has not confirmed; the next pass cancels the request"),
        (State.SUBMITTED, ": nothing was cancelled, because GitHub does not confirm that it has no job"),
        (State.FINISHED, " has become finished meanwhile; nothing was cancelled"),
    ],
)
def test_a_request_that_was_not_cancelled_says_why(after: State, said: str) -> None:
    assert outcome(a_submission(state=State.SUBMITTED), a_submission(state=after)) == f"runner {NAME}{said}"

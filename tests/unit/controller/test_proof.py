"""A request is cancelled only if GitHub has deleted its runner. Only the GitHub client can make that proof."""

import ast
import asyncio
from pathlib import Path
from typing import Any

import pytest

import bridge
from bridge.controller.apply import Applier
from bridge.core.actions import Withdrawal
from bridge.core.model import Absent, Cancellation, Deleted, JitConfig
from bridge.core.submissions import State, Submission
from bridge.core.worker import Reason
from bridge.errors import NameTaken, Problem, Unavailable
from tests.support.modelled import SCOPE
from tests.support.values import ORG, a_submission

ROOT = Path(bridge.__file__).parent


def calls(name: str) -> set[str]:
    """The modules of the bridge that call something of this name."""
    return {
        str(path.relative_to(ROOT))
        for path in ROOT.rglob("*.py")
        if "emulator" not in path.parts
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) == name
    }


def test_only_githubs_answer_and_its_record_prove_that_a_runner_holds_no_job() -> None:
    """apply.py makes the proof again for the state `withdrawn`, which it records only with a proof."""
    assert calls("Deleted") == {"github/api.py", "controller/apply.py"}
    assert calls("Cancellation") == {"controller/apply.py"}


class Outside:
    """GitHub, RunPod and the ledger: how they answer, and what was done."""

    def __init__(
        self, answer: Deleted | Absent | None, *, cancel_fails: bool = False, held: JitConfig | None = None
    ) -> None:
        self.answer, self.cancel_fails, self.held = answer, cancel_fails, held
        self.deleted: list[int] = []
        self.cancelled: list[Cancellation] = []
        self.states: list[State] = []
        self.reasons: list[Reason | None] = []

    async def runner_group_id(self, target: str, name: str) -> int:
        return 1

    async def generate_jit_config(self, target: str, **_given: Any) -> JitConfig:
        if self.held is None:
            raise NameTaken("the worker has registered", status=409)
        return self.held

    async def delete_runner(self, target: str, runner_id: int) -> Deleted | Absent | None:
        self.deleted.append(runner_id)
        return self.answer

    async def cancel(self, cancellation: Cancellation) -> None:
        if self.cancel_fails:
            raise Unavailable("RunPod is down")
        self.cancelled.append(cancellation)

    async def advance(self, submission: Submission, to: State, **values: Any) -> bool:
        self.states.append(to)
        self.reasons.append(values.get("reason"))
        return True


AGREED = Deleted(target=ORG, runner_id=101)
UNKNOWN = Absent(target=ORG, runner_id=101)


def withdraw(outside: Any, submission: Submission, runner_id: int | None = 101) -> list[Problem]:
    applier = Applier(outside, outside, outside, SCOPE, refusals={})
    wanted = Withdrawal(submission=submission, to=State.EXPIRED, runner_id=runner_id, detail="too late")
    asyncio.run(applier.apply([], [wanted], []))
    return applier.problems


@pytest.mark.parametrize("state", [State.SUBMITTED, State.STARTED])
def test_a_request_is_cancelled_after_github_agreed(state: State) -> None:
    outside = Outside(AGREED)
    withdraw(outside, a_submission(1, state))
    assert outside.cancelled == [Cancellation(endpoint="ep-1", request_id="r1", proof=AGREED)]
    assert outside.states == [State.WITHDRAWN, State.EXPIRED]


def test_a_busy_runner_keeps_its_request() -> None:
    outside = Outside(None)
    withdraw(outside, a_submission(1))
    assert (outside.cancelled, outside.states) == ([], [State.BUSY])


def test_a_registration_that_github_does_not_know_proves_nothing() -> None:
    """The registration of an ephemeral runner is gone when its job ends, and its worker may still send the logs."""
    outside = Outside(UNKNOWN)
    withdraw(outside, a_submission(1))
    assert (outside.cancelled, outside.states) == ([], [])


HELD = JitConfig(runner_id=555, encoded="unused")
"""The registration under the runner's name with which the bridge keeps its worker from registering."""


def test_the_bridge_holds_the_name_of_a_runner_that_its_worker_would_register_while_it_cancels() -> None:
    outside = Outside(AGREED, held=HELD)
    withdraw(outside, a_submission(1, runner_id=None), runner_id=None)
    assert outside.cancelled == [Cancellation(endpoint="ep-1", request_id="r1", proof=HELD)]
    assert (outside.deleted, outside.states) == ([555], [State.EXPIRED])


def test_a_worker_that_has_registered_meanwhile_keeps_its_request() -> None:
    outside = Outside(AGREED)
    withdraw(outside, a_submission(1, runner_id=None), runner_id=None)
    assert (outside.deleted, outside.cancelled, outside.states) == ([], [], [])


def test_the_name_is_released_even_if_the_cancellation_fails() -> None:
    outside = Outside(AGREED, cancel_fails=True, held=HELD)
    assert withdraw(outside, a_submission(1, runner_id=None), runner_id=None) == [Problem("RunPod is down")]
    assert (outside.deleted, outside.states) == ([555], [])


def test_another_registration_of_the_same_name_is_not_deleted() -> None:
    outside = Outside(AGREED)
    withdraw(outside, a_submission(1), runner_id=999)
    assert outside.deleted == [101]


def test_a_request_that_was_never_sent_needs_no_proof() -> None:
    outside = Outside(UNKNOWN)
    withdraw(outside, a_submission(1, State.MINTED, request_id=None))
    assert (outside.cancelled, outside.states) == ([], [State.EXPIRED])


def test_a_failed_cancellation_is_retried_although_the_registration_is_gone() -> None:
    down = Outside(AGREED, cancel_fails=True)
    assert withdraw(down, a_submission(1)) == [Problem("RunPod is down")]
    assert down.states == [State.WITHDRAWN]
    again = Outside(UNKNOWN)
    withdraw(again, a_submission(1, State.WITHDRAWN), runner_id=None)
    assert again.cancelled == [Cancellation(endpoint="ep-1", request_id="r1", proof=AGREED)]
    assert (again.deleted, again.states) == ([], [State.EXPIRED])


def test_the_reason_of_a_withdrawal_is_recorded_before_the_cancellation_that_may_fail() -> None:
    outside = Outside(AGREED)
    applier = Applier(outside, outside, outside, SCOPE, refusals={})  # type: ignore[arg-type]
    wanted = Withdrawal(
        submission=a_submission(1), to=State.FAILED, runner_id=101, detail="never online", reason=Reason.CRASHED
    )
    asyncio.run(applier.apply([], [wanted], []))
    assert outside.reasons == [Reason.CRASHED, Reason.CRASHED]

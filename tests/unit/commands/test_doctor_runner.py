"""Until when GitHub gives jobs to the runner in an image, as `bridge doctor` says it."""

import pytest

from bridge.commands.doctor.asking import Failure
from bridge.commands.doctor.check import Status
from bridge.commands.doctor.runner import BUILD, SOON, support
from bridge.github.deprecations import Deprecation

END = 1_800_000_000.0  # 2027-01-15
UNTIL = "GitHub gives runner 2.338.0 jobs until 2027-01-15"


@pytest.mark.parametrize(
    ("now", "status", "evidence", "fix"),
    [
        (END - SOON - 1, Status.OK, UNTIL, None),
        (END - SOON, Status.WARNING, UNTIL, BUILD),
        (END - 1, Status.WARNING, UNTIL, BUILD),
        (END, Status.FAILED, "GitHub gives runner 2.338.0 no jobs since 2027-01-15", BUILD),
    ],
)
def test_a_version_is_told_of_before_it_ends(now: float, status: Status, evidence: str, fix: str | None) -> None:
    check = support("l4", "2.338.0", Deprecation(runs_until=END), now)
    assert (check.id, check.subject) == ("image.support", "l4")
    assert (check.status, check.evidence, check.fix) == (status, evidence, fix)


@pytest.mark.parametrize("found", [None, Deprecation(runs_until=None)])
def test_a_version_without_an_end_is_no_fault(found: Deprecation | None) -> None:
    check = support("l4", "2.338.0", found, END)
    assert (check.status, check.evidence) == (Status.OK, "runner 2.338.0; GitHub has not set its end")


def test_an_answer_that_does_not_come_is_the_fault_of_this_check_alone() -> None:
    check = support("l4", "2.338.0", Failure("GitHub: no answer; check the network"), END)
    assert (check.status, check.evidence, check.fix) == (Status.FAILED, "GitHub: no answer", "check the network")

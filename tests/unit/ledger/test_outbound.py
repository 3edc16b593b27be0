"""The ledger knows what was sent, so that several copies of the bridge send it once."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pytest

from bridge.core.actions import Claim, Transition
from bridge.core.model import JobStatus
from bridge.core.spans import TRACE
from bridge.core.submissions import Pool, State, Submission
from bridge.ledger import Ledger, Transaction
from tests.support.values import NOW, ORG, a_job, a_route

T = TypeVar("T")


@pytest.fixture
def ledger(database_url: str) -> Iterator[Ledger]:
    made = Ledger.open(database_url, lambda: NOW)
    yield made
    made.close()


def write(ledger: Ledger, work: Callable[[Transaction], T]) -> T:
    return asyncio.run(ledger.transact(work))


def claim(ledger: Ledger, job_id: int, at: float = NOW) -> Submission:
    made = Claim(pool=Pool("gpu", ORG), job_id=job_id, name=f"runpod-{job_id}-1", generation=1, endpoint="ep-1")
    return write(ledger, lambda transaction: transaction.claim([(made, a_route())], at))[0]


def complete(ledger: Ledger, job_id: int, at: float = NOW, **given: Any) -> None:
    job = a_job(job_id, status=JobStatus.COMPLETED, conclusion="success", completed_at=at, **given)
    write(ledger, lambda transaction: transaction.merge([job], at))


def untraced(ledger: Ledger, since: float = NOW - 3600, most: int = 9) -> list[int]:
    found = write(ledger, lambda transaction: transaction.untraced(since, most))
    return [record.job.id for record in found]


def test_completed_jobs_with_a_requested_runner_are_to_be_traced(ledger: Ledger) -> None:
    for job_id in (1, 2, 3):
        claim(ledger, job_id)
    complete(ledger, 1)
    write(ledger, lambda transaction: transaction.merge([a_job(2)], NOW))
    complete(ledger, 3, NOW + 1)
    complete(ledger, 4)
    assert untraced(ledger) == [1, 3]
    assert untraced(ledger, since=NOW) == [3]


def test_a_job_that_took_the_runner_of_another_one_is_to_be_traced(ledger: Ledger) -> None:
    row = claim(ledger, 1)
    busy = Transition(submission=row, to=State.BUSY, held_job_id=5)
    assert write(ledger, lambda transaction: transaction.record(busy, NOW))
    complete(ledger, 5, runner_name=row.name)
    assert untraced(ledger) == [5]


def test_jobs_that_ended_long_ago_are_not_traced(ledger: Ledger) -> None:
    claim(ledger, 1, NOW - 9000)
    complete(ledger, 1, NOW - 8000)
    assert untraced(ledger) == []


def test_the_oldest_jobs_come_first_and_not_too_many_at_once(ledger: Ledger) -> None:
    for job_id in (1, 2, 3):
        claim(ledger, job_id)
        complete(ledger, job_id, NOW - job_id)
    assert untraced(ledger, most=2) == [2, 3]


def test_what_one_copy_sends_no_other_one_sends_until_it_is_released(ledger: Ledger) -> None:
    claim(ledger, 1)
    complete(ledger, 1)
    assert write(ledger, lambda transaction: transaction.note_sent(TRACE, ["1", "2"], NOW)) == {"1", "2"}
    assert untraced(ledger) == []
    assert write(ledger, lambda transaction: transaction.note_sent(TRACE, ["1", "3"], NOW)) == {"3"}
    write(ledger, lambda transaction: transaction.forget_sent(TRACE, ["1"], NOW - 1))
    assert untraced(ledger) == []
    write(ledger, lambda transaction: transaction.forget_sent(TRACE, ["1"], NOW))
    assert untraced(ledger) == [1]


def test_what_was_sent_is_known_by_kind_and_key_until_the_retention_ends(ledger: Ledger) -> None:
    write(ledger, lambda transaction: transaction.note_sent("given up", ["1"], NOW))
    write(ledger, lambda transaction: transaction.note_sent("breaker", ["1"], NOW + 5))
    write(ledger, lambda transaction: transaction.note_sent(TRACE, ["1"], NOW))

    def sent() -> dict[tuple[str, str], float]:
        return dict(write(ledger, lambda transaction: transaction.sent(["given up", "breaker"])))

    assert sent() == {("given up", "1"): NOW, ("breaker", "1"): NOW + 5}
    write(ledger, lambda transaction: transaction.prune(NOW + 1, NOW + 1))
    assert sent() == {("breaker", "1"): NOW + 5}

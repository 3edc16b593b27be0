"""What the ledger says of requests that left an endpoint without capacity."""

import asyncio
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest

from bridge.core.actions import Claim, Transition
from bridge.core.submissions import Pool, Starvation, State, Submission
from bridge.core.worker import Reason
from bridge.ledger import Ledger, Transaction
from tests.support.values import NOW, ORG, a_job, a_route

T = TypeVar("T")
GPU = Pool("gpu", ORG)


@pytest.fixture
def ledger(database_url: str) -> Iterator[Ledger]:
    opened = Ledger.open(database_url, lambda: NOW)
    yield opened
    opened.close()


def write(ledger: Ledger, work: Callable[[Transaction], T]) -> T:
    return asyncio.run(ledger.transact(work))


def submitted(ledger: Ledger, job_id: int, endpoint: str, placed: str = "") -> Submission:
    name = f"runpod-{job_id}-1"
    claim = Claim(pool=GPU, job_id=job_id, name=name, generation=1, endpoint=endpoint, placed=placed)
    write(ledger, lambda t: t.merge([a_job(job_id)], NOW))
    (row,) = write(ledger, lambda t: t.claim([(claim, a_route())], NOW))
    return row


def becomes(ledger: Ledger, row: Submission, to: State, at: float, reason: Reason | None = None) -> None:
    assert write(ledger, lambda t: t.record(Transition(submission=row, to=to, reason=reason), at))


def starvations(ledger: Ledger, after: float = NOW - 10) -> dict[str, Starvation]:
    return dict(write(ledger, lambda t: t.starvations(after)))


def test_requests_that_left_an_endpoint_are_known_for_a_while(ledger: Ledger) -> None:
    assert starvations(ledger) == {}
    becomes(ledger, submitted(ledger, 1, "ep-1"), State.CANCELLED, NOW + 1, Reason.STARVED)
    becomes(ledger, submitted(ledger, 2, "ep-1"), State.WITHDRAWN, NOW + 5, Reason.STARVED)
    becomes(ledger, submitted(ledger, 3, "ep-2"), State.CANCELLED, NOW + 9, Reason.STOPPED)
    becomes(ledger, submitted(ledger, 4, "ep-2"), State.STARTED, NOW + 9)
    assert starvations(ledger) == {"ep-1": Starvation(first=NOW + 1, last=NOW + 5)}
    assert starvations(ledger, NOW + 1) == {"ep-1": Starvation(first=NOW + 5, last=NOW + 5)}
    assert starvations(ledger, NOW + 5) == {}


@pytest.mark.parametrize("state", [State.STARTED, State.BUSY])
def test_a_worker_that_starts_there_ends_the_starvation(ledger: Ledger, state: State) -> None:
    becomes(ledger, submitted(ledger, 1, "ep-1"), State.CANCELLED, NOW + 1, Reason.STARVED)
    becomes(ledger, submitted(ledger, 2, "ep-1"), state, NOW + 7)
    assert starvations(ledger) == {"ep-1": Starvation(first=None, last=NOW + 1, started=1)}


def test_a_request_that_moved_is_counted_and_is_no_runner_that_may_have_taken_the_job(ledger: Ledger) -> None:
    row = submitted(ledger, 1, "ep-1", "it is preferred")
    becomes(ledger, row, State.CANCELLED, NOW + 1, Reason.STARVED)
    history = write(ledger, lambda t: t.history())[1]
    assert (history.generation, history.moves, history.attempts, history.last_end) == (1, 1, 0, 0.0)


def test_a_submission_is_at_the_endpoint_of_its_claim(ledger: Ledger) -> None:
    assert submitted(ledger, 1, "ep-7").endpoint == "ep-7"

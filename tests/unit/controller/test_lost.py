"""Asking GitHub for a re-run that is written down."""

import asyncio
from collections.abc import Iterator

import pytest

from bridge.controller.lost import Reruns
from bridge.core.lost import RerunState, SeenRun
from tests.support.values import NOW, TIMING
from tests.unit.ledger.test_history import Book
from tests.unit.ledger.test_reruns import a_rerun, write


class GitHub:
    """Counts the calls, and accepts each."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    async def rerun_job(self, _repository: str, job_id: int) -> None:
        self.asked.append(job_id)

    async def seen_run(self, _repository: str, _run_id: int) -> SeenRun | None:
        raise NotImplementedError


@pytest.fixture
def book(database_url: str) -> Iterator[Book]:
    made = Book(database_url)
    yield made
    made.ledger.close()


@pytest.mark.parametrize(
    ("late", "state", "tries", "calls"),
    [(0.0, RerunState.RERUN, 1, [1]), (31.0, RerunState.POSTPONED, 0, [])],
)
def test_a_pass_that_was_too_slow_to_ask_does_not_count_as_a_try(
    book: Book, late: float, state: RerunState, tries: int, calls: list[int]
) -> None:
    """Another dispatcher may soon take over. Three slow passes must not end it: GitHub was never asked."""
    write(book, a_rerun())
    github = GitHub()
    asking = Reruns(github, book.ledger, TIMING, clock=lambda: NOW + late)
    asyncio.run(asking.ask([a_rerun()], NOW))
    (record,) = book.write(lambda transaction: transaction.reruns_of({1}))
    assert (record.state, record.tries, github.asked) == (state, tries, calls)

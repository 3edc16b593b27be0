"""The ledger keeps why jobs wait, and which routes are paused."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from bridge.core.actions import SkipKind
from bridge.core.history import Wait
from bridge.core.model import JobStatus
from bridge.core.pauses import Pause
from bridge.core.waits import MOST
from bridge.ledger.tables import waits
from tests.support.values import NOW, a_job
from tests.unit.ledger.test_history import Book


@pytest.fixture
def book(database_url: str) -> Iterator[Book]:
    made = Book(database_url)
    yield made
    made.ledger.close()


def a_wait(kind: SkipKind = SkipKind.ROUTE_FULL, **given: Any) -> Wait:
    return Wait(**{"at": NOW, "kind": kind, "why": "it is full", "route": "gpu", **given})


def keep(book: Book, wait: Wait, job_id: int = 1) -> None:
    book.write(lambda transaction: transaction.keep_waits({job_id: wait}))


def rows(book: Book) -> int:
    engine = sa.create_engine(book.url)
    with engine.connect() as connection:
        found = connection.execute(sa.select(sa.func.count()).select_from(waits)).scalar_one()
    engine.dispose()
    return found


def test_a_jobs_reasons_are_kept_in_order_each_once(book: Book) -> None:
    book.write(lambda transaction: transaction.merge([a_job(1)], NOW))
    full, paused, none = a_wait(), a_wait(SkipKind.PAUSED, at=NOW + 9), a_wait(SkipKind.NO_ROUTE, route=None)
    for wait in (full, a_wait(at=NOW + 5, why="another text"), paused, none):
        keep(book, wait)
    assert book.record().waits == (full, paused, none)


def test_the_wait_for_the_first_runner_and_the_reasons_of_unknown_jobs_are_not_kept(book: Book) -> None:
    book.write(lambda transaction: transaction.merge([a_job(1)], NOW))
    keep(book, a_wait(SkipKind.REQUESTED))
    keep(book, a_wait(), job_id=2)
    assert rows(book) == 0


def test_a_reason_that_comes_and_goes_does_not_fill_the_ledger(book: Book) -> None:
    book.write(lambda transaction: transaction.merge([a_job(1)], NOW))
    for number in range(MOST + 3):
        keep(book, a_wait(SkipKind.NO_CAPACITY if number % 2 else SkipKind.REQUESTED, at=NOW + number))
    assert len(book.record().waits) == MOST


def test_reasons_are_deleted_with_their_job_and_not_before(book: Book) -> None:
    book.write(lambda transaction: transaction.merge([a_job(1), a_job(2), a_job(3)], NOW))
    for job_id in (1, 2, 3):
        keep(book, a_wait(), job_id)
    book.write(lambda transaction: transaction.forget_jobs([3]))
    book.write(lambda transaction: transaction.merge([a_job(2, status=JobStatus.COMPLETED)], NOW + 1))
    book.write(lambda transaction: transaction.prune(NOW + 2, NOW + 2))
    assert book.record().waits == (a_wait(),)
    assert rows(book) == 1


def test_a_pause_lasts_until_it_is_ended_and_keeps_who_began_it(book: Book) -> None:
    first = Pause(route="gpu", at=NOW, by="anna", reason="new image")
    assert book.write(lambda transaction: transaction.pause(first)) == first
    second = Pause(route="gpu", at=NOW + 9, by="ben")
    assert book.write(lambda transaction: transaction.pause(second)) == first
    assert asyncio.run(book.ledger.read(lambda transaction: transaction.pauses())) == {"gpu": first}
    assert book.write(lambda transaction: transaction.resume("gpu")) == first
    assert book.write(lambda transaction: transaction.resume("gpu")) is None
    assert asyncio.run(book.ledger.read(lambda transaction: transaction.pauses())) == {}

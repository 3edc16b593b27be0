"""The ledger adds up what workers cost as `bridge.core.cost` does, and keeps prices and raised budgets."""

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.core.budget import ALL, Raise, Spent
from bridge.core.cost import Usage, midnight, paid_between
from bridge.core.history import Execution
from bridge.core.model import JobStatus
from bridge.core.prices import ANY, PriceReading, PriceSource, price_at
from bridge.core.reference import Reference
from bridge.core.submissions import State
from bridge.ledger import Ledger, Transaction
from bridge.ledger.rows import row_of_submission
from bridge.ledger.tables import submissions
from tests.support.values import NOW, a_job, a_submission
from tests.unit.ledger.test_ledger import upgraded

T = TypeVar("T")
L4 = "NVIDIA L4"
TODAY = midnight(NOW)
UNTOLD = Execution()


class Book:
    """A ledger, used from a test without coroutines."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.ledger = Ledger.open(url, lambda: NOW)

    def write(self, work: Callable[[Transaction], T]) -> T:
        return asyncio.run(self.ledger.transact(work))

    def add(self, job_id: int, state: State, execution: Execution = UNTOLD, **given: Any) -> None:
        row = row_of_submission(a_submission(job_id, state, **given))

        def insert(transaction: Transaction) -> None:
            transaction._connection.execute(sa.insert(submissions), row)
            transaction.keep_executions({row["id"]: execution})

        self.write(insert)

    def usages(self, since: float = 0.0) -> tuple[Usage, ...]:
        return self.write(lambda transaction: transaction.costs.usages(since))

    def spent(self, now: float = NOW) -> tuple[Spent, ...]:
        return self.write(lambda transaction: transaction.costs.spent(TODAY, now))


@pytest.fixture
def book(database_url: str) -> Iterator[Book]:
    made = Book(database_url)
    yield made
    made.ledger.close()


def test_the_use_of_a_worker_is_told_with_the_job_that_its_runner_took(book: Book) -> None:
    asked_for = a_job(1, repository="acme/asked")
    took = a_job(
        2,
        repository="acme/took",
        workflow_name="tests",
        status=JobStatus.COMPLETED,
        started_at=NOW - 40,
        completed_at=NOW - 10,
    )
    book.write(lambda transaction: transaction.merge([asked_for, took], NOW))
    told = Execution(delay=3.0, execution=50.0, boot=4.0, gpu_type=L4)
    book.add(1, State.FINISHED, told, held_job_id=2, taken_at=NOW - 41, started_at=NOW - 45, since=NOW - 5)
    assert book.usages() == (
        Usage(
            route="gpu",
            endpoint="ep-1",
            created_at=NOW - 60,
            began=NOW - 45,
            ended=NOW - 5,
            boot=4.0,
            delay=3.0,
            execution=50.0,
            took_job=True,
            job_began=NOW - 40,
            job=30.0,
            gpu_type=L4,
            repository="acme/took",
            workflow="tests",
        ),
    )


def test_the_workers_own_word_about_its_job_counts_before_githubs(book: Book) -> None:
    done = a_job(1, status=JobStatus.COMPLETED, started_at=NOW - 40, completed_at=NOW - 10)
    book.write(lambda transaction: transaction.merge([done], NOW))
    book.add(1, State.FINISHED, Execution(phases={"job": 25.0}), held_job_id=1, taken_at=NOW - 41)
    assert [usage.job for usage in book.usages()] == [25.0]


def test_a_job_that_the_ledger_no_longer_has_leaves_its_cost(book: Book) -> None:
    book.add(1, State.FINISHED, Execution(execution=50.0), held_job_id=1, taken_at=NOW - 50, since=NOW)
    (usage,) = book.usages()
    assert (usage.repository, usage.took_job, usage.job_began, usage.execution) == (None, True, NOW - 50, 50.0)


def test_submissions_that_ended_before_are_left_out_and_open_ones_never(book: Book) -> None:
    book.add(1, State.FINISHED, since=NOW - 100)
    book.add(2, State.FINISHED, since=NOW - 10)
    book.add(3, State.BUSY, since=NOW - 100, taken_at=NOW - 100)
    assert len(book.usages(NOW - 50)) == 2
    of = book.write(lambda transaction: transaction.costs.usages_of(["s1-1", "s3-1"]))
    assert len(of) == 2
    assert book.write(lambda transaction: transaction.costs.usages_of([])) == ()


def test_what_was_spent_today_is_summed_by_route_endpoint_and_gpu(book: Book) -> None:
    book.add(1, State.FINISHED, Execution(execution=50.0, boot=2.0, gpu_type=L4), since=NOW - 10)
    book.add(2, State.FINISHED, Execution(execution=8.0, gpu_type=L4), since=NOW - 10)
    book.add(3, State.BUSY, taken_at=NOW - 30)
    book.add(4, State.SUBMITTED)
    book.add(5, State.LOST, since=NOW - 10)
    book.add(6, State.FINISHED, Execution(execution=900.0), since=TODAY - 10)
    assert sorted(book.spent(), key=str) == [
        Spent(route="gpu", endpoint="ep-1", gpu_type=L4, seconds=60.0),
        Spent(route="gpu", endpoint="ep-1", gpu_type=None, seconds=30.0),
    ]


def test_only_the_part_of_a_night_that_is_today_is_spent_today(book: Book) -> None:
    book.add(1, State.FINISHED, Execution(execution=500.0), since=TODAY + 30)
    book.add(2, State.BUSY, taken_at=TODAY - 100)
    assert sum(spent.seconds for spent in book.spent(TODAY + 60)) == 30 + 60


ENDED = st.fixed_dictionaries(
    {
        "state": st.sampled_from([State.FINISHED, State.FAILED, State.NO_JOB, State.LOST]),
        "since": st.floats(TODAY + 20_000, NOW - 1),
        "started_at": st.none() | st.floats(TODAY + 2_000, TODAY + 10_000),
        "taken_at": st.none() | st.floats(TODAY + 2_000, TODAY + 10_000),
    }
)
OPEN = st.fixed_dictionaries(
    {
        "state": st.sampled_from([State.SUBMITTED, State.STARTED, State.BUSY, State.WITHDRAWN, State.UNKNOWN]),
        "since": st.floats(TODAY, NOW),
        "started_at": st.none() | st.floats(TODAY + 100, NOW - 1),
        "taken_at": st.none() | st.floats(TODAY + 100, NOW - 1),
    }
)
EXECUTIONS = st.builds(Execution, execution=st.none() | st.floats(0, 9_000), boot=st.none() | st.floats(0, 60))


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(ENDED | OPEN, EXECUTIONS), max_size=6))
def test_the_sum_of_a_statement_is_that_of_the_pure_function(
    book: Book, rows: list[tuple[dict[str, Any], Execution]]
) -> None:
    book.write(lambda transaction: transaction._connection.execute(sa.delete(submissions)))
    for number, (row, told) in enumerate(rows):
        book.add(number, execution=told, **row)
    expected = sum(paid_between(usage, TODAY, NOW, NOW) for usage in book.usages())
    assert sum(spent.seconds for spent in book.spent()) == pytest.approx(expected, abs=1e-3)


def note(book: Book, at: float, usd: float, source: PriceSource = PriceSource.CATALOG) -> None:
    book.write(lambda transaction: transaction.costs.note_prices({"ep-1": {L4: usd}}, source, at))


def test_a_price_is_kept_with_the_time_at_which_it_changed_and_was_last_read(book: Book) -> None:
    for at, usd in ((NOW, 0.5), (NOW + 10, 0.5), (NOW + 20, 0.6), (NOW + 20, 0.7)):
        note(book, at, usd)
    prices = book.write(lambda transaction: transaction.costs.prices())
    assert [(r.at, r.read_at, r.usd_per_hour) for r in prices["ep-1"]] == [
        (NOW, NOW + 10, {L4: 0.5}),
        (NOW + 20, NOW + 20, {L4: 0.6}),
        (NOW + 20.001, NOW + 20, {L4: 0.7}),
    ]
    assert price_at(prices, "ep-1", NOW + 15, L4) == 0.5


def test_a_price_of_the_configuration_is_told_from_one_of_the_catalog(book: Book) -> None:
    note(book, NOW, 0.5)
    book.write(lambda transaction: transaction.costs.note_prices({"ep-1": {ANY: 0.5}}, PriceSource.SETTING, NOW + 1))
    prices = book.write(lambda transaction: transaction.costs.prices())
    assert prices["ep-1"][-1] == PriceReading(
        at=NOW + 1, read_at=NOW + 1, usd_per_hour={ANY: 0.5}, source=PriceSource.SETTING
    )


def _raise(raised: Raise, transaction: Transaction) -> None:
    transaction.costs.raise_budget(raised)


def test_raises_are_kept_with_who_raised_and_count_until_their_time(book: Book) -> None:
    first = Raise(route=ALL, usd=20.0, until=NOW + 60, by="ann@host", at=NOW)
    second = Raise(route="gpu", usd=5.0, until=NOW + 10, by="ben@host", at=NOW)
    for raised in (first, second, first):
        book.write(partial(_raise, raised))
    assert sorted(book.write(lambda t: t.costs.raises(NOW)), key=lambda each: each.route) == [first, second]
    assert book.write(lambda t: t.costs.raises(NOW + 10)) == (first,)


def test_a_ledger_of_an_older_bridge_gets_the_tables_and_keeps_its_submissions(database_url: str) -> None:
    upgraded(database_url, "0005")
    book = Book(database_url)
    book.add(1, State.BUSY, taken_at=NOW - 30)
    assert [usage.boot for usage in book.usages()] == [None]
    book.ledger.close()


def test_the_history_of_a_job_has_the_cost_of_each_runner_that_has_ended(book: Book) -> None:
    book.write(lambda transaction: transaction.merge([a_job(1)], NOW))
    book.add(1, State.FINISHED, Execution(execution=36.0), since=NOW - 10)
    book.add(1, State.BUSY, generation=2, taken_at=NOW - 5)
    assert costs_of(book) == [None, None], "no price is known"
    note(book, NOW - 100, 1.0)
    assert costs_of(book) == [pytest.approx(0.01), None]


def costs_of(book: Book) -> list[float | None]:
    (record,) = book.write(lambda transaction: transaction.named(Reference(1, None)))
    return [each.usd for each in record.submissions]


def test_runpod_is_asked_again_only_about_workers_that_ran_and_ended_lately(book: Book) -> None:
    book.add(1, State.FINISHED, since=NOW - 30, taken_at=NOW - 60)
    book.add(2, State.FINISHED, since=NOW - 20, started_at=NOW - 60)
    book.add(3, State.FINISHED, Execution(execution=9.0), since=NOW - 20, taken_at=NOW - 60)  # it has told
    book.add(4, State.CANCELLED, since=NOW - 20)  # its worker never ran
    book.add(5, State.FINISHED, since=NOW - 900, taken_at=NOW - 960)  # long ago
    book.add(6, State.BUSY, since=NOW - 20, taken_at=NOW - 20)  # it is asked about anyway
    book.add(7, State.RELEASED, since=NOW - 20, taken_at=NOW - 60, request_id=None)  # there is nothing to ask about
    all_of_them = book.write(lambda transaction: transaction.costs.untold(NOW - 600, 20))
    newest = book.write(lambda transaction: transaction.costs.untold(NOW - 600, 1))
    assert ([each.job_id for each in all_of_them], [each.job_id for each in newest]) == ([2, 1], [2])

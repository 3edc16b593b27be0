"""The ledger keeps each transition of a submission, how RunPod executed its request, and how a job was first seen."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import TypeVar

import pytest
import sqlalchemy as sa

from bridge.core.actions import Claim, Transition
from bridge.core.history import Execution, JobRecord, SubmissionRecord, TransitionRecord
from bridge.core.model import Event, JobStatus, Source
from bridge.core.reference import Reference
from bridge.core.submissions import Pool, State, Submission
from bridge.core.worker import Reason
from bridge.ledger import Ledger, Transaction
from bridge.ledger.tables import transitions
from tests.support.histories import broken_histories
from tests.support.values import NOW, ORG, a_job, a_route
from tests.unit.ledger.test_ledger import upgraded

T = TypeVar("T")
GPU = Pool("gpu", ORG)


class Book:
    """A ledger, used from a test without coroutines."""

    def __init__(self, url: str) -> None:
        self.now = NOW
        self.url = url
        self.ledger = Ledger.open(url, lambda: self.now)

    def write(self, work: Callable[[Transaction], T]) -> T:
        return asyncio.run(self.ledger.transact(work))

    def claim(self, job_id: int = 1, generation: int = 1) -> Submission:
        claim = Claim(
            pool=GPU, job_id=job_id, name=f"runpod-{job_id}-{generation}", generation=generation, endpoint="ep-1"
        )
        return self.write(lambda transaction: transaction.claim([(claim, a_route())], self.now))[0]

    def record(self, job_id: int = 1) -> JobRecord:
        (found,) = asyncio.run(self.ledger.read(lambda transaction: transaction.named(Reference(job_id, None))))
        return found

    def wrong(self) -> list[str]:
        engine = sa.create_engine(self.url)
        with engine.connect() as connection:
            found = broken_histories(connection)
        engine.dispose()
        return found


@pytest.fixture
def book(database_url: str) -> Iterator[Book]:
    made = Book(database_url)
    yield made
    made.ledger.close()


def test_each_transition_is_kept_with_its_time_reason_and_detail(book: Book) -> None:
    book.write(lambda transaction: transaction.merge([a_job(1)], NOW))
    row = book.claim()
    book.now = NOW + 1
    assert asyncio.run(book.ledger.advance(row, State.MINTED, runner_id=5))
    minted = replace(row, state=State.MINTED)
    ended = Transition(submission=minted, to=State.FAILED, reason=Reason.CRASHED, detail="it broke")
    assert book.write(lambda transaction: transaction.record(ended, NOW + 2))
    (record,) = book.record().submissions
    assert record.transitions == (
        TransitionRecord(start=None, to=State.CLAIMED, at=NOW),
        TransitionRecord(start=State.CLAIMED, to=State.MINTED, at=NOW + 1),
        TransitionRecord(start=State.MINTED, to=State.FAILED, at=NOW + 2, reason="crashed", detail="it broke"),
    )
    assert book.wrong() == []


def test_several_claims_of_one_pass_each_get_a_history_of_their_own(book: Book) -> None:
    claims = [
        (Claim(pool=GPU, job_id=n, name=f"runpod-{n}-1", generation=1, endpoint="ep-1"), a_route()) for n in (1, 2, 3)
    ]
    book.write(lambda transaction: transaction.claim(claims, NOW))
    assert book.wrong() == []


def test_a_transition_that_another_dispatcher_forestalled_is_not_kept(book: Book) -> None:
    row = book.claim()
    assert asyncio.run(book.ledger.advance(row, State.MINTED))
    assert not asyncio.run(book.ledger.advance(row, State.RELEASED))
    assert book.wrong() == []


def test_a_renewed_lease_is_no_transition(book: Book) -> None:
    book.write(lambda transaction: transaction.merge([a_job(1)], NOW))
    row = book.claim()
    assert asyncio.run(book.ledger.advance(row, State.CLAIMED))
    (record,) = book.record().submissions
    assert [step.to for step in record.transitions] == [State.CLAIMED]


def test_a_state_and_its_history_are_written_together_or_not_at_all(book: Book) -> None:
    row = book.claim()

    def fail(transaction: Transaction) -> None:
        transaction.advance(row, State.MINTED)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        book.write(fail)
    book.write(lambda transaction: transaction.merge([a_job(1)], NOW))
    (record,) = book.record().submissions
    assert [record.submission.state, *(step.to for step in record.transitions)] == [State.CLAIMED] * 2


def test_a_history_is_deleted_with_its_submission_and_not_before(book: Book) -> None:
    for job_id in (1, 2):
        asyncio.run(book.ledger.advance(book.claim(job_id), State.RELEASED, since=NOW + job_id))
    book.write(lambda transaction: transaction.prune(NOW + 2, NOW + 2))
    assert book.wrong() == []
    engine = sa.create_engine(book.url)
    with engine.connect() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(transitions)).scalar() == 2
    engine.dispose()


def test_the_first_sight_of_a_job_stays_known(book: Book) -> None:
    heard = Event(guid="a", at=NOW, job=a_job(1, run_attempt=2), source=Source.DELIVERY_LOG)
    running = a_job(1, run_attempt=2, status=JobStatus.IN_PROGRESS)
    book.write(lambda transaction: transaction.hear([heard]))
    book.write(lambda transaction: transaction.hear([Event(guid="b", at=NOW + 5, job=running)]))
    book.write(lambda transaction: transaction.merge([running], NOW + 9))
    book.write(lambda transaction: transaction.merge([a_job(2)], NOW + 9))
    assert book.record() == JobRecord(job=running, first_seen_at=NOW, source=Source.DELIVERY_LOG)
    assert (book.record(2).first_seen_at, book.record(2).source) == (NOW + 9, Source.POLL)


def test_a_run_is_told_with_all_its_jobs_and_no_other(book: Book) -> None:
    jobs = [a_job(3, run_id=8), a_job(1, run_id=8), a_job(2, run_id=9)]
    book.write(lambda transaction: transaction.merge(jobs, NOW))
    found = asyncio.run(book.ledger.read(lambda transaction: transaction.named(Reference(None, 8))))
    assert [record.job.id for record in found] == [1, 3]
    assert asyncio.run(book.ledger.read(lambda transaction: transaction.named(Reference(8, None)))) == found
    assert asyncio.run(book.ledger.read(lambda transaction: transaction.named(Reference(4, 8)))) == ()


def test_a_job_is_told_with_the_runners_requested_for_it_and_the_runner_that_it_took(book: Book) -> None:
    """GitHub gives any job to any runner: job 1 may run on the runner that was requested for job 2."""
    taken = a_job(1, status=JobStatus.IN_PROGRESS, runner_name="runpod-2-1")
    book.write(lambda transaction: transaction.merge([taken, a_job(2), a_job(3)], NOW))
    for job_id in (1, 2, 3):
        book.now = NOW + job_id
        book.claim(job_id)
    assert [each.submission.name for each in book.record().submissions] == ["runpod-1-1", "runpod-2-1"]
    held = Transition(submission=book.record(3).submissions[0].submission, to=State.BUSY, held_job_id=1)
    book.write(lambda transaction: transaction.record(held, NOW + 9))
    names = [each.submission.name for each in book.record().submissions]
    assert names == ["runpod-1-1", "runpod-2-1", "runpod-3-1"]


def test_what_runpod_told_of_an_execution_is_kept_although_it_is_not_told_again(book: Book) -> None:
    book.write(lambda transaction: transaction.merge([a_job(1)], NOW))
    row = book.claim()
    first = Execution(delay=3.5, worker_id="w1")
    last = Execution(
        execution=20.0,
        worker_id="w2",
        phases={"job": 12.5},
        runner_version="2.330.0",
        gpu_usage={"name": "L4", "count": 1, "driver": "550", "memory_mb": 24_000, "peak_memory_mb": 500},
    )
    for told in ({row.id: first}, {row.id: last}, {row.id: Execution()}, {"0" * 32: first}):
        book.write(partial(Transaction.keep_executions, executions=told))
    assert book.record().submissions == (
        SubmissionRecord(
            submission=row,
            transitions=(TransitionRecord(start=None, to=State.CLAIMED, at=NOW),),
            execution=replace(last, delay=3.5),
        ),
    )


def test_a_request_that_runpod_reports_is_read_until_its_execution_is_known(book: Book) -> None:
    """A webhook may have ended its submission before RunPod called."""
    open_one, ended, known = (book.claim(job_id) for job_id in (1, 2, 3))
    for row in (ended, known):
        asyncio.run(book.ledger.advance(row, State.RELEASED))
    book.write(lambda t: t.keep_executions({row.id: Execution(execution=1.0) for row in (open_one, known)}))
    ids = [open_one.id, ended.id, known.id, "0" * 32]
    found = asyncio.run(book.ledger.read(lambda transaction: transaction.reported(ids)))
    assert {row.id for row in found} == {open_one.id, ended.id}
    assert asyncio.run(book.ledger.read(lambda transaction: transaction.reported([]))) == ()


def test_the_history_of_an_earlier_ledger_begins_with_the_present_states(database_url: str) -> None:
    upgraded(
        database_url,
        "0004",
        "INSERT INTO meta (born) VALUES (5)",
        "INSERT INTO submissions (id, name, job_id, generation, route, target, endpoint, credentials, state, since, "
        "created_at, lease_until, not_after, reason, detail) VALUES ('s', 'runpod-1-1', 1, 1, 'gpu', 'orgs/acme', "
        "'ep-1', 'jit', 'failed', 7, 5, 6, 9, 'crashed', 'it broke')",
    )
    book = Book(database_url)
    book.write(lambda transaction: transaction.merge([a_job(1)], NOW))
    (record,) = book.record().submissions
    told = TransitionRecord(start=None, to=State.FAILED, at=7.0, reason="crashed", detail="it broke")
    assert record.transitions == (told,)
    assert record.execution == Execution()
    assert book.wrong() == []
    book.ledger.close()


def test_a_state_that_was_written_without_its_history_is_found(book: Book) -> None:
    """The rule that the fault tests and the simulation check can fail."""
    book.claim()
    engine = sa.create_engine(book.url)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE submissions SET state = 'lost'"))
    engine.dispose()
    (line,) = book.wrong()
    assert "is lost, its history is [(None, 'claimed')]" in line

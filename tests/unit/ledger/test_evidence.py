"""What the ledger knows of runners that ended without a job, and of runners that took one."""

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from bridge.core.actions import Claim, Transition
from bridge.core.model import JobStatus
from bridge.core.submissions import IdleRunner, Pool, RunnerUse, State, Submission
from bridge.core.timing import Timing
from bridge.core.worker import Reason
from bridge.ledger import Ledger, Transaction
from bridge.ledger.control import CLOCK_AHEAD
from bridge.ledger.database import connect
from bridge.ledger.rows import row_of_submission
from bridge.ledger.tables import submissions
from tests.support.values import NOW, ORG, a_job, a_route, a_submission

GPU = Pool("gpu", ORG)


@pytest.fixture
def ledger(database_url: str) -> Iterator[Ledger]:
    opened = Ledger.open(database_url)
    yield opened
    opened.close()


def after(ledger: Ledger, *work: Callable[[Transaction], Any]) -> Any:
    """The result of the last of some transactions."""

    async def main() -> Any:
        found = None
        for each in work:
            found = await ledger.transact(each)
        return found

    return asyncio.run(main())


Step = tuple[State, float, dict[str, Any]]


def asked(transaction: Transaction, job_id: int, *steps: Step) -> Submission:
    """A runner that went through some states, each at its time."""
    name = f"runpod-{job_id}-1"
    (row,) = transaction.claim(
        [(Claim(pool=GPU, job_id=job_id, name=name, generation=1, endpoint="ep-1"), a_route())], NOW
    )
    for to, at, values in steps:
        assert transaction.record(Transition(submission=row, to=to, **values), at)
        (row,) = (s for s in transaction.submissions(since=0.0, names=[name]) if s.name == name)
    return row


def idle(transaction: Transaction) -> tuple[IdleRunner, ...]:
    return transaction.idle_runners(NOW - 1000, Timing().min_listening)


@pytest.mark.parametrize(
    ("end", "counts"),
    [
        ((State.NO_JOB, None), True),
        ((State.NO_JOB, Reason.NO_JOB), True),
        ((State.FAILED, Reason.REGISTRATION_LOST), True),
        ((State.LOST, None), True),
        ((State.EXPIRED, None), True),
        ((State.EXPIRED, Reason.EXPIRED), False),  # its worker came too late to listen
        ((State.FAILED, Reason.CRASHED), False),
        ((State.CANCELLED, None), False),
        ((State.FINISHED, Reason.COMPLETED), False),
    ],
)
def test_a_runner_that_listened_is_idle_whatever_the_reason_of_its_end(
    ledger: Ledger, end: tuple[State, Reason | None], counts: bool
) -> None:
    to, reason = end
    steps: tuple[Step, ...] = ((State.STARTED, NOW + 60, {}), (to, NOW + 360, {"reason": reason}))
    found = after(ledger, lambda transaction: asked(transaction, 1, *steps), idle)
    assert found == ((IdleRunner(pool=GPU, began=NOW + 60, ended=NOW + 360),) if counts else ())


def test_a_registration_lost_before_its_runner_listened_is_a_failure(ledger: Ledger) -> None:
    lost = (State.FAILED, NOW + 60, {"reason": Reason.REGISTRATION_LOST})
    work = (lambda transaction: transaction.merge([a_job(1)], NOW), lambda transaction: asked(transaction, 1, lost))
    assert after(ledger, *work, idle) == ()
    assert after(ledger, lambda transaction: transaction.history())[1].attempts == 1


@pytest.mark.parametrize("named", [None, 1])
def test_a_runner_whose_job_github_withdrew_is_idle(ledger: Ledger, named: int | None) -> None:
    """The job was assigned and not picked up within a minute, whether or not GitHub has named it."""
    steps: tuple[Step, ...] = (
        (State.STARTED, NOW + 60, {}),
        (State.BUSY, NOW + 70, {"held_job_id": named}),
        (State.STARTED, NOW + 140, {}),
        (State.NO_JOB, NOW + 500, {}),
    )
    assert len(after(ledger, lambda transaction: asked(transaction, 1, *steps), idle)) == 1


@pytest.mark.parametrize(("queued", "refuted"), [(NOW, True), (NOW + 301, False)])
def test_an_idle_runner_is_refuted_by_a_job_that_was_queued_then_and_ran_later(
    ledger: Ledger, queued: float, refuted: bool
) -> None:
    ended: tuple[Step, ...] = ((State.STARTED, NOW + 60, {}), (State.NO_JOB, NOW + 360, {}))
    took = ((State.BUSY, NOW + 900, {"held_job_id": 2}),)
    found = after(
        ledger,
        lambda transaction: transaction.merge([a_job(1), a_job(2)], queued),
        lambda transaction: asked(transaction, 1, *ended),
        lambda transaction: asked(transaction, 2, *took),
        idle,
    )
    assert [each.refuted for each in found] == [refuted]


def test_a_day_of_idle_runners_beside_a_day_of_jobs_is_read_in_time(ledger: Ledger, database_url: str) -> None:
    """While a pass reads it, nothing else can be written."""

    ids = range(1, 10_001)
    rows = [
        a_submission(n, State.NO_JOB, since=NOW + n)
        if n % 2
        else a_submission(n, State.FINISHED, since=NOW + n, taken_at=NOW + n, held_job_id=n)
        for n in ids
    ]
    engine = connect(database_url)
    with engine.begin() as connection:
        connection.execute(sa.insert(submissions), [row_of_submission(row) for row in rows])
    engine.dispose()
    after(
        ledger, lambda transaction: transaction.merge([a_job(n, status=JobStatus.COMPLETED) for n in ids], NOW + 20_000)
    )
    began = time.monotonic()
    assert len(after(ledger, idle)) == 5000
    assert time.monotonic() - began < 2.0


def test_the_time_at_which_a_runner_took_its_job_is_kept_after_the_job(ledger: Ledger) -> None:
    steps: tuple[Step, ...] = ((State.BUSY, NOW + 70, {"held_job_id": 1}), (State.FINISHED, NOW + 900, {}))
    work = (
        lambda transaction: transaction.merge([a_job(1, run_id=9)], NOW),
        lambda transaction: asked(transaction, 1, *steps),
    )
    assert after(ledger, *work, lambda transaction: transaction.last_taken(NOW)) == {GPU: NOW + 70}
    used = RunnerUse(run_id=9, pool=GPU, began=NOW + 70, ended=NOW + 900)
    assert after(ledger, lambda transaction: transaction.runner_uses([9, 10])) == (used,)


def test_the_use_of_a_busy_runner_has_no_end(ledger: Ledger) -> None:
    work = (
        lambda transaction: transaction.merge([a_job(1, run_id=9)], NOW),
        lambda transaction: asked(transaction, 1, (State.BUSY, NOW + 70, {"held_job_id": 1})),
    )
    assert [use.ended for use in after(ledger, *work, lambda transaction: transaction.runner_uses([9]))] == [None]


def test_a_job_counts_as_queued_since_it_was_first_seen_queued_or_was_retried(ledger: Ledger) -> None:
    waiting, queued = a_job(1, status=JobStatus.WAITING), a_job(1)
    first = after(
        ledger,
        lambda transaction: transaction.merge([waiting, a_job(2)], NOW),
        lambda transaction: transaction.merge([queued, a_job(2)], NOW + 100),
        lambda transaction: transaction.merge([queued, a_job(2)], NOW + 200),
        lambda transaction: transaction.queued_since(),
    )
    assert first == {1: NOW + 100, 2: NOW}
    assert (
        after(
            ledger, lambda transaction: transaction.retry(2, NOW + 300), lambda transaction: transaction.queued_since()
        )[2]
        == NOW + 300
    )


def test_a_retry_by_a_clock_that_is_ahead_does_not_hide_later_evidence(ledger: Ledger) -> None:
    """Otherwise the job would get one idle runner after the other, without a pause."""
    merged = (
        lambda transaction: transaction.merge([a_job(1)], NOW),
        lambda transaction: transaction.retry(1, NOW + 86_400),
    )
    assert NOW <= after(ledger, *merged, lambda transaction: transaction.queued_since())[1] <= NOW + CLOCK_AHEAD


def test_retry_forgets_the_first_claim_of_a_job(ledger: Ledger) -> None:
    after(ledger, lambda transaction: transaction.merge([a_job(1)], NOW), lambda transaction: asked(transaction, 1))
    assert after(ledger, lambda transaction: transaction.history())[1].first_claim == NOW
    assert (
        after(ledger, lambda transaction: transaction.retry(1, NOW + 1), lambda transaction: transaction.history())[
            1
        ].first_claim
        == 0.0
    )

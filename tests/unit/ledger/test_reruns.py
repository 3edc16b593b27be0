"""The ledger keeps what was decided about jobs that may have lost their workers, once for each job."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from bridge.core.actions import Transition
from bridge.core.history import Execution
from bridge.core.lost import LostJob, Rerun, RerunAnswer, RerunState
from bridge.core.model import JobStatus
from bridge.core.submissions import State
from bridge.core.worker import Reason
from bridge.ledger.retention import RERUNS_KEPT
from tests.support.values import NOW, a_job
from tests.unit.ledger.test_history import Book

DAY = 86_400.0


@pytest.fixture
def book(database_url: str) -> Iterator[Book]:
    made = Book(database_url)
    yield made
    made.ledger.close()


def end(book: Book, job_id: int = 1, *, to: State = State.FINISHED, result: str | None = "failure", **job: Any) -> None:
    """Let a job end on the runner that was requested for it."""
    claimed = book.claim(job_id)
    given = {"status": JobStatus.COMPLETED, "conclusion": "failure", "runner_name": claimed.name, "run_attempt": 1}
    book.write(lambda transaction: transaction.merge([a_job(job_id, **{**given, **job})], NOW))
    ended = Transition(submission=claimed, to=to, reason=Reason.COMPLETED, held_job_id=job_id, result=result)
    assert book.write(lambda transaction: transaction.record(ended, NOW))


def lost(book: Book, since: float = NOW - DAY, routes: tuple[str, ...] = ("gpu",)) -> tuple[LostJob, ...]:
    return book.write(lambda transaction: transaction.lost_jobs(routes, since))


def a_rerun(job_id: int = 1, state: RerunState | None = RerunState.ASKED, **given: Any) -> Rerun:
    defaults: dict[str, Any] = {"route": "gpu", "job_id": job_id, "run_attempt": 1, "tries": 1, "why": "lost"}
    return Rerun(**{"job": a_job(job_id), "state": state, **defaults, **given})


def write(book: Book, *decided: Rerun, until: float = NOW + 60) -> None:
    book.write(lambda transaction: transaction.write_reruns(decided, NOW, until))


def test_a_failed_job_may_have_lost_its_worker_until_that_is_decided(book: Book) -> None:
    end(book)
    (found,) = lost(book)
    assert (found.job.id, found.submission.name, found.error) == (1, "runpod-1-1", None)
    for state in (RerunState.ASKED, RerunState.POSTPONED):
        write(book, a_rerun(state=state))
        assert len(lost(book)) == 1, "it is decided again"
    write(book, a_rerun(state=RerunState.SKIPPED))
    assert lost(book) == ()


def test_why_runpod_says_that_the_request_failed_is_read_with_the_job(book: Book) -> None:
    end(book)
    (found,) = lost(book)
    failed = {found.submission.id: Execution(error="worker exited unexpectedly")}
    book.write(lambda transaction: transaction.keep_executions(failed))
    assert lost(book)[0].error == "worker exited unexpectedly"


@pytest.mark.parametrize(
    ("to", "result", "job"),
    [
        (State.FINISHED, "success", {}),
        (State.FINISHED, None, {"conclusion": "success"}),
        (State.FAILED, None, {"conclusion": "cancelled"}),
        (State.FINISHED, None, {"status": JobStatus.IN_PROGRESS, "conclusion": None}),
        (State.NO_JOB, None, {}),
        (State.FINISHED, "failure", {"runner_name": "another"}),
    ],
)
def test_other_jobs_have_not_lost_their_workers(book: Book, to: State, result: str | None, job: dict[str, Any]) -> None:
    end(book, to=to, result=result, **job)
    assert lost(book) == ()


@pytest.mark.parametrize("to", [State.FAILED, State.LOST, State.CANCELLED])
def test_a_submission_that_ended_in_another_way_counts_if_its_job_failed(book: Book, to: State) -> None:
    end(book, to=to, result=None)
    assert len(lost(book)) == 1


def test_only_recent_jobs_of_the_named_routes_are_read(book: Book) -> None:
    end(book)
    assert lost(book, since=NOW) == ()
    assert lost(book, routes=("other",)) == ()
    assert lost(book, routes=()) == ()


def test_what_was_decided_is_found_by_run_and_in_the_jobs_record(book: Book) -> None:
    end(book)
    write(book, a_rerun(), a_rerun(2, None))
    (record,) = book.write(lambda transaction: transaction.reruns_of({1}))
    assert (record.job_id, record.run_id, record.name, record.state) == (1, 1, "job 1", RerunState.ASKED)
    assert (record.run_attempt, record.at, record.until, record.tries) == (1, NOW, NOW + 60, 1)
    assert book.write(lambda transaction: transaction.reruns_of({2})) == ()
    assert book.write(lambda transaction: transaction.reruns_of(set())) == ()
    assert book.record().rerun == record


def test_an_answer_is_written_once_and_only_for_the_call_that_it_answers(book: Book) -> None:
    write(book, a_rerun())
    done = RerunAnswer(state=RerunState.RERUN, why="lost", until=0.0, tries=1)

    def answer(asked: Rerun) -> bool:
        return book.write(lambda transaction: transaction.answer_rerun(asked, done, NOW + 1))

    assert not answer(replace(a_rerun(), tries=2)), "another dispatcher asked later"
    assert answer(a_rerun())
    assert not answer(a_rerun()), "it is final"
    (record,) = book.write(lambda transaction: transaction.reruns_of({1}))
    assert (record.state, record.at) == (RerunState.RERUN, NOW + 1)


def test_re_runs_are_counted_for_as_long_as_github_re_runs_a_run(book: Book) -> None:
    write(book, a_rerun(state=RerunState.RERUN))
    short = 60.0

    def left(later: float) -> int:
        now = NOW + later
        book.write(lambda transaction: transaction.prune(now - short, now))
        return len(book.write(lambda transaction: transaction.reruns_of({1})))

    assert left(RERUNS_KEPT - 1) == 1
    assert left(RERUNS_KEPT + 1) == 0

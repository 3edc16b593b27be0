"""The trace of a job is sent once, whatever the collector answers and however many copies of the bridge there are."""

import asyncio
from collections.abc import Iterator, Sequence

import pytest

from bridge.controller.report import Decision, Report
from bridge.core.actions import Claim, Plan, Transition
from bridge.core.history import Execution
from bridge.core.model import JobStatus
from bridge.core.spans import SETTLED, Span
from bridge.core.submissions import Pool, State
from bridge.errors import Rejected, Unavailable
from bridge.ledger import Ledger
from bridge.service import job_traces
from bridge.service.job_traces import JobTraces
from bridge.service.sender import SenderTiming
from bridge.telemetry import configure_logging
from tests.support.values import NOW, ORG, a_job, a_route


class Collector:
    """Keeps what it accepts."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.requests = 0
        self.error: Exception | None = None

    async def send(self, spans: Sequence[Span]) -> None:
        self.requests += 1
        await asyncio.sleep(0)
        if self.error:
            raise self.error
        self.spans += spans

    def jobs(self) -> list[str]:
        """The names of the jobs whose traces it has, once for each time that they came."""
        return [span.name for span in self.spans if span.name.startswith("job ")]


class Setting:
    """A ledger, a collector, and two copies of the bridge."""

    def __init__(self, url: str) -> None:
        self.now = NOW
        self.collector = Collector()
        self.ledgers = [Ledger.open(url, lambda: self.now) for _ in range(2)]
        timing = SenderTiming(clock=lambda: self.now)
        self.copies = [JobTraces(each, self.collector, with_jobs=True, timing=timing) for each in self.ledgers]

    def finish(self, job_id: int, *, told: bool = True, name: str | None = None) -> None:
        """A job runs to its end on a runner of the bridge."""

        async def run() -> None:
            ledger = self.ledgers[0]
            claim = Claim(
                pool=Pool("gpu", ORG), job_id=job_id, name=f"runpod-{job_id}-1", generation=1, endpoint="ep-1"
            )
            (row,) = await ledger.transact(lambda transaction: transaction.claim([(claim, a_route())], NOW - 60))
            await ledger.advance(row, State.SUBMITTED, request_id="r", since=NOW - 50)
            job = a_job(
                job_id,
                name=name or f"job {job_id}",
                status=JobStatus.COMPLETED,
                conclusion="success",
                created_at=NOW - 70,
                started_at=NOW - 20,
                completed_at=NOW,
                runner_name=row.name,
            )
            await ledger.transact(lambda transaction: transaction.merge([job], NOW))
            (sent,) = [
                each
                for each in await ledger.read(lambda transaction: transaction.open_submissions())
                if each.id == row.id
            ]
            done = Transition(submission=sent, to=State.FINISHED, held_job_id=job_id)
            await ledger.transact(lambda transaction: transaction.record(done, NOW))
            if told:
                execution = {row.id: Execution(delay=10.0, execution=40.0)}
                await ledger.transact(lambda transaction: transaction.keep_executions(execution))

        asyncio.run(run())

    def send(self, copies: Sequence[int] = (0,)) -> None:
        async def run() -> None:
            await asyncio.gather(*(self.copies[each].send_due() for each in copies))

        asyncio.run(run())


@pytest.fixture
def setting(database_url: str) -> Iterator[Setting]:
    made = Setting(database_url)
    yield made
    for each in made.ledgers:
        each.close()


def test_a_trace_is_sent_once_also_after_a_restart_and_by_several_copies(setting: Setting) -> None:
    setting.finish(1)
    setting.finish(2)
    setting.send([0, 1, 0, 1])
    setting.send([1])
    assert sorted(setting.collector.jobs()) == ["job 1", "job 2"]
    assert setting.collector.requests <= 2


def test_a_trace_that_was_not_accepted_is_sent_again_by_any_copy(setting: Setting) -> None:
    setting.finish(1)
    setting.collector.error = Unavailable("traces: gone")
    with pytest.raises(Unavailable):
        setting.send()
    setting.collector.error = None
    setting.send([1])
    setting.send([0])
    assert setting.collector.jobs() == ["job 1"]


def test_a_trace_that_the_collector_cannot_read_is_not_sent_again_and_keeps_no_other_one(setting: Setting) -> None:
    setting.finish(1)
    setting.collector.error = Rejected("traces: malformed", status=400)
    with pytest.raises(Rejected):
        setting.send()
    setting.collector.error = None
    setting.finish(2)
    setting.send()
    assert setting.collector.jobs() == ["job 2"]


def test_a_trace_that_is_refused_for_an_hour_is_given_up(setting: Setting) -> None:
    setting.finish(1)
    setting.now += SenderTiming.oldest
    setting.send()
    assert setting.collector.requests == 0


def test_a_trace_waits_for_runpods_record_of_the_request(setting: Setting) -> None:
    setting.finish(1, told=False)
    setting.send()
    assert setting.collector.jobs() == []
    setting.now += SETTLED
    setting.send()
    assert setting.collector.jobs() == ["job 1"]


def test_one_request_has_the_traces_of_a_limited_number_of_jobs(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_traces, "MOST_JOBS", 2)
    for job_id in (1, 2, 3):
        setting.finish(job_id)
    counts = []
    for _ in range(3):
        setting.send()
        counts.append(len(setting.collector.jobs()))
    assert counts == [2, 3, 3]


def test_a_secret_in_the_name_of_a_job_is_masked(setting: Setting) -> None:
    configure_logging(["rp_secret_key"])
    setting.finish(1, name="job rp_secret_key ghp_abcdefghij")
    setting.send()
    assert setting.collector.jobs() == ["job *** ***"]
    assert "rp_secret_key" not in str(setting.collector.spans)
    configure_logging([])


def test_a_pass_alone_sends_nothing(setting: Setting) -> None:
    setting.copies[0].passed(Report(decision=Decision(plan=Plan()), submitted=(), problems=(), seconds=0))
    assert setting.collector.requests == 0

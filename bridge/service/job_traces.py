"""Sends the trace of each job that has ended, once."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from bridge.controller.ports import Ledger, Transaction
from bridge.controller.report import Report
from bridge.core.history import JobRecord
from bridge.core.spans import TRACE, Span, is_ready, spans
from bridge.errors import Rejected
from bridge.service.sender import DEFAULT_TIMING, SenderTiming
from bridge.telemetry import mask

MOST_JOBS = 100
"""Jobs whose traces are sent in one request."""

MOST_READ = 500
"""Jobs that are read in one round. Some may have to wait."""


class SpanClient(Protocol):
    """The collector's client. A call may raise a BridgeError."""

    async def send(self, spans: Sequence[Span]) -> None: ...


class JobTraces:
    """Sends the traces of jobs that have ended.

    Args:
        ledger: knows the jobs, and whose traces were sent.
        client: of the collector.
        with_jobs: also send the spans of jobs and of their time in the queue; see `bridge.core.spans`.
        timing: the clock and the waiting times.
    """

    name = "traces"

    def __init__(
        self, ledger: Ledger, client: SpanClient, *, with_jobs: bool, timing: SenderTiming = DEFAULT_TIMING
    ) -> None:
        self._ledger = ledger
        self._client = client
        self._with_jobs = with_jobs
        self._timing = timing

    def passed(self, report: Report) -> None:
        """A trace is made of the ledger alone."""

    async def send_due(self) -> None:
        """Send the traces that are due, in one request."""
        now = self._timing.clock()
        records = await self._ledger.read(
            lambda transaction: transaction.untraced(now - self._timing.oldest, MOST_READ)
        )
        due = [record for record in records if is_ready(record, now)][:MOST_JOBS]
        ready = {str(record.job.id): record for record in due}
        if not ready:
            return
        mine = await self._ledger.transact(lambda transaction: transaction.note_sent(TRACE, ready.keys(), now))
        if mine:
            await self._send([ready[key] for key in sorted(mine)], now)

    async def _send(self, records: Sequence[JobRecord], now: float) -> None:
        made = await asyncio.to_thread(self._made, records)  # masking takes time, and deliveries must not wait
        keys = [str(record.job.id) for record in records]

        def forget(transaction: Transaction) -> None:
            transaction.forget_sent(TRACE, keys, now)

        try:
            await self._client.send(made)
        except Rejected:
            raise  # https://opentelemetry.io/docs/specs/otlp/#failures-1: they must not be sent again
        except Exception:
            await self._ledger.transact(forget)
            raise

    def _made(self, records: Sequence[JobRecord]) -> list[Span]:
        return [_masked(span) for record in records for span in spans(record, with_job=self._with_jobs)]


def _masked(span: Span) -> Span:
    return replace(span, name=mask(span.name), attributes=mask(dict(span.attributes)), error=mask(span.error))

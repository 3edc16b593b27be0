"""Sends spans to a collector by OTLP over HTTP, with OpenTelemetry's own exporter and variables.

https://opentelemetry.io/docs/specs/otlp/#otlphttp
"""

import asyncio
import concurrent.futures
import logging
import threading
from collections.abc import Callable, Sequence

import requests
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from bridge import __version__
from bridge.core.spans import Span
from bridge.errors import Rejected, Unavailable

GRACE = 5.0
"""s that an export may take longer than its timeout, which is checked between the parts of an answer only."""

SERVICE = "runpod-actions-bridge"

LATEST = 2**63 - 1
"""ns since 1970, in the year 2262: later times are not sent."""

_MALFORMED = frozenset({400, 413, 422})
"""Statuses after which the same spans must not be sent again."""


class Traces:
    """Sends the spans of jobs.

    Args:
        host: of the collector, for error lines.
        timeout: s for one export with its retries.
    """

    def __init__(self, host: str, timeout: float) -> None:
        self._host = host
        self._timeout = timeout
        self._session = _Session()
        self._exporter = OTLPSpanExporter(session=self._session, timeout=timeout)
        self._made = _Made()
        self._running: concurrent.futures.Future[bool] | None = None
        # The exporter logs each try. The caller says once that traces cannot be sent.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)

    async def send(self, spans: Sequence[Span]) -> None:
        """Send spans, in one request.

        Raises:
            Rejected: the collector can never accept them.
            Unavailable: the collector did not accept them. It may have them anyway if its answer was lost.
        """
        if self._running and not self._running.done():
            raise Unavailable(f"traces: {self._host} still has not answered the last request")
        self._running = _in_thread(lambda: self._exported(spans))
        try:
            accepted = await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(self._running)), self._timeout + GRACE)
        except TimeoutError:
            raise Unavailable(f"traces: {self._host} did not answer within {self._timeout + GRACE:.0f} s") from None
        if not accepted and self._session.status in _MALFORMED:
            line = f"traces: {self._host} {self._session.said}: it refuses the spans of some jobs, which are not sent"
            raise Rejected(line, status=self._session.status)
        if not accepted:
            raise Unavailable(f"traces: {self._host} {self._session.said}; check OTEL_EXPORTER_OTLP_ENDPOINT")

    def close(self) -> None:
        """Give up what is being sent, and close the connections."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call] # it has no annotations

    def _exported(self, spans: Sequence[Span]) -> bool:
        self._session.said, self._session.status = "did not answer", 0
        return self._exporter.export(self._made.of(spans)) is SpanExportResult.SUCCESS


class _Session(requests.Session):
    """Notes how the collector answered, and reads nothing of an answer but its status and headers."""

    said = ""
    status = 0

    def request(self, method: str, url: str, **given: object) -> requests.Response:  # type: ignore[override] # the exporter names all others
        try:
            response = super().request(method, url, **{**given, "stream": True})  # type: ignore[arg-type]
        except requests.RequestException as error:
            self.said = f"could not be reached: {type(error).__name__}"
            raise
        response.close()
        self.status = response.status_code
        self.said = f"answered {response.status_code}{_refusal(response)}"
        if _refusal(response):
            raise requests.RequestException(self.said)
        return response


def _refusal(response: requests.Response) -> str:
    """What is wrong with an answer that the exporter would take for success; empty if nothing is."""
    if 300 <= response.status_code < 400:
        return " with a redirect"
    kind = response.headers.get("content-type", "").partition(";")[0].strip()
    return " with a web page" if response.ok and kind == "text/html" else ""


class _Made:
    """Makes the SDK's spans, with ids that are given."""

    def __init__(self) -> None:
        self._ids = _GivenIds()
        self._ended = InMemorySpanExporter()
        own = Resource.create({SERVICE_NAME: SERVICE, SERVICE_VERSION: __version__})
        provider = TracerProvider(
            sampler=ALWAYS_ON,
            resource=own.merge(OTELResourceDetector().detect()),  # of OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES
            id_generator=self._ids,
            shutdown_on_exit=False,
        )
        provider.add_span_processor(SimpleSpanProcessor(self._ended))
        self._tracer = provider.get_tracer("bridge", __version__)

    def of(self, spans: Sequence[Span]) -> Sequence[ReadableSpan]:
        """The SDK's spans, in the same order."""
        for each in spans:
            self._make(each)
        made = self._ended.get_finished_spans()
        self._ended.clear()
        return made

    def _make(self, span: Span) -> None:
        self._ids.span_id = int(span.span_id, 16)
        made = self._tracer.start_span(
            span.name,
            context=_within(span),
            attributes=span.attributes,
            start_time=_nanoseconds(span.start),
        )
        if span.ok is not None:
            made.set_status(trace.StatusCode.OK if span.ok else trace.StatusCode.ERROR, span.error)
        made.end(_nanoseconds(span.end))


class _GivenIds(IdGenerator):
    """Gives the id that is set. A trace id is never asked for: each span has a parent."""

    span_id = trace.INVALID_SPAN_ID

    def generate_span_id(self) -> int:
        return self.span_id

    def generate_trace_id(self) -> int:
        return trace.INVALID_TRACE_ID


def _within(span: Span) -> Context:
    parent = trace.SpanContext(
        int(span.trace_id, 16), int(span.parent_id, 16), is_remote=True, trace_flags=trace.TraceFlags(1)
    )
    return trace.set_span_in_context(trace.NonRecordingSpan(parent))


def _nanoseconds(seconds: float) -> int:
    """Exact to a microsecond; a float of Unix seconds has no more digits. OTLP has no room for an impossible time."""
    return min(max(0, round(seconds * 1_000_000) * 1000), LATEST)


def _in_thread(work: Callable[[], bool]) -> concurrent.futures.Future[bool]:
    """Do `work` in a thread that does not keep the process from exiting, as those of asyncio do."""
    done: concurrent.futures.Future[bool] = concurrent.futures.Future()

    def run() -> None:
        try:
            done.set_result(work())
        except Exception as error:
            done.set_exception(error)

    threading.Thread(target=run, name="traces", daemon=True).start()
    return done

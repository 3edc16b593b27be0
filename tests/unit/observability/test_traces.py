"""Spans reach a collector by OTLP over HTTP, and each way to fail is one line."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest

from bridge import __version__
from bridge.core.spans import Span
from bridge.errors import Rejected, Unavailable
from bridge.observability import traces
from bridge.observability.traces import Traces
from tests.support.collector import ERROR, OK, Behaviour, Receiver, attributes, receiving
from tests.support.service import free_port

NOW = 1_800_000_000.25


def a_span(**given: Any) -> Span:
    defaults: dict[str, Any] = {
        "name": "plan",
        "trace_id": "0" * 31 + "a",
        "span_id": "0" * 15 + "b",
        "parent_id": "0" * 15 + "c",
        "start": NOW,
        "end": NOW + 1.5,
    }
    return Span(**defaults | given)


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    with receiving() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        yield receiver


def send(*spans: Span, timeout: float = 5.0) -> None:
    client = Traces("collector:4318", timeout)
    try:
        asyncio.run(client.send(spans))
    finally:
        client.close()


def failure(timeout: float = 5.0) -> str:
    with pytest.raises(Unavailable) as caught:
        send(a_span(), timeout=timeout)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_spans_arrive_with_their_ids_times_attributes_and_status(collector: Receiver) -> None:
    send(
        a_span(attributes={"vcs.owner.name": "acme", "bridge.generation": 2}),
        a_span(span_id="f" * 16, name="run", ok=True),
        a_span(span_id="e" * 16, name="<b>\nλ", ok=False, error="out of memory"),
    )
    first, run, failed = collector.spans()
    assert (first.trace_id.hex(), first.span_id.hex()) == ("0" * 31 + "a", "0" * 15 + "b")
    assert first.parent_span_id.hex() == "0" * 15 + "c"
    assert (first.start_time_unix_nano, first.end_time_unix_nano) == (
        1_800_000_000_250_000_000,
        1_800_000_001_750_000_000,
    )
    assert attributes(first) == {"vcs.owner.name": "acme", "bridge.generation": 2}
    assert (run.status.code, run.status.message) == (OK, "")
    assert (failed.name, failed.status.code, failed.status.message) == ("<b>\nλ", ERROR, "out of memory")
    assert [path for path, _, _ in collector.requests] == ["/v1/traces"]
    resource = collector.resource()
    assert (resource["service.name"], resource["service.version"]) == ("runpod-actions-bridge", __version__)


@pytest.mark.parametrize("impossible", [-62_135_596_800.0, 1e12])
def test_an_impossible_time_of_one_job_keeps_no_other_job_from_the_collector(
    collector: Receiver, impossible: float
) -> None:
    """`0001-01-01T00:00:00Z` is how a program written in Go shows a time that it does not know."""
    send(a_span(start=impossible, end=impossible), a_span(name="run"))
    assert [span.name for span in collector.spans()] == ["plan", "run"]


def test_opentelemetrys_own_variables_apply(collector: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20key")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "our-runners")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=prod")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")  # the bridge sends each job that it served
    send(a_span())
    ((_, headers, _),) = collector.requests
    assert (headers["authorization"], headers["content-encoding"]) == ("Bearer key", "gzip")
    resource = collector.resource()
    assert (resource["service.name"], resource["deployment.environment.name"]) == ("our-runners", "prod")
    assert len(collector.spans()) == 1


def test_a_second_request_has_only_its_own_spans(collector: Receiver) -> None:
    client = Traces("collector:4318", 5)
    for name in ("one", "two"):
        asyncio.run(client.send([a_span(name=name)]))
    client.close()
    assert [[s.name for s in each.resource_spans[0].scope_spans[0].spans] for each in collector.exports()] == [
        ["one"],
        ["two"],
    ]


REFUSALS = {
    "refused": (Behaviour(status=401), "answered 401"),
    "failed": (Behaviour(status=500), "answered 500"),
    "a web page": (
        Behaviour(kind="text/html; charset=utf-8", body=b"<html>log in</html>"),
        "answered 200 with a web page",
    ),
    "a redirect": (Behaviour(status=302, headers={"location": "/login"}), "answered 302 with a redirect"),
}


@pytest.mark.parametrize(("how", "said"), REFUSALS.values(), ids=REFUSALS)
def test_an_answer_that_is_no_success_is_one_line(collector: Receiver, how: Behaviour, said: str) -> None:
    collector.behaviour = how
    assert failure() == f"traces: collector:4318 {said}; check OTEL_EXPORTER_OTLP_ENDPOINT"
    assert len(collector.requests) == 1


@pytest.mark.parametrize("status", [400, 413])
def test_spans_that_the_collector_cannot_read_are_refused_for_good(collector: Receiver, status: int) -> None:
    collector.behaviour = Behaviour(status=status)
    with pytest.raises(Rejected, match=f"answered {status}: it refuses the spans of some jobs"):
        send(a_span())
    assert len(collector.requests) == 1


def test_an_endless_answer_does_not_keep_the_bridge(collector: Receiver) -> None:
    collector.behaviour = Behaviour(endless=True)
    began = time.monotonic()
    send(a_span())
    assert time.monotonic() - began < 4


def test_a_collector_that_is_overloaded_is_tried_again_within_the_timeout(collector: Receiver) -> None:
    collector.behaviour = Behaviour(status=503, headers={"retry-after": "0.1"})
    said = failure(timeout=0.5)
    assert said.startswith("traces: collector:4318 answered 503")
    assert 2 <= len(collector.requests) <= 6


def test_a_collector_that_does_not_answer_is_given_up_at_the_timeout(collector: Receiver) -> None:
    collector.behaviour = Behaviour(hangs=True)
    began = time.monotonic()
    assert "could not be reached: ReadTimeout" in failure(timeout=0.3)
    assert time.monotonic() - began < 4


def test_a_collector_that_is_gone_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    assert "could not be reached: ConnectionError" in failure(timeout=0.3)


def test_an_export_that_ignores_its_timeout_is_left_alone_and_not_started_twice(
    collector: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    collector.behaviour = Behaviour(hangs=True)
    monkeypatch.setattr(traces, "GRACE", -29.9)
    client = Traces("collector:4318", 30)
    with pytest.raises(Unavailable, match="did not answer within 0 s"):
        asyncio.run(client.send([a_span()]))
    with pytest.raises(Unavailable, match="still has not answered"):
        asyncio.run(client.send([a_span()]))
    assert len(collector.requests) == 1
    client.close()

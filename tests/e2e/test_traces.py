"""The service sends one trace for each job to a collector, and an outage of the collector changes nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.core.trace_ids import job_span_id, queue_span_id, run_span_id, trace_id
from bridge.emulator.github.state import Job
from tests.support.background import throughout, until
from tests.support.collector import OK, Behaviour, Receiver, attributes, receiving
from tests.support.emulators import Emulators, assert_no_secret, real_workers
from tests.support.github import a_run
from tests.support.runners import a_job_of_steps
from tests.support.service import running_service

STAGES = ["plan", "submit", "RunPod queue", "worker start", "listen"]
OF_ONE_JOB = sorted(["build", "queue-build", *STAGES, "run"])


@pytest.fixture
def collector() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


def push(made: Emulators, step: str) -> Job:
    return made.github.state.add_run("acme/web", a_run(a_job_of_steps(step))).jobs["build"]


def test_each_job_becomes_one_trace_from_the_queue_to_its_end(tmp_path: Path, collector: Receiver) -> None:
    with real_workers(tmp_path) as made:
        made.variables |= {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_EXPORTER_OTLP_HEADERS": "x-key=a%20secret%20key",
        }
        with running_service(made) as service:
            jobs = [push(made, "sleep 1") for _ in range(2)]
            until(lambda: len(collector.spans()) >= 16)
            throughout(lambda: len(collector.spans()) == 16, 6)
            log = service.stop()
        with running_service(made):
            throughout(lambda: len(collector.spans()) == 16, 6)
    assert "a secret key" not in log
    assert_no_secret(made, log + str(collector.requests))
    for job in jobs:
        check(collector, job)


def check(collector: Receiver, job: Job) -> None:
    """Check the spans of a job."""
    trace = trace_id(job.run_id, 1)
    found = {span.name: span for span in collector.spans() if span.trace_id.hex() == trace}
    assert sorted(found) == OF_ONE_JOB
    ids = {name: span.span_id.hex() for name, span in found.items()}
    parents = {name: span.parent_span_id.hex() for name, span in found.items()}
    assert (ids["build"], ids["queue-build"]) == (job_span_id(job.id), queue_span_id(job.id))
    of_job = dict.fromkeys(("queue-build", "run"), ids["build"])
    assert parents == {"build": run_span_id(job.run_id, 1), **of_job, **dict.fromkeys(STAGES, ids["queue-build"])}
    ends = [found[name].end_time_unix_nano for name in STAGES]
    assert ends == sorted(ends)
    assert found["build"].status.code == OK
    assert attributes(found["build"])["cicd.pipeline.task.run.id"] == str(job.id)
    assert attributes(found["run"])["cicd.worker.name"] == f"runpod-{job.id}-1"


def test_a_collector_that_hangs_delays_no_job_and_gets_the_traces_later(tmp_path: Path, collector: Receiver) -> None:
    collector.behaviour = Behaviour(hangs=True)
    with real_workers(tmp_path) as made:
        made.variables |= {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_EXPORTER_OTLP_TIMEOUT": "2"}
        with running_service(made) as service:
            first = push(made, "true")
            until(lambda: first.status == "completed" and collector.requests)
            second = push(made, "true")
            until(lambda: second.status == "completed")
            collector.behaviour = Behaviour()
            until(lambda: len(collector.spans()) == 16)
            log = service.stop()
    assert log.count("traces: 127.0.0.1") == 1, log


def test_one_pass_after_another_sends_each_trace_once(tmp_path: Path, collector: Receiver) -> None:
    with real_workers(tmp_path) as made:
        made.variables |= {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "BRIDGE_TRACE_JOBS": "false"}
        job = push(made, "true")
        made.dispatch()
        until(lambda: job.status == "completed" and not made.runpod.state.workers)
        for _ in range(3):
            made.dispatch()
        assert sorted(span.name for span in collector.spans()) == sorted([*STAGES, "run"])

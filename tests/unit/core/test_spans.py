"""The trace of a job: which spans it has, under which parents, and with which times."""

from itertools import pairwise
from typing import Any

import pytest
from opentelemetry.semconv._incubating.attributes import cicd_attributes, vcs_attributes
from opentelemetry.semconv.attributes import error_attributes

from bridge.core.history import Execution, JobRecord, SubmissionRecord, TransitionRecord
from bridge.core.model import JobStatus
from bridge.core.spans import PATIENCE, SETTLED, Span, is_ready, spans
from bridge.core.submissions import State
from bridge.core.trace_ids import job_span_id, queue_span_id, run_span_id, stage_span_id, trace_id
from bridge.core.worker import Reason
from tests.support.values import NOW, a_job, a_submission

STAGES = ["plan", "submit", "RunPod queue", "worker start", "listen"]
PHASES = {"configure": 1.0, "connect": 2.0, "listen": 4.0, "job": 20.0, "cleanup": 1.0}
RAN = Execution(delay=10.0, execution=30.0, worker_id="w-1", gpu_type="NVIDIA L4", data_center="EU-1", phases=PHASES)


def steps(*states: State) -> tuple[TransitionRecord, ...]:
    """The transitions to these states, one second apart; claimed one second after the job was seen."""
    found = [None, *states]
    return tuple(
        TransitionRecord(start=start, to=to, at=NOW + 2 + number)
        for number, (start, to) in enumerate(pairwise(found))
        if to
    )


def a_runner(*states: State, execution: Execution | None = None, **given: Any) -> SubmissionRecord:
    made = steps(*states)
    submission = a_submission(state=states[-1], **{"since": made[-1].at, "created_at": NOW + 2, **given})
    return SubmissionRecord(submission=submission, transitions=made, execution=execution or Execution())


SENT = (State.CLAIMED, State.MINTED, State.SUBMITTING, State.SUBMITTED)
"""RunPod accepted the request at NOW + 5."""


def a_record(*runners: SubmissionRecord, **job: Any) -> JobRecord:
    defaults: dict[str, Any] = {
        "run_id": 77,
        "run_attempt": 2,
        "workflow_name": "CI",
        "status": JobStatus.COMPLETED,
        "conclusion": "success",
        "created_at": NOW,
        "started_at": NOW + 22,
        "completed_at": NOW + 42,
        "runner_name": "runpod-1-1",
        "head_branch": "main",
        "html_url": "https://github.com/acme/web/actions/runs/77/job/1",
    }
    return JobRecord(job=a_job(1, **defaults | job), first_seen_at=NOW + 1, submissions=runners)


def served(**given: Any) -> SubmissionRecord:
    return a_runner(*SENT, State.STARTED, State.BUSY, State.FINISHED, execution=RAN, taken_at=NOW + 23, **given)


def named(found: tuple[Span, ...]) -> dict[str, Span]:
    assert len({span.span_id for span in found}) == len(found)
    assert all(span.end >= span.start for span in found)
    return {span.name: span for span in found}


def test_a_job_has_one_trace_from_its_creation_to_its_end() -> None:
    found = named(spans(a_record(served()), with_job=True))
    assert list(found) == ["job 1", "queue-job 1", *STAGES, "run"]
    assert {span.trace_id for span in found.values()} == {trace_id(77, 2)}
    assert found["job 1"].span_id == job_span_id(1)
    assert found["job 1"].parent_id == run_span_id(77, 2)
    assert found["queue-job 1"].span_id == queue_span_id(1)
    assert {found[name].parent_id for name in ("queue-job 1", "run")} == {job_span_id(1)}
    assert {found[name].parent_id for name in STAGES} == {queue_span_id(1)}
    times = {name: (span.start - NOW, span.end - NOW) for name, span in found.items()}
    assert times == {
        "job 1": (0, 42),
        "queue-job 1": (0, 22),
        "plan": (1, 2),
        "submit": (2, 5),
        "RunPod queue": (5, 15),
        "worker start": (15, 18),
        "listen": (18, 23),  # GitHub's time has no fractions: it may be one second later
        "run": (22, 42),
    }


def test_the_job_and_its_queue_are_left_to_the_collector_if_it_sends_them() -> None:
    found = named(spans(a_record(served()), with_job=False))
    assert list(found) == [*STAGES, "run"]
    assert found["plan"].parent_id == queue_span_id(1)


def test_the_attributes_are_those_of_the_semantic_conventions() -> None:
    found = named(spans(a_record(served()), with_job=True))
    known = {
        value
        for module in (cicd_attributes, vcs_attributes, error_attributes)
        for name, value in vars(module).items()
        if name.isupper()
    }
    used = {key for span in found.values() for key in span.attributes if not key.startswith(("bridge.", "runpod."))}
    assert used <= known
    assert found["job 1"].attributes == {
        "cicd.pipeline.name": "CI",
        "cicd.pipeline.run.id": "77",
        "cicd.pipeline.run.url.full": "https://github.com/acme/web/actions/runs/77",
        "cicd.pipeline.task.name": "job 1",
        "cicd.pipeline.task.run.id": "1",
        "cicd.pipeline.task.run.result": "success",
        "cicd.pipeline.task.run.url.full": "https://github.com/acme/web/actions/runs/77/job/1",
        "vcs.owner.name": "acme",
        "vcs.provider.name": "github",
        "vcs.ref.head.name": "main",
        "vcs.repository.name": "web",
        "vcs.repository.url.full": "https://github.com/acme/web",
    }
    assert found["run"].attributes == {
        "bridge.generation": 1,
        "bridge.route": "gpu",
        "bridge.submission.id": "s1-1",
        "bridge.submission.state": "finished",
        "cicd.worker.id": "w-1",
        "cicd.worker.name": "runpod-1-1",
        "runpod.data_center": "EU-1",
        "runpod.endpoint.id": "ep-1",
        "runpod.gpu.type": "NVIDIA L4",
        "runpod.request.id": "r1",
    }


@pytest.mark.parametrize(
    ("conclusion", "result", "ok"),
    [
        ("success", "success", True),
        ("failure", "failure", False),
        ("cancelled", "cancellation", None),
        ("skipped", "skip", None),
        ("timed_out", "timeout", None),
        ("neutral", "neutral", None),
    ],
)
def test_a_jobs_result_has_the_conventions_name(conclusion: str, result: str, ok: bool | None) -> None:
    found = named(spans(a_record(served(), conclusion=conclusion), with_job=True))
    assert found["job 1"].attributes["cicd.pipeline.task.run.result"] == result
    assert (found["job 1"].ok, found["run"].ok) == (ok, ok)
    assert found["queue-job 1"].ok is None


def test_a_job_whose_worker_was_killed_is_an_error() -> None:
    killed = Execution(delay=10.0, error="worker exited\nwith 137")
    record = a_record(a_runner(*SENT, State.BUSY, State.FAILED, execution=killed, taken_at=NOW + 23))
    found = named(
        spans(JobRecord(job=a_record(conclusion="failure").job, submissions=record.submissions), with_job=True)
    )
    assert found["job 1"].error == "worker exited with 137"
    assert found["job 1"].attributes["cicd.pipeline.task.run.result"] == "error"
    assert found["run"].attributes["error.type"] == "error"
    assert found["listen"].error is None


def test_a_runner_that_failed_before_it_had_the_job_is_followed_by_the_next_one() -> None:
    failed = a_runner(*SENT, State.FAILED, reason=Reason.CRASHED, detail="out of\nmemory", since=NOW + 8)
    second = a_runner(*SENT, State.BUSY, State.FINISHED, id="s2", name="runpod-1-2", generation=2, taken_at=NOW + 22)
    found = spans(a_record(failed, second, runner_name="runpod-1-2"), with_job=False)
    stages = [(span.name, span.attributes["bridge.generation"]) for span in found]
    first = [("plan", 1), ("submit", 1), ("RunPod queue", 1)]
    assert stages == [*first, ("plan", 2), ("submit", 2), ("RunPod queue", 2), ("run", 2)]
    last = found[2]
    assert (last.ok, last.error, last.attributes["error.type"]) == (False, "out of memory", "crashed")
    assert {span.error for span in found if span is not last} == {None}
    assert found[3].start == NOW + 8
    assert len({span.span_id for span in found}) == len(found)


def test_a_runner_that_another_job_took_shows_how_it_came_but_no_run() -> None:
    own = a_runner(*SENT, State.STARTED, State.BUSY, State.FINISHED, held_job_id=9, taken_at=NOW + 20)
    other = a_runner(*SENT, State.BUSY, State.FINISHED, id="s9", job_id=9, name="runpod-9-1", taken_at=NOW + 22)
    found = named(spans(a_record(own, other, runner_name="runpod-9-1"), with_job=False))
    assert list(found) == ["plan", "submit", "RunPod queue", "listen", "run"]
    assert found["listen"].attributes["cicd.worker.name"] == "runpod-1-1"
    assert found["run"].attributes["cicd.worker.name"] == "runpod-9-1"


def test_a_job_that_was_cancelled_while_it_waited_has_no_run() -> None:
    withdrawn = a_runner(*SENT, State.WITHDRAWN, State.CANCELLED)
    record = a_record(withdrawn, conclusion="cancelled", runner_name=None, started_at=NOW + 1)
    found = named(spans(record, with_job=True))
    assert list(found) == ["job 1", "queue-job 1", "plan", "submit", "RunPod queue"]
    assert found["queue-job 1"].end == NOW + 42
    assert found["RunPod queue"].end == withdrawn.submission.since


@pytest.mark.parametrize("seconds", [1e9, 0.0])
def test_impossible_times_of_a_worker_make_no_span_that_ends_before_it_starts(seconds: float) -> None:
    told = Execution(delay=seconds, phases={"configure": seconds, "connect": seconds})
    record = a_record(a_runner(*SENT, State.BUSY, State.FINISHED, execution=told, taken_at=NOW + 22))
    found = named(spans(record, with_job=True))
    assert max(found[name].end for name in STAGES if name in found) <= NOW + 23


def test_a_clock_that_goes_back_makes_no_span_that_ends_before_it_starts() -> None:
    record = a_record(served(), started_at=NOW - 5, completed_at=NOW - 9)
    assert named(spans(record, with_job=True))["job 1"].end == NOW


def test_a_trace_waits_until_no_runner_of_the_job_is_open_but_not_for_ever() -> None:
    assert is_ready(a_record(served()), NOW + 42)
    waiting = a_record(a_runner(*SENT))
    assert not is_ready(waiting, NOW + 42)
    assert is_ready(waiting, NOW + 42 + PATIENCE)
    assert named(spans(waiting, with_job=False))["RunPod queue"].end >= NOW + 5


def test_a_trace_waits_for_runpods_record_but_not_for_long() -> None:
    untold = a_record(a_runner(*SENT, State.BUSY, State.FINISHED))
    assert not is_ready(untold, NOW + 42)
    assert is_ready(untold, NOW + 42 + SETTLED)
    assert is_ready(a_record(served(), a_runner(State.CLAIMED, State.RELEASED, request_id=None)), NOW + 42)


def test_a_job_that_has_not_ended_or_had_no_runner_has_no_trace() -> None:
    assert not is_ready(a_record(served(), completed_at=None), NOW + 9999)
    assert not is_ready(a_record(), NOW + 9999)


def test_a_job_that_failed_by_itself_is_an_error_of_the_job_and_of_its_run() -> None:
    found = named(spans(a_record(served(), conclusion="failure"), with_job=True))
    assert found["job 1"].error == found["run"].error == "failure"
    assert found["run"].span_id == stage_span_id("s1-1", "run")
    assert {(found[name].ok, found[name].error) for name in STAGES} == {(None, None)}
    assert not any("error.type" in found[name].attributes for name in STAGES)
    assert found["queue-job 1"].attributes == found["job 1"].attributes


def test_an_address_that_is_not_that_of_a_job_tells_nothing_of_its_run() -> None:
    found = named(spans(a_record(served(), html_url="https://github.com/acme/web"), with_job=True))
    assert not {"cicd.pipeline.run.url.full", "vcs.repository.url.full"} & found["job 1"].attributes.keys()


@pytest.mark.parametrize("repository", ["acme/job", "actions/runs", "job/actions"])
def test_a_repository_may_have_the_name_of_a_part_of_an_address(repository: str) -> None:
    run_url = f"https://github.com/{repository}/actions/runs/77"
    record = a_record(served(), repository=repository, html_url=f"{run_url}/job/1")
    attributes = named(spans(record, with_job=True))["job 1"].attributes
    assert attributes["cicd.pipeline.run.url.full"] == run_url
    assert attributes["vcs.repository.url.full"] == f"https://github.com/{repository}"


@pytest.mark.parametrize("ended", [NOW, NOW + 2])
def test_a_runner_that_ended_before_its_next_stage_began_has_only_the_first_one(ended: float) -> None:
    released = a_runner(State.CLAIMED, State.RELEASED, since=ended)
    found = spans(a_record(released, runner_name=None), with_job=False)
    assert [(span.name, span.end) for span in found] == [("plan", max(ended, NOW + 1))]


def test_a_runner_that_is_still_open_waits_until_the_job_that_it_was_for_ends() -> None:
    found = named(spans(a_record(a_runner(*SENT), runner_name="another-runner"), with_job=False))
    assert found["RunPod queue"].end == NOW + 42


def test_a_request_without_an_answer_waits_in_runpods_queue_from_then_on() -> None:
    unknown = a_runner(State.CLAIMED, State.UNKNOWN, taken_at=NOW + 20)
    assert named(spans(a_record(unknown), with_job=False))["RunPod queue"].start == NOW + 3


@pytest.mark.parametrize(("phases", "start"), [({"configure": 1.0}, 16), ({"connect": 2.0}, 17)])
def test_a_phase_that_the_worker_does_not_tell_takes_no_time(phases: dict[str, float], start: float) -> None:
    told = Execution(delay=10.0, phases=phases)
    record = a_record(a_runner(*SENT, State.BUSY, State.FINISHED, execution=told, taken_at=NOW + 23))
    assert named(spans(record, with_job=False))["listen"].start == NOW + start

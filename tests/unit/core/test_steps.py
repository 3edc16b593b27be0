"""The steps of a story: what is told of each transition, in the right order and with durations."""

from typing import Any

import pytest

from bridge.core.history import Execution, JobRecord, SubmissionRecord, TransitionRecord
from bridge.core.lost import RerunRecord, RerunState
from bridge.core.model import JobStatus, Source
from bridge.core.steps import LONGEST_LINE, Step, line, reason_of, span, steps_of
from bridge.core.submissions import State
from bridge.core.worker import Credentials, GpuUsage
from tests.support.values import NOW, a_job, a_submission


def a_transition(to: State, start: State | None = None, **given: Any) -> TransitionRecord:
    return TransitionRecord(**{"start": start, "to": to, "at": NOW + 5, **given})


def said(transition: TransitionRecord, execution: Execution | None = None, job_id: int = 1, **submission: Any) -> str:
    """What is told of one transition of the runner runpod-1-1."""
    record = SubmissionRecord(
        submission=a_submission(1, **submission), transitions=(transition,), execution=execution or Execution()
    )
    told = steps_of(JobRecord(job=a_job(job_id, created_at=NOW), submissions=(record,)), None, None, NOW + 9)
    (step,) = (each for each in told if each.runner)
    assert (step.at, step.runner) == (NOW + 5, "runpod-1-1")
    return step.what.removeprefix("runpod-1-1: ")


@pytest.mark.parametrize(
    ("transition", "expected"),
    [
        (a_transition(State.CLAIMED), "claimed, route gpu"),
        (a_transition(State.CLAIMED, detail="endpoint a is full"), "claimed, route gpu: endpoint a is full"),
        (a_transition(State.MINTED), "registered with GitHub"),
        (a_transition(State.SUBMITTING), "sending a request to endpoint ep-1"),
        (a_transition(State.UNKNOWN), "RunPod did not answer"),
        (a_transition(State.UNKNOWN, detail="timed out"), "RunPod did not answer: timed out"),
        (a_transition(State.SUBMITTED), "RunPod accepted request r1"),
        (a_transition(State.STARTED), "its worker started"),
        (a_transition(State.STARTED, State.BUSY), "GitHub took its job back"),
        (a_transition(State.BUSY), "took a job"),
        (a_transition(State.WITHDRAWN), "GitHub deleted its registration; its request is being cancelled"),
        (a_transition(State.FINISHED, reason="completed"), "ended: its job is over"),
        (a_transition(State.FINISHED, detail="it left"), "ended: its job is over: it left"),
        (a_transition(State.FAILED, reason="crashed", detail="boom"), "ended as failed: crashed, boom"),
        (a_transition(State.NO_JOB, detail="boom"), "ended as no_job: boom"),
        (a_transition(State.RELEASED, reason="expired"), "ended as released: expired"),
        (a_transition(State.LOST), "ended as lost"),
    ],
)
def test_what_is_told_of_each_transition(transition: TransitionRecord, expected: str) -> None:
    assert said(transition) == expected


def test_every_state_is_told_in_its_own_words() -> None:
    told = {said(a_transition(state)) for state in State}
    assert len(told) == len(State)


def test_a_runner_that_is_told_with_another_job_names_the_job_that_it_was_requested_for() -> None:
    assert said(a_transition(State.CLAIMED), job_id=2) == "claimed for job 1, route gpu"


def test_in_token_modes_the_worker_registers_the_runner() -> None:
    mode = Credentials.REGISTRATION
    assert said(a_transition(State.MINTED), credentials=mode) == "its worker will register it with GitHub"


def test_the_job_that_a_runner_took_is_named_if_it_is_another_one() -> None:
    assert said(a_transition(State.BUSY), held_job_id=1) == "took the job"
    assert said(a_transition(State.BUSY), held_job_id=7) == "took job 7 instead"


def test_how_runpod_executed_the_request_is_told() -> None:
    execution = Execution(delay=65.0, execution=300.0, worker_id="w1")
    assert said(a_transition(State.STARTED), execution) == "its worker started after 65 s in RunPod's queue"
    end = a_transition(State.FINISHED)
    assert said(end, execution) == "ended: its job is over; its request ran for 5 min on worker w1"
    assert said(end, Execution(execution=3.0)) == "ended: its job is over; its request ran for 3.0 s"
    assert said(end, Execution(execution=3.0, error="worker\nexited")) == (
        "ended: its job is over; its request ran for 3.0 s, and failed: worker exited"
    )
    assert said(end, Execution(worker_id="w1")) == "ended: its job is over"


def test_how_the_job_used_the_gpu_is_told_in_one_line() -> None:
    usage: GpuUsage = {
        "name": "NVIDIA L4\nx",
        "count": 1,
        "driver": "550",
        "memory_mb": 24_000,
        "peak_memory_mb": 7_100,
        "mean_utilisation": 63.2,
        "peak_utilisation": 99.0,
    }
    assert said(a_transition(State.FINISHED), Execution(execution=3.0, gpu_usage=usage)) == (
        "ended: its job is over; its request ran for 3.0 s; "
        "GPU: NVIDIA L4 x, peak memory 7.1 of 24.0 GB, mean utilisation 63 %, peak 99 %"
    )


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (Source.WEBHOOK, "seen: GitHub sent a webhook"),
        (Source.DELIVERY_LOG, "seen in the App's delivery log"),
        (Source.POLL, "seen when the bridge asked GitHub"),
    ],
)
def test_how_a_job_was_first_seen_is_told(source: Source, expected: str) -> None:
    record = JobRecord(job=a_job(1, created_at=NOW), first_seen_at=NOW + 2, source=source)
    told = steps_of(record, None, None, NOW + 9)
    assert told == (
        Step(at=NOW, what="queued in GitHub for self-hosted, runpod, gpu", seconds=2.0),
        Step(at=NOW + 2, what=expected),
    )
    assert steps_of(record, "gpu", None, NOW + 9)[1].what == f"{expected}; route gpu serves it"


def test_the_route_of_a_job_that_has_ended_is_that_of_its_runner() -> None:
    record = JobRecord(
        job=a_job(1, status=JobStatus.COMPLETED),
        first_seen_at=NOW,
        source=Source.POLL,
        submissions=(SubmissionRecord(submission=a_submission(1)),),
    )
    assert steps_of(record, None, None, NOW)[1].what.endswith("; route gpu serves it")


def test_a_job_of_an_earlier_bridge_is_told_without_its_first_sight() -> None:
    assert len(steps_of(JobRecord(job=a_job(1)), None, None, NOW)) == 1
    assert len(steps_of(JobRecord(job=a_job(1), first_seen_at=NOW), None, None, NOW)) == 1
    assert len(steps_of(JobRecord(job=a_job(1), source=Source.POLL), None, None, NOW)) == 1


def test_a_job_without_labels_asks_for_a_runner_group() -> None:
    assert (
        steps_of(JobRecord(job=a_job(1, labels=())), None, None, NOW)[0].what == "queued in GitHub for a runner group"
    )


def test_a_retry_by_hand_is_told() -> None:
    told = steps_of(JobRecord(job=a_job(1, created_at=NOW), retried_at=NOW + 3), None, None, NOW + 9)
    assert told[1] == Step(at=NOW + 3, what="retried by hand: its failed attempts are forgotten")


def a_whole_story(**job: Any) -> list[tuple[float, str]]:
    """All steps of a job that ran on runpod-1-1, with their seconds after NOW."""
    steps = [(State.CLAIMED, 1.5), (State.SUBMITTED, 1.7), (State.BUSY, 5.4), (State.FINISHED, 9.2)]
    transitions = tuple(TransitionRecord(start=None, to=to, at=NOW + at) for to, at in steps)
    record = SubmissionRecord(submission=a_submission(1, held_job_id=1), transitions=transitions)
    given = {"created_at": NOW, "runner_name": "runpod-1-1", "started_at": NOW + 5, **job}
    told = steps_of(JobRecord(job=a_job(1, **given), submissions=(record,)), None, None, NOW + 10)
    assert sum(step.seconds or 0.0 for step in told) == pytest.approx(told[-1].at - NOW, abs=1.0)
    assert [step.seconds is None for step in told] == [*[False] * (len(told) - 1), True]
    assert all(step.seconds is None or step.seconds >= 0 for step in told)
    return [(round(step.at - NOW, 1), step.what) for step in told]


def test_a_story_is_told_in_the_order_of_its_steps_although_githubs_times_have_no_fractions() -> None:
    told = a_whole_story(status=JobStatus.COMPLETED, conclusion="success", completed_at=NOW + 8)
    assert told == [
        (0.0, "queued in GitHub for self-hosted, runpod, gpu"),
        (1.5, "runpod-1-1: claimed, route gpu"),
        (1.7, "runpod-1-1: RunPod accepted request r1"),
        (5.4, "runpod-1-1: took the job"),
        (5.0, "GitHub gave it to runner runpod-1-1"),
        (8.0, "completed in GitHub: success"),
        (9.2, "runpod-1-1: ended: its job is over"),
    ]


def test_the_start_of_a_queued_job_is_no_start() -> None:
    """GitHub sets `started_at` of queued jobs, too."""
    assert "GitHub gave it" not in str(a_whole_story(status=JobStatus.QUEUED))
    assert "GitHub gave it" in str(a_whole_story(status=JobStatus.IN_PROGRESS))
    assert "GitHub gave it" not in str(a_whole_story(status=JobStatus.IN_PROGRESS, runner_name=None))
    assert "GitHub gave it" not in str(a_whole_story(status=JobStatus.IN_PROGRESS, started_at=None))


def test_a_short_job_ends_after_it_was_taken() -> None:
    told = [what for _, what in a_whole_story(status=JobStatus.COMPLETED, conclusion="success", completed_at=NOW + 5)]
    assert told[3:6] == [
        "runpod-1-1: took the job",
        "GitHub gave it to runner runpod-1-1",
        "completed in GitHub: success",
    ]


def test_a_job_without_a_conclusion_says_so() -> None:
    told = a_whole_story(status=JobStatus.COMPLETED, conclusion=None, completed_at=NOW + 8)
    assert (8.0, "completed in GitHub: no conclusion") in told


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (-1, "0.0 s"),
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (10, "10 s"),
        (119.4, "119 s"),
        (120, "2 min"),
        (7199, "120 min"),
        (7200, "2.0 h"),
        (90_000, "25.0 h"),
        (3_600_000, "1000.0 h"),
    ],
)
def test_a_duration_is_short(seconds: float, expected: str) -> None:
    assert span(seconds) == expected


def test_a_text_from_outside_is_one_line_of_limited_length() -> None:
    assert line("a\n\tb  c") == "a b c"
    assert line("x" * LONGEST_LINE) == "x" * LONGEST_LINE
    assert line("x" * (LONGEST_LINE + 1)) == f"{'x' * LONGEST_LINE}..."
    assert reason_of("crashed", "x" * (LONGEST_LINE + 1)) == f": crashed, {'x' * LONGEST_LINE}..."
    assert reason_of(None, None) == reason_of("", "") == ""


@pytest.mark.parametrize(
    ("state", "what"),
    [
        (RerunState.ASKED, "GitHub was asked to re-run it, and its answer is not known yet: why"),
        (RerunState.POSTPONED, "not re-run yet: why"),
        (RerunState.RERUN, "re-run as a new attempt of its run: why"),
        (RerunState.REFUSED, "GitHub refused to re-run it: why"),
        (RerunState.SKIPPED, "not re-run: why"),
        (RerunState.NOT_LOST, "not re-run, because it failed by itself: why"),
    ],
)
def test_what_was_decided_about_a_lost_job_is_a_step(state: RerunState, what: str) -> None:
    rerun = RerunRecord(
        job_id=1, run_id=1, name="job 1", route="gpu", run_attempt=1, state=state, at=NOW + 7, why="why"
    )
    told = steps_of(JobRecord(job=a_job(1, created_at=NOW), rerun=rerun), None, None, NOW + 9)
    assert (told[-1].at, told[-1].what) == (NOW + 7, what)


def test_the_end_of_a_runner_says_what_it_cost_if_that_is_known() -> None:
    end = a_transition(State.FINISHED)
    record = SubmissionRecord(submission=a_submission(1), transitions=(end,), execution=Execution(), usd=0.01234)
    told = steps_of(JobRecord(job=a_job(1, created_at=NOW), submissions=(record,)), None, None, NOW + 9)
    (what,) = (each.what for each in told if each.runner)
    assert what == "runpod-1-1: ended: its job is over; it cost about 0.0123 USD"

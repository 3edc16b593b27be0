"""The sentence of each story: what happened to a job or why it waits, and what to do."""

from dataclasses import replace
from typing import Any

import pytest

from bridge.core.actions import Claim, Plan, Skip, SkipKind
from bridge.core.endpoint_names import NO_NAMES
from bridge.core.history import Execution, JobRecord, SubmissionRecord
from bridge.core.lost import Rerun, RerunRecord, RerunState
from bridge.core.model import JobStatus, Source
from bridge.core.steps import LONGEST_LINE, Step
from bridge.core.story import Outlook, outlook, story
from bridge.core.submissions import Pool, State
from bridge.core.worker import Reason
from tests.support.values import NOW, ORG, a_job, a_submission

FULL = "route gpu has reached its max_workers of 1"
RAN: dict[str, Any] = {"created_at": NOW - 100, "started_at": NOW - 70, "runner_name": "runpod-1-1"}


def a_record(state: State = State.SUBMITTED, execution: Execution | None = None, **given: Any) -> SubmissionRecord:
    return SubmissionRecord(submission=a_submission(state=state, **given), execution=execution or Execution())


def a_rerun(state: RerunState) -> RerunRecord:
    return RerunRecord(job_id=1, run_id=1, name="job 1", route="gpu", run_attempt=1, state=state, at=NOW, why="because")


def told(*runners: SubmissionRecord, seen: Outlook | None = None, rerun: RerunRecord | None = None, **job: Any) -> str:
    record = JobRecord(job=a_job(1, **job), submissions=runners, rerun=rerun)
    return story(record, seen or Outlook(), NOW).sentence


# --- queued ---


def test_a_job_waits_for_the_reason_of_the_plan_with_what_to_do() -> None:
    assert (
        told(seen=Outlook(kind=SkipKind.ROUTE_FULL, why=FULL)) == f"Job 1 waits: {FULL}; wait, or raise `max_workers`."
    )


def test_a_reason_that_says_what_to_do_is_not_followed_by_more() -> None:
    why = "given up: it has been queued for more than a day, and this ledger is new; re-run the job in GitHub"
    assert told(seen=Outlook(kind=SkipKind.GIVEN_UP, why=why)) == f"Job 1 waits: {why}."


def test_a_job_that_gets_a_runner_now_waits_for_the_next_pass() -> None:
    assert told(seen=Outlook(runner="runpod-1-1")) == (
        "Job 1 waits: the next pass asks for runner runpod-1-1; if this stays, check that the bridge runs."
    )


def test_a_job_that_was_queued_this_very_moment_has_no_reason_yet() -> None:
    assert told() == "Job 1 waits: no pass has decided about it yet; if this stays, check that the bridge runs."


@pytest.mark.parametrize("state", [State.FAILED, State.LOST, State.EXPIRED, State.CANCELLED])
def test_a_queued_job_tells_how_its_last_runner_ended(state: State) -> None:
    first = a_record(State.FAILED, reason=Reason.VERSION_DEPRECATED)
    last = a_record(state, generation=2, reason=Reason.CRASHED, detail="out of\n memory")
    assert told(
        first, last, a_record(State.STARTED, generation=3), seen=Outlook(kind=SkipKind.ROUTE_FULL, why=FULL)
    ) == (
        f"Job 1 waits: {FULL}; wait, or raise `max_workers` "
        f"(before: runner runpod-1-2 ended as {state}: crashed, out of memory)."
    )


def test_a_queued_job_tells_which_job_took_its_runner() -> None:
    """GitHub gives any job to any runner."""
    taken = a_record(State.BUSY, held_job_id=7)
    assert told(taken, seen=Outlook(kind=SkipKind.ROUTE_FULL, why=FULL)).endswith(
        " (before: runner runpod-1-1 took job 7 instead)."
    )
    finished = a_record(State.FAILED, held_job_id=7, reason=Reason.CRASHED)
    assert told(finished, seen=Outlook(kind=SkipKind.ROUTE_FULL, why=FULL)).endswith(
        " (before: runner runpod-1-1 took job 7 instead)."
    )


@pytest.mark.parametrize("state", [State.NO_JOB, State.RELEASED, State.FINISHED, State.BUSY])
def test_other_ends_of_a_runner_are_no_part_of_the_sentence(state: State) -> None:
    assert "before" not in told(a_record(state, held_job_id=1), seen=Outlook(kind=SkipKind.ROUTE_FULL, why=FULL))
    assert "before" not in told(a_record(state), seen=Outlook(kind=SkipKind.ROUTE_FULL, why=FULL))


def test_the_end_of_a_runner_that_was_requested_for_another_job_is_that_jobs_story() -> None:
    other = SubmissionRecord(submission=a_submission(2, state=State.FAILED, held_job_id=1))
    assert "before" not in told(other, seen=Outlook(kind=SkipKind.ROUTE_FULL, why=FULL))


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (JobStatus.WAITING, "it waits for a deployment review: approve it in GitHub"),
        (JobStatus.PENDING, "it waits for its concurrency group"),
        (JobStatus.REQUESTED, "GitHub has not queued it yet"),
    ],
)
def test_a_job_that_is_not_queued_says_what_it_waits_for(status: JobStatus, why: str) -> None:
    assert told(status=status) == f"Job 1 is not queued: {why}."


# --- in progress ---


def test_a_running_job_names_its_runner() -> None:
    running: dict[str, Any] = {**RAN, "status": JobStatus.IN_PROGRESS}
    assert told(a_record(State.BUSY), **running) == "Job 1 runs on runner runpod-1-1 for 70 s."
    assert told(a_record(State.BUSY), **{**running, "started_at": None}) == "Job 1 runs on runner runpod-1-1."


def test_a_job_on_the_runner_of_another_job_says_so() -> None:
    other = SubmissionRecord(submission=a_submission(2, state=State.BUSY, held_job_id=1))
    assert told(other, **{**RAN, "runner_name": "runpod-2-1"}, status=JobStatus.IN_PROGRESS) == (
        "Job 1 runs on runner runpod-2-1 (requested for job 2) for 70 s."
    )


def test_a_job_on_a_runner_that_the_ledger_does_not_know_says_so() -> None:
    assert told(**{**RAN, "runner_name": "builder"}, status=JobStatus.IN_PROGRESS) == (
        "Job 1 runs on runner builder, which is not in this ledger, for 70 s."
    )


def test_a_running_job_whose_request_failed_says_what_github_will_do() -> None:
    lost = a_record(State.BUSY, Execution(error="worker exited\nunexpectedly"))
    assert told(lost, **RAN, status=JobStatus.IN_PROGRESS) == (
        "Job 1 runs on runner runpod-1-1 for 70 s, but its request failed: worker exited unexpectedly; "
        "if the runner is gone, GitHub fails the job after about 10 minutes: then it can be re-run."
    )


def test_a_job_in_progress_without_a_runner_says_so() -> None:
    assert told(status=JobStatus.IN_PROGRESS) == "Job 1 is in progress, and GitHub does not name its runner."


# --- ended ---


def ended(*runners: SubmissionRecord, conclusion: str | None = "success", **job: Any) -> str:
    given = {**RAN, "completed_at": NOW, "status": JobStatus.COMPLETED, "conclusion": conclusion, **job}
    return told(*runners, **given)


def test_an_ended_job_says_how_it_ended_and_how_long_it_took() -> None:
    assert ended(a_record(State.FINISHED)) == (
        "Job 1 ended as success on runner runpod-1-1: it waited for 30 s and ran for 70 s."
    )
    assert ended(a_record(State.FINISHED), completed_at=None) == "Job 1 ended as success on runner runpod-1-1."
    assert ended(a_record(State.FINISHED), started_at=None) == "Job 1 ended as success on runner runpod-1-1."
    assert (
        ended(conclusion=None, runner_name=None)
        == "Job 1 ended as completed before a runner took it; re-run it in GitHub."
    )


def test_a_failed_job_whose_worker_did_not_fail_has_its_reason_in_its_log() -> None:
    assert ended(a_record(State.FINISHED), conclusion="failure") == (
        "Job 1 ended as failure on runner runpod-1-1: it waited for 30 s and ran for 70 s; its log in GitHub says why."
    )


def test_a_job_that_failed_with_its_worker_says_so() -> None:
    lost = a_record(State.FINISHED, Execution(error="x" * 300))
    assert ended(lost, conclusion="failure") == (
        f"Job 1 failed because the worker of runner runpod-1-1 failed: {'x' * LONGEST_LINE}...; re-run it in GitHub, "
        "or set `rerun_lost_jobs`."
    )
    assert ended(lost).startswith("Job 1 ended as success on runner runpod-1-1:"), "it failed after the job"
    other = SubmissionRecord(submission=a_submission(1, generation=2), execution=Execution(error="boom"))
    assert "boom" not in ended(a_record(State.FINISHED), other, conclusion="failure")


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (RerunState.RERUN, "the bridge re-ran it as attempt 2 of its run."),
        (RerunState.REFUSED, "GitHub did not re-run it: because."),
        (RerunState.SKIPPED, "the bridge did not re-run it: because."),
        (RerunState.ASKED, "it may be re-run: because."),
        (RerunState.POSTPONED, "it may be re-run: because."),
    ],
)
def test_a_job_that_lost_its_worker_says_what_the_bridge_did(state: RerunState, said: str) -> None:
    lost = a_record(State.FINISHED, Execution(error="boom"))
    assert ended(lost, conclusion="failure", rerun=a_rerun(state)).endswith(f"failed: boom; {said}")
    assert ended(a_record(State.FINISHED), conclusion="failure", rerun=a_rerun(state)).endswith(f"; {said}")


def test_a_job_that_failed_by_itself_has_its_reason_in_its_log_although_its_route_re_runs_jobs() -> None:
    said = ended(a_record(State.FINISHED), conclusion="failure", rerun=a_rerun(RerunState.NOT_LOST))
    assert said.endswith("; its log in GitHub says why.")


def test_a_lost_job_that_is_decided_about_later_says_why() -> None:
    given = {**RAN, "completed_at": NOW, "status": JobStatus.COMPLETED, "conclusion": "failure"}
    said = told(a_record(State.FINISHED), seen=Outlook(rerun="its run has other jobs"), **given)
    assert said.endswith("; it may be re-run: its run has other jobs.")


@pytest.mark.parametrize("conclusion", ["cancelled", "skipped", "success"])
def test_a_job_that_ended_on_purpose_without_a_runner_needs_nothing(conclusion: str) -> None:
    assert ended(conclusion=conclusion, runner_name=None) == f"Job 1 ended as {conclusion} before a runner took it."


def test_a_job_that_github_failed_in_the_queue_must_be_run_again() -> None:
    assert ended(conclusion="failure", runner_name=None) == (
        "Job 1 ended as failure before a runner took it; re-run it in GitHub."
    )


def test_a_deleted_job_says_so() -> None:
    assert ended(conclusion="deleted") == "Job 1 was deleted with its run in GitHub."


def test_a_conclusion_is_one_line() -> None:
    assert ended(conclusion="odd\none", runner_name=None).startswith("Job 1 ended as odd one before")


# --- what the plan says ---


def test_the_outlook_is_the_plans_claim_or_its_reason_for_the_job() -> None:
    claim = Claim(pool=Pool("gpu", ORG), job_id=1, name="runpod-1-1", generation=1, endpoint="ep-1")
    plan = Plan(
        claims=(claim,),
        skips=(
            Skip(job_id=2, kind=SkipKind.ROUTE_FULL, why=FULL, route="gpu"),
            Skip(job_id=3, kind=SkipKind.LABELS, why="no", nearest="gpu"),
        ),
    )
    assert outlook(plan, 1, NO_NAMES) == Outlook(runner="runpod-1-1", route="gpu")
    placed = replace(claim, endpoint="ep-2", placed="endpoint ep-1 is starved")
    seen = outlook(replace(plan, claims=(placed,)), 1, NO_NAMES)
    assert seen == Outlook(runner="runpod-1-1", placed=" at endpoint ep-2: endpoint ep-1 is starved", route="gpu")
    assert story(JobRecord(job=a_job(1)), seen, NOW).steps[-1].what == (
        "waits: the next pass asks for runner runpod-1-1 at endpoint ep-2: endpoint ep-1 is starved"
    )
    assert outlook(plan, 2, NO_NAMES) == Outlook(kind=SkipKind.ROUTE_FULL, why=FULL, route="gpu")
    assert outlook(plan, 3, NO_NAMES) == Outlook(kind=SkipKind.LABELS, why="no")
    assert outlook(plan, 4, NO_NAMES) == Outlook()
    lost = Rerun(job=a_job(5), route="gpu", state=None, job_id=5, run_attempt=1, tries=0, why="later")
    assert outlook(replace(plan, reruns=(lost,)), 5, NO_NAMES) == Outlook(rerun="later")


def test_a_story_ends_with_what_a_queued_job_waits_for() -> None:
    record = JobRecord(job=a_job(1, created_at=NOW - 5))
    made = story(record, Outlook(kind=SkipKind.ROUTE_FULL, why=FULL, route="gpu"), NOW)
    assert made.job is record.job
    assert made.steps[-1] == Step(at=NOW, what=f"waits: {FULL}")
    known = JobRecord(job=a_job(1), first_seen_at=NOW, source=Source.POLL)
    assert (
        "; route gpu serves it"
        in story(known, Outlook(kind=SkipKind.ROUTE_FULL, why=FULL, route="gpu"), NOW).steps[1].what
    )
    assert story(record, Outlook(runner="runpod-1-1"), NOW).steps[-1].what == (
        "waits: the next pass asks for runner runpod-1-1"
    )
    running = JobRecord(job=a_job(1, status=JobStatus.IN_PROGRESS))
    assert "waits" not in story(running, Outlook(), NOW).steps[-1].what

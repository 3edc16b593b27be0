"""The numbers that Prometheus scrapes."""

from dataclasses import replace
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from bridge import __version__
from bridge.controller.report import Decision, Report
from bridge.core.actions import Claim, Plan, Skip, SkipKind, Transition
from bridge.core.budget import Budget
from bridge.core.lost import Rerun, RerunState
from bridge.core.model import EndpointHealth, JobStatus
from bridge.core.submissions import Pool, State, Streak
from bridge.core.worker import Reason
from bridge.service.metrics import Clients, Metrics
from tests.support.clock import Clock
from tests.support.values import NOW, ORG, a_job, a_submission

NOTHING = Plan()


def report(plan: Plan = NOTHING, **given: Any) -> Report:
    submitted = given.pop("submitted", ())
    return Report(decision=Decision(plan=plan, **given), submitted=submitted, problems=(), seconds=0.5)


def metrics(**given: Any) -> Metrics:
    clients = Clients(lambda: {"github": {"total": 7}}, lambda: {"github": 4900})
    return Metrics(clients, given.get("clock", lambda: NOW))


def values(made: Metrics) -> dict[str, float]:
    """By name with labels, such as `bridge_calls_total{call="total",service="github"}`."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(made.page().decode()):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def test_what_the_clients_count_is_read_at_each_scrape() -> None:
    found = values(metrics())
    assert found['bridge_calls_total{call="total",service="github"}'] == 7
    assert found['bridge_rate_limit_remaining{service="github"}'] == 4900
    assert found[f'bridge_build_info{{version="{__version__}"}}'] == 1


def test_the_oldest_queued_job_of_a_route_ages_between_passes() -> None:
    made = metrics(clock=(clock := Clock()))
    skip = Skip(job_id=1, kind=SkipKind.ROUTE_FULL, why="route gpu has reached its max_workers of 1", route="gpu")
    claim = Claim(pool=Pool("gpu", ORG), job_id=2, name="runpod-2-1", generation=1, endpoint="ep-1")
    jobs = (a_job(1, created_at=NOW - 100), a_job(2, created_at=NOW - 10), a_job(3, created_at=NOW - 5000))
    made.passed(
        "resync",
        report(Plan(skips=(skip, Skip(job_id=3, kind=SkipKind.NO_ROUTE, why="no route")), claims=(claim,)), jobs=jobs),
    )
    clock.now += 60
    found = values(made)
    assert found['bridge_jobs_queued{route="gpu"}'] == 2
    assert found['bridge_jobs_queued{route=""}'] == 1
    assert found['bridge_oldest_queued_seconds{route="gpu"}'] == 160


def test_jobs_that_lost_their_workers_are_counted_by_what_became_of_them() -> None:
    made = metrics()
    states = (RerunState.RERUN, RerunState.RERUN, RerunState.REFUSED, RerunState.SKIPPED, RerunState.NOT_LOST)
    ended = [
        Rerun(job=a_job(1), route="gpu", state=state, job_id=1, run_attempt=1, tries=1, why="lost") for state in states
    ]
    made.passed("resync", replace(report(), reruns=tuple(ended)))
    counted = {name: value for name, value in values(made).items() if name.startswith("bridge_reruns_total")}
    assert counted == {
        'bridge_reruns_total{result="rerun",route="gpu"}': 2,
        'bridge_reruns_total{result="refused",route="gpu"}': 1,
        'bridge_reruns_total{result="skipped",route="gpu"}': 1,
    }


def test_a_job_that_starts_and_ends_is_measured_by_githubs_times() -> None:
    made, submission = metrics(), a_submission(1, State.STARTED, since=NOW - 20)
    job = a_job(1, status=JobStatus.IN_PROGRESS, created_at=NOW - 90, started_at=NOW - 5)
    taken = Transition(submission=submission, to=State.BUSY, held_job_id=1)
    made.passed("event", report(Plan(transitions=(taken,)), jobs=(job,)))
    busy = a_submission(1, State.BUSY, held_job_id=1)
    ended = a_job(1, status=JobStatus.COMPLETED, conclusion="success", started_at=NOW - 5, completed_at=NOW + 295)
    finished = Transition(submission=busy, to=State.FINISHED, reason=Reason.COMPLETED)
    made.passed("event", report(Plan(transitions=(finished,)), jobs=(ended,)))
    found = values(made)
    assert found['bridge_job_wait_seconds_sum{route="gpu"}'] == 85
    assert found['bridge_job_wait_seconds_count{route="gpu"}'] == 1
    assert found['bridge_job_seconds_sum{result="success",route="gpu"}'] == 300
    assert found['bridge_stage_seconds_sum{stage="listen"}'] == 20
    assert found['bridge_outcomes_total{reason="completed",route="gpu"}'] == 1


def test_a_request_counts_by_route_and_its_stages_are_measured() -> None:
    made = metrics(clock=(clock := Clock()))
    sent = a_submission(1, since=NOW, created_at=NOW - 2)
    made.passed("event", report(jobs=(a_job(1, created_at=NOW - 3),), submitted=(sent,)))
    clock.now += 40
    started = Transition(submission=sent, to=State.STARTED)
    made.passed("resync", report(Plan(transitions=(started,))))
    found = values(made)
    assert found['bridge_requests_total{route="gpu"}'] == 1
    assert found["bridge_job_to_request_seconds_sum"] == 3
    assert found['bridge_stage_seconds_sum{stage="submit"}'] == 2
    assert found['bridge_stage_seconds_sum{stage="worker_start"}'] == 40


def test_an_endpoint_shows_its_workers_and_whether_its_breaker_is_open() -> None:
    made = metrics()
    health = {"ep-1": EndpointHealth(workers={"running": 2, "throttled": 1}), "ep-2": EndpointHealth()}
    streak = Streak(failures=3, first=NOW - 60, last=NOW, reason="crashed")
    made.passed("resync", report(health=health, streaks={"ep-1": streak}))
    found = values(made)
    assert found['bridge_workers{endpoint="ep-1",state="throttled"}'] == 1
    assert found['bridge_breaker_open{endpoint="ep-1"}'] == 1
    assert found['bridge_breaker_open{endpoint="ep-2"}'] == 0
    made.passed("resync", report(health={"ep-2": EndpointHealth()}))
    assert not [name for name in values(made) if "ep-1" in name]


def test_costs_add_up_and_budgets_are_those_of_the_last_pass() -> None:
    made = metrics()
    budget = Budget(route="", configured=10.0, used=4.0, resets_at=NOW + 60)
    of_route = Budget(route="gpu", configured=5.0, used=4.5, resets_at=NOW + 60)
    made.passed("event", report(costs={"gpu": 1.5}, budgets=(budget, of_route)))
    made.passed("event", report(costs={"gpu": 0.25}, budgets=(budget,)))
    found = values(made)
    assert found['bridge_cost_dollars_total{route="gpu"}'] == 1.75
    assert found['bridge_budget_dollars{route=""}'] == 10
    assert found['bridge_budget_used_dollars{route=""}'] == 4
    assert 'bridge_budget_dollars{route="gpu"}' not in found, "it is no longer configured"

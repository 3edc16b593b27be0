"""The models of GitHub, RunPod and workers behave as the vendors document.

No test here uses the bridge, so that the models can disagree with it. test_drivers.py has the bridge.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from bridge.core.model import JobStatus, RequestStatus
from bridge.core.worker import Credentials
from bridge.errors import OutcomeUnknown
from bridge.github.clock import GitHubClock
from tests.simulation import Act, Endpoint, FalseAnswer, GitHub, Run, RunPod, Scenario, Simulation, Window, measure
from tests.simulation.github import Job, Registration
from tests.simulation.loop import START, Deadlock
from tests.simulation.loop import run as run_virtually
from tests.simulation.outcome import Outcome
from tests.simulation.ports import GitHubPort, RunPodPort
from tests.support.values import a_route

LABELS = ("self-hosted", "linux", "x64", "runpod", "gpu")


def play(*acts: tuple[float, Callable[[Simulation], Any]], **given: Any) -> tuple[Simulation, Outcome]:
    """A simulation without a bridge; each act happens at its time (s)."""
    simulations: list[Simulation] = []
    given.setdefault("seconds", 2_000.0)
    steps = (Act(at=0.0, do=simulations.append), *(Act(at=at, do=do) for at, do in acts))
    outcome = measure(Scenario(acts=steps, **given))
    return simulations[0], outcome


def registered(simulation: Simulation, name: str = "runner-1", **given: Any) -> Registration:
    made = simulation.github.register(
        **{"name": name, "labels": LABELS, "target": "orgs/acme", "group": "Default", "owner": "me", **given}
    )
    assert made is not None
    return made


def request(mode: Credentials = Credentials.JIT, **given: Any) -> Callable[[Simulation], str]:
    """An act that submits a request with a registration or token of its own."""
    route_given = given.pop("route", {})

    def submit(simulation: Simulation) -> str:
        name = given.get("runner_name", f"runpod-{len(simulation.runpod.requests)}-1")
        credential: dict[str, Any] = {}
        if mode is Credentials.JIT:
            credential = {"jit_config": str(registered(simulation, name).id)}
        if mode is Credentials.REGISTRATION:
            credential = {"registration_token": str(simulation.github.wall() + 3_600.0)}
        worker_input = {
            "mode": mode,
            "runner_url": "https://github.com/acme",
            "runner_name": name,
            "runner_labels": list(LABELS),
            "runner_group": "Default",
            "job_timeout": 21_600.0,
            "idle_timeout": 300.0,
            "not_after": START + 86_400.0,
            **credential,
            **given,
        }
        return simulation.runpod.submit("ep-1", a_route(max_workers=100, **route_given), worker_input, None, "me")

    return submit


def job(simulation: Simulation, name: str = "run-0") -> Job:
    return next(job for job in simulation.github.jobs.values() if job.name == name)


def answer(simulation: Simulation, request_id: str = "req-1") -> tuple[str, str]:
    """The status of a request, and its outcome or error."""
    last = simulation.runpod.requests[request_id].answers[-1]
    return str(last.status), str((last.output or {}).get("outcome") or last.error)


# --- time ---


def test_virtual_time_passes_only_in_timers() -> None:
    async def main(loop: Any) -> float:
        await asyncio.sleep(86_400.0)
        return float(loop.time())

    assert run_virtually(main) == 86_400.0


def test_waiting_without_a_timer_is_an_error() -> None:
    async def main(loop: Any) -> None:
        await loop.create_future()

    with pytest.raises(Deadlock):
        run_virtually(main)


# --- GitHub ---


def test_a_job_goes_to_any_idle_runner_with_its_labels() -> None:
    simulation, outcome = play((0.0, request()), runs=(Run(labels=("Self-Hosted", "RUNPOD")),))
    assert outcome.jobs[0].conclusion == "success"
    assert outcome.jobs[0].started == pytest.approx(60.0 + 2.0 + 1.0)  # cold start, listen, assigned
    assert not simulation.github.registrations  # an ephemeral registration is deleted after its job


def test_a_job_does_not_go_to_a_runner_that_lacks_a_label() -> None:
    _, outcome = play((0.0, request()), runs=(Run(labels=("runpod", "a100")),))
    assert outcome.jobs[0].started is None


@pytest.mark.parametrize(
    ("place", "group", "has_it"),
    [
        ("orgs/acme", "Default", True),
        ("orgs/acme", "narrow", False),
        ("orgs/other", "Default", False),
        ("repos/acme/web", "Default", True),
        ("repos/acme/other", "Default", False),
    ],
)
def test_a_runner_gets_jobs_of_its_target_and_group_only(place: str, group: str, has_it: bool) -> None:
    found: list[bool] = []

    def check(simulation: Simulation) -> None:
        runner = registered(simulation, target=place, group=group)
        found.append(simulation.github.may_have(runner, job(simulation)))

    play((1.0, check), runs=(Run(),), github=GitHub(groups={"narrow": frozenset({"acme/other"})}))
    assert found == [has_it]


def test_no_more_than_max_parallel_jobs_of_a_matrix_run() -> None:
    acts = [(0.0, request(runner_name=f"runpod-{n}-1")) for n in range(4)]
    _, outcome = play(*acts, runs=(Run(jobs=4, max_parallel=2, seconds=100.0),))
    started = sorted(job.started or 0.0 for job in outcome.jobs)
    assert started[1] < 70.0
    assert started[2] >= started[0] + 100.0
    assert all(job.queued == 0.0 for job in outcome.jobs)  # all are announced at once


def test_an_assigned_job_that_is_not_picked_up_is_requeued_after_a_minute() -> None:
    def dead(simulation: Simulation) -> None:
        runner = registered(simulation, "dead")
        simulation.github.open_session(runner)
        simulation.github.lose(runner)

    simulation, outcome = play((0.0, dead), (0.0, request()), runs=(Run(at=30.0),))
    assert outcome.jobs[0].executions == 1
    assert outcome.jobs[0].started == pytest.approx(31.0 + 60.0 + 1.0)
    assert [r.name for r in simulation.github.registrations.values()] == ["dead"]


def test_a_job_whose_runner_died_fails_after_ten_minutes_and_is_not_requeued() -> None:
    simulation, outcome = play((0.0, request()), (0.0, request()), runs=(Run(kills_worker=10.0, seconds=600.0),))
    (lost,) = outcome.jobs
    assert lost.conclusion == "failure"
    assert lost.executions == 1
    assert lost.ended == pytest.approx((lost.started or 0.0) + 10.0 + 600.0)
    assert RequestStatus.FAILED in {r.status for r in simulation.runpod.requests.values()}
    assert outcome.started() == 2  # no worker starts for a request that has ended


def test_a_registration_that_listens_is_deleted_after_two_to_six_minutes() -> None:
    simulation, outcome = play((0.0, request()), github=GitHub(reap=(120.0, 360.0)))
    assert answer(simulation)[1].startswith("registration_lost")
    assert 62.0 + 120.0 <= outcome.paid() <= 62.0 + 360.0 + 5.0


def test_a_registration_with_a_job_is_not_deleted() -> None:
    deleted: list[bool] = []

    def delete(simulation: Simulation) -> None:
        runner = next(iter(simulation.github.registrations.values()))
        deleted.append(simulation.github.delete(runner.id))

    _, outcome = play((0.0, request()), (80.0, delete), (0.0, request()), (81.0, delete), runs=(Run(),))
    assert deleted == [False, False]
    assert outcome.jobs[0].conclusion == "success"


def test_no_job_is_dispatched_during_an_outage_or_in_an_archived_repository() -> None:
    runs = (Run(name="a"), Run(name="b", repository="acme/old"), Run(name="zombie", dispatched=False))
    github = GitHub(outages=(Window(until=300.0),), archived=(("acme/old", Window()),))
    _, outcome = play((0.0, request()), (0.0, request()), runs=runs, github=github)
    assert [job.started for job in outcome.jobs] == [301.0, None, None]


def test_a_queued_job_fails_after_a_day_unless_github_never_dispatches_it() -> None:
    runs = (Run(name="a"), Run(name="zombie", dispatched=False))
    _, outcome = play(runs=runs, seconds=90_000.0)
    assert [job.conclusion for job in outcome.jobs] == ["failure", None]


def test_a_run_that_waits_for_approval_hides_its_queued_jobs() -> None:
    listed: list[list[str]] = []

    def check(simulation: Simulation) -> None:
        async def read() -> None:
            found = await GitHubPort(simulation, "me", GitHubClock()).open_jobs("acme/web")
            listed.append(sorted(job.status for job in found))

        simulation.spawn(read())

    play((10.0, check), (100.0, check), runs=(Run(jobs=1, waiting=1, approved=50.0),))
    assert listed == [[], ["queued", "queued"]]


def test_a_cancelled_run_ends_its_jobs() -> None:
    _, outcome = play((0.0, request()), runs=(Run(jobs=2, seconds=500.0, cancelled=100.0),))
    assert [job.conclusion for job in outcome.jobs] == ["cancelled", "cancelled"]
    assert outcome.useful() == pytest.approx(100.0 - 63.0)


def test_deliveries_are_late_lost_and_repeated() -> None:
    heard: list[tuple[str, JobStatus]] = []

    def listen(simulation: Simulation) -> None:
        simulation.github.subscribers.append(lambda guid, job: heard.append((guid, job.status)))

    github = GitHub(webhooks_lost=(Window(at=50.0, until=150.0),), webhooks_twice=(Window(at=0.0, until=10.0),))
    simulation, _ = play((0.0, listen), runs=(Run(at=1.0, cancelled=100.0), Run(at=200.0)), github=github)
    assert [guid for guid, _ in heard] == ["guid-0", "guid-0", "guid-2"]
    assert [sent.guid for sent, _ in simulation.github.log] == ["guid-0", "guid-1", "guid-2"]


# --- RunPod ---


def test_the_quota_limits_workers_and_health_shows_a_lack_of_capacity() -> None:
    seen: list[Any] = []
    endpoint = Endpoint(workers_max=3, capacity=((0.0, 2.0), (300.0, 9.0)), foreign=((200.0, 1.0),))

    def check(simulation: Simulation) -> None:
        seen.append(simulation.runpod.endpoint("ep-1").health())

    acts = [(0.0, request(runner_name=f"runpod-{n}-1")) for n in range(5)]
    play(*acts, (70.0, check), (250.0, check), (301.0, check), endpoints={"ep-1": endpoint})
    assert [(s.in_queue, s.in_progress) for s in seen] == [(3, 2), (3, 3), (3, 3)]
    assert [s.workers["throttled"] for s in seen] == [1, 0, 0]


def test_a_worker_is_billed_from_its_start_until_it_has_stopped() -> None:
    _, outcome = play((0.0, request()), runs=(Run(),), endpoints={"ep-1": Endpoint(cold_start=100.0, stop=3.0)})
    assert outcome.paid() == pytest.approx(100.0 + 2.0 + 1.0 + 60.0 + 2.0 + 3.0)
    assert outcome.useful() == 60.0
    assert outcome.paid(until=50.0) == 50.0
    assert outcome.started(ran="run-0") == 1


def test_an_idle_worker_ends_two_minutes_after_its_idle_timeout() -> None:
    simulation, outcome = play((0.0, request(idle_timeout=300.0)))
    assert answer(simulation) == ("COMPLETED", "no_job")
    assert outcome.paid() == pytest.approx(60.0 + 2.0 + 300.0 + 120.0 + 2.0)
    assert simulation.github.registrations  # it has no key to delete its registration


@pytest.mark.parametrize(
    ("mode", "given", "said"),
    [
        (Credentials.JIT, {"not_after": START - 1_000.0}, "expired"),
        (Credentials.REGISTRATION, {"registration_token": str(START + 30.0)}, "credential_expired"),
        (Credentials.APP, {"runner_name": "taken"}, "name_taken"),
        (Credentials.JIT, {"jit_config": "9"}, "registration_lost"),
    ],
)
def test_a_worker_that_starts_no_runner_answers_why(mode: Credentials, given: dict[str, Any], said: str) -> None:
    simulation, outcome = play(
        (0.0, lambda simulation: registered(simulation, "taken")), (0.0, request(mode, **given)), runs=(Run(),)
    )
    assert answer(simulation)[1].partition(":")[0] == said
    assert outcome.jobs[0].started is None


def test_ttl_deletes_a_request_and_execution_timeout_ends_it() -> None:
    short = {"job_timeout": 100.0, "idle_timeout": 10.0, "queue_timeout": 0.0}  # 530 s to run, and to live
    simulation, _ = play((0.0, request(route=short)), (0.0, request(route={**short, "queue_timeout": 900.0})), runs=())
    slow = play((0.0, request(route=short, idle_timeout=9_000.0)))[0]
    longer = play((0.0, request(route={**short, "queue_timeout": 900.0}, idle_timeout=9_000.0)))[0]
    assert answer(simulation) == ("COMPLETED", "no_job")
    assert slow.runpod.requests["req-1"].status is RequestStatus.MISSING
    assert longer.runpod.requests["req-1"].status is RequestStatus.TIMED_OUT


def test_status_is_late_sometimes_wrong_and_finally_forgotten() -> None:
    seen: list[str] = []

    def check(simulation: Simulation) -> None:
        seen.append(str(simulation.runpod.status("req-1").status))

    false = (FalseAnswer(at=100.0, until=110.0), FalseAnswer(at=110.0, until=120.0, status="FAILED"))
    runpod = RunPod(status_lag=20.0, false_answers=false)
    times = (70.0, 85.0, 105.0, 115.0, 130.0, 150.0, 2_100.0)
    play((0.0, request()), *((at, check) for at in times), runs=(Run(),), runpod=runpod, seconds=2_200.0)
    assert seen == ["IN_QUEUE", "IN_PROGRESS", "MISSING", "FAILED", "IN_PROGRESS", "COMPLETED", "MISSING"]


def test_a_request_that_is_delivered_twice_runs_its_job_once() -> None:
    endpoint = Endpoint(twice=(Window(),))
    _, outcome = play((0.0, request()), runs=(Run(seconds=900.0),), endpoints={"ep-1": endpoint})
    assert not outcome.violations
    assert outcome.started() == 2
    assert outcome.jobs[0].executions == 1


def test_run_may_be_accepted_and_answered_too_late() -> None:
    unknown: list[float] = []

    def submit(simulation: Simulation) -> None:
        async def call() -> None:
            given = {"mode": "app", "runner_name": "x", "runner_url": "https://github.com/acme"}
            try:
                await RunPodPort(simulation, "me").submit("ep-1", a_route(), given, None)
            except OutcomeUnknown:
                unknown.append(simulation.now)

        simulation.spawn(call())

    accepted, _ = play((0.0, submit), runpod=RunPod(answer_lost=(Window(),)), seconds=30.0)
    refused, _ = play((0.0, submit), runpod=RunPod(answer_never=(Window(),)), seconds=30.0)
    assert unknown == [10.3, 10.3]
    assert (len(accepted.runpod.requests), len(refused.runpod.requests)) == (1, 0)


def test_cancelling_a_request_whose_runner_has_a_job_breaks_a_rule() -> None:
    _, outcome = play(
        (0.0, request()), (100.0, lambda simulation: simulation.runpod.cancel("req-1")), runs=(Run(seconds=900.0),)
    )
    assert ["holds job run-0" in line for line in outcome.violations] == [True]
    assert outcome.jobs[0].conclusion == "cancelled"


def test_more_requests_than_max_workers_break_a_rule() -> None:
    def submit(simulation: Simulation) -> None:
        given = {"mode": "app", "runner_name": "x", "runner_url": "https://github.com/acme"}
        simulation.runpod.submit("ep-1", a_route(max_workers=1), given, None, "me")

    _, outcome = play((0.0, submit), (1.0, submit), seconds=10.0)
    assert ["2 requests open at max_workers 1" in line for line in outcome.violations] == [True]

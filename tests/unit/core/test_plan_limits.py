"""Cost guard, failing endpoints, lost ledgers, and jobs that only look queued."""

import time
from dataclasses import replace
from typing import Any

import pytest

from bridge.core.actions import Plan
from bridge.core.breaker import OPENS_AT, probe_at
from bridge.core.model import EndpointHealth, JobStatus, Request, RequestStatus, Runner
from bridge.core.naming import runner_labels
from bridge.core.plan import plan
from bridge.core.scope import Route
from bridge.core.snapshot import Snapshot
from bridge.core.submissions import JobHistory, Pool, State, Streak
from bridge.core.worker import Credentials
from tests.support.values import NOW, ORG, TIMING, a_job, a_route, a_runner, a_snapshot, a_submission


def names(decided: Plan) -> list[str]:
    return [claim.name for claim in decided.claims]


def why(decided: Plan, job_id: int = 1) -> str:
    return next(skip.why for skip in decided.skips if skip.job_id == job_id)


# --- public repositories and forks ---


def test_a_public_repositorys_job_is_refused_unless_its_route_allows_it() -> None:
    snapshot = a_snapshot(jobs=(a_job(1, public=True), a_job(2)))
    decided = plan(snapshot, NOW)
    assert names(decided) == ["runpod-2-1"]
    assert why(decided) == "its repository is public, and route gpu does not set allow_public_repositories"
    allowed = replace(snapshot, routes=(a_route(allow_public_repositories=True),))
    assert names(plan(allowed, NOW)) == ["runpod-1-1", "runpod-2-1"]


@pytest.mark.parametrize(
    ("fork", "reason"),
    [
        (True, "its run comes from a fork, and route gpu does not set allow_forks"),
        (None, "it is not known yet whether its run comes from a fork"),
    ],
)
def test_a_forks_job_is_refused_and_one_of_unknown_origin_waits(fork: bool | None, reason: str) -> None:
    snapshot = a_snapshot(jobs=(a_job(1, fork=fork), a_job(2)))
    decided = plan(snapshot, NOW)
    assert names(decided) == ["runpod-2-1"]
    assert why(decided) == reason
    allowed = replace(snapshot, routes=(a_route(allow_forks=True),))
    assert names(plan(allowed, NOW)) == ["runpod-1-1", "runpod-2-1"]


def test_a_job_of_a_public_repository_and_a_fork_needs_both_settings() -> None:
    snapshot = a_snapshot(jobs=(a_job(1, public=True, fork=True),))
    for allowed in ({"allow_forks": True}, {"allow_public_repositories": True}):
        assert not plan(replace(snapshot, routes=(a_route(**allowed),)), NOW).claims
    both = a_route(allow_forks=True, allow_public_repositories=True)
    assert names(plan(replace(snapshot, routes=(both,)), NOW)) == ["runpod-1-1"]


def test_the_request_for_a_job_that_is_refused_since_is_withdrawn() -> None:
    """Its repository was made public after its runner was requested."""
    asked = a_submission(1)
    snapshot = a_snapshot(
        jobs=(a_job(1, public=True),),
        submissions=(asked,),
        requests={asked.id: Request(id="r1", status=RequestStatus.IN_QUEUE)},
    )
    assert [w.to for w in plan(snapshot, NOW).withdrawals] == [State.CANCELLED]


# --- endpoints whose workers fail ---


def broken(failures: int = OPENS_AT, first: float = NOW - 10, last: float = NOW) -> Streak:
    return Streak(failures=failures, first=first, last=last, reason="crashed")


def after(streak: Streak, **given: Any) -> Snapshot:
    return a_snapshot(jobs=(a_job(1), a_job(2)), streaks={"ep-1": streak}, **given)


def test_two_failures_stop_nothing() -> None:
    assert len(plan(after(broken(OPENS_AT - 1)), NOW).claims) == 2


def test_after_three_failures_nothing_is_sent_until_the_next_try() -> None:
    decided = plan(after(broken()), NOW + TIMING.breaker_shortest - 20)
    assert not decided.claims
    assert why(decided) == "endpoint ep-1: its last 3 workers failed (crashed); next try in 20 s"


def test_a_failing_endpoint_is_tried_with_one_request_at_a_time() -> None:
    due = NOW + TIMING.breaker_shortest
    decided = plan(after(broken()), due)
    assert names(decided) == ["runpod-1-1"]
    assert why(decided, 2).endswith("one request is being tried")
    probing = after(broken(), submissions=(a_submission(1, created_at=NOW + 1, since=NOW + 1),))
    assert not plan(probing, due).claims


@pytest.mark.parametrize("sent", [NOW - 30, NOW])
def test_a_request_from_before_the_last_failure_is_no_try(sent: float) -> None:
    """Nor is one that was sent at the moment of that failure."""
    older = a_submission(3, created_at=sent, since=sent)
    jobs = (a_job(1), a_job(2), a_job(3))
    snapshot = replace(after(broken(), submissions=(older,)), jobs=jobs)
    assert len(plan(snapshot, NOW + TIMING.breaker_shortest).claims) == 1


def test_each_failed_try_doubles_the_wait_up_to_a_limit() -> None:
    first, last, waits = NOW, NOW, []
    for _ in range(8):
        due = probe_at(broken(first=first, last=last), TIMING)
        assert due
        waits.append(due - last)
        last = due
    assert waits[:3] == [TIMING.breaker_shortest, TIMING.breaker_shortest, 2 * TIMING.breaker_shortest]
    assert waits == sorted(waits)
    assert waits[-1] == TIMING.breaker_longest


def test_a_failing_endpoint_does_not_delay_another() -> None:
    routes = (a_route(), a_route(name="cpu", labels=("runpod", "cpu"), endpoint="ep-2"))
    jobs = (a_job(1), a_job(2, labels=("runpod", "cpu")))
    assert names(plan(replace(after(broken()), routes=routes, jobs=jobs), NOW)) == ["runpod-2-1"]


def test_routes_that_share_a_failing_endpoint_share_its_try() -> None:
    routes = (a_route(), a_route(name="cpu", labels=("runpod", "cpu")))
    jobs = (a_job(1), a_job(2, labels=("runpod", "cpu")))
    snapshot = replace(after(broken()), routes=routes, jobs=jobs)
    assert names(plan(snapshot, NOW + TIMING.breaker_shortest)) == ["runpod-1-1"]


# --- why a request waits ---


@pytest.mark.parametrize(
    ("workers", "said"),
    [
        ({"throttled": 2}, "; RunPod has no capacity for its workers (throttled 2)"),
        ({"unhealthy": 1}, "; its workers are unhealthy: see the endpoint's logs (unhealthy 1)"),
        ({"initializing": 1}, "; its worker is starting (initializing 1)"),
        ({"throttled": 2, "running": 1}, ""),
        ({"throttled": 2, "ready": 1}, ""),
        ({"throttled": 2, "idle": 1}, ""),
        ({"throttled": 0}, ""),
        ({}, ""),
    ],
)
def test_a_request_in_the_queue_shows_what_its_workers_wait_for(workers: dict[str, int], said: str) -> None:
    snapshot = a_snapshot(
        jobs=(a_job(1),), submissions=(a_submission(1),), health={"ep-1": EndpointHealth(in_queue=1, workers=workers)}
    )
    assert why(plan(snapshot, NOW)) == f"already requested: runner runpod-1-1 is submitted{said}"


def test_a_runner_that_has_started_waits_for_no_worker() -> None:
    snapshot = a_snapshot(
        jobs=(a_job(1),),
        submissions=(a_submission(1, State.STARTED),),
        health={"ep-1": EndpointHealth(workers={"throttled": 2})},
    )
    assert why(plan(snapshot, NOW)) == "already requested: runner runpod-1-1 is started"


# --- jobs that only look queued ---

COMPLETED = Request(id="r1", status=RequestStatus.COMPLETED, output={"outcome": "completed", "result": "Succeeded"})
ONCE = {1: JobHistory(generation=1, attempts=0, last_claim=NOW - 60, last_end=0.0)}


def test_no_second_runner_is_requested_if_runpod_reports_the_end_before_github_names_the_job() -> None:
    """RunPod's callback came before GitHub's events: job 1 still looks queued, but it is done."""
    asked = a_submission(1)
    known = a_snapshot(
        jobs=(a_job(1),), seen_at={1: NOW - 60}, submissions=(asked,), requests={asked.id: COMPLETED}, history=ONCE
    )
    decided = plan(known, NOW)
    assert [m.to for m in decided.transitions] == [State.FINISHED]
    assert not decided.claims


def test_nor_for_another_job_that_the_runner_may_have_taken() -> None:
    asked = a_submission(1)
    jobs = (a_job(1), a_job(2))
    known = a_snapshot(
        jobs=jobs,
        seen_at={1: NOW - 60, 2: NOW - 60},
        submissions=(asked,),
        requests={asked.id: COMPLETED},
        history=ONCE,
    )
    assert len(plan(known, NOW).claims) == 1, "one of the two has been done, and any runner serves the other"


def test_a_job_that_was_seen_queued_after_that_request_ended_gets_a_runner() -> None:
    done = a_submission(1, State.FINISHED, since=NOW - 30)
    later = a_snapshot(jobs=(a_job(1),), seen_at={1: NOW - 10}, submissions=(done,), history=ONCE)
    assert names(plan(later, NOW)) == ["runpod-1-2"]
    earlier = replace(later, seen_at={1: NOW - 50})
    assert not plan(earlier, NOW).claims


@pytest.mark.parametrize("state", [State.NO_JOB, State.RELEASED, State.LOST, State.EXPIRED])
def test_a_runner_that_took_no_job_covers_none(state: State) -> None:
    ended = a_submission(9, state, since=NOW - 30)
    snapshot = a_snapshot(jobs=(a_job(1),), seen_at={1: NOW - 50}, submissions=(ended,))
    assert names(plan(snapshot, NOW)) == ["runpod-1-1"]


def test_a_runner_whose_job_is_known_and_done_covers_no_other() -> None:
    ended = a_submission(9, State.FINISHED, since=NOW - 30, held_job_id=9)
    snapshot = a_snapshot(jobs=(a_job(1),), seen_at={1: NOW - 50}, submissions=(ended,))
    assert names(plan(snapshot, NOW)) == ["runpod-1-1"]


def test_one_runner_covers_one_of_the_jobs_that_look_queued() -> None:
    ended = a_submission(9, State.FINISHED, since=NOW - 30)
    jobs = tuple(a_job(n) for n in (1, 2, 3))
    seen = dict.fromkeys((1, 2, 3), NOW - 50)
    assert len(plan(a_snapshot(jobs=jobs, seen_at=seen, submissions=(ended,)), NOW).claims) == 2
    both = (ended, a_submission(8, State.FINISHED, since=NOW - 20))
    assert len(plan(a_snapshot(jobs=jobs, seen_at=seen, submissions=both), NOW).claims) == 1


# --- token modes: what only an endpoint's health shows ---

TOKENS = a_route(credentials=Credentials.REGISTRATION)


def test_a_request_that_was_sent_later_does_not_explain_one_that_was_counted() -> None:
    """The resync counted a request of a lost ledger. Ours was sent after that."""
    ours = a_submission(1, credentials=Credentials.REGISTRATION, runner_id=None, created_at=NOW + 5, since=NOW + 5)
    snapshot = a_snapshot(
        routes=(TOKENS,),
        jobs=(a_job(1), a_job(2), a_job(3)),
        health={"ep-1": EndpointHealth(in_queue=1)},
        submissions=(ours,),
        ledger_born=NOW,
    )
    assert len(plan(snapshot, NOW + 6).claims) == 1
    counted = replace(snapshot, submissions=(replace(ours, created_at=NOW - 5, since=NOW - 5),))
    assert len(plan(counted, NOW + 6).claims) == 2


def test_a_lost_ledgers_runner_that_has_registered_is_not_counted_twice() -> None:
    unexplained = a_runner("runpod-9-1")
    snapshot = a_snapshot(
        routes=(TOKENS,),
        jobs=(a_job(1), a_job(2)),
        health={"ep-1": EndpointHealth(in_progress=1)},
        runners={ORG: (unexplained,)},
        ledger_born=NOW,
    )
    assert len(plan(snapshot, NOW).claims) == 1


# --- registrations that are gone, or another's ---


def test_a_runner_whose_registration_is_gone_is_no_supply_but_counts_against_max_workers() -> None:
    """GitHub removes idle registrations after minutes. The worker can take no job any more, and still costs money."""
    asked = a_submission(1, State.STARTED)
    gone = a_snapshot(jobs=(a_job(1),), submissions=(asked,), history=ONCE, runners={ORG: ()})
    assert names(plan(gone, NOW)) == ["runpod-1-2"]
    full = replace(gone, routes=(a_route(max_workers=1),))
    assert why(plan(full, NOW)) == "route gpu has reached its max_workers of 1"


def test_a_list_from_the_second_of_the_registration_does_not_show_that_it_is_gone() -> None:
    asked = a_submission(1, State.STARTED, since=NOW)
    assert not plan(a_snapshot(jobs=(a_job(1),), submissions=(asked,), history=ONCE, runners={ORG: ()}), NOW).claims


def test_it_may_have_taken_a_job_that_was_seen_as_queued_before() -> None:
    asked = a_submission(1, State.STARTED)
    gone = a_snapshot(jobs=(a_job(1),), seen_at={1: NOW - 30}, submissions=(asked,), history=ONCE, runners={ORG: ()})
    assert not plan(gone, NOW).claims


def test_a_registration_of_the_same_name_and_another_id_is_not_a_submissions_own() -> None:
    """A restored ledger used the name again: the other registration and its job say nothing about this request."""
    late = a_submission(1, not_after=NOW - 1)
    other = a_runner(late.name, id=999)
    job = a_job(7, status=JobStatus.COMPLETED, conclusion="success", runner_name=late.name, runner_id=999)
    snapshot = a_snapshot(jobs=(job,), submissions=(late,), runners={ORG: (other,)})
    decided = plan(snapshot, NOW)
    assert not decided.withdrawals
    assert not decided.transitions


def test_a_registration_of_ours_with_the_name_of_an_ended_submission_and_another_id_is_kept() -> None:
    """A later runner has the name: it is supply."""
    ended = a_submission(1, State.NO_JOB)
    later = a_runner(ended.name, id=999)
    decided = plan(a_snapshot(jobs=(a_job(2),), submissions=(ended,), runners={ORG: (later,)}), NOW)
    assert not decided.garbage
    assert not decided.claims


# --- another deployment with the same prefix ---

CPU = a_route(name="cpu", labels=("runpod", "cpu"), endpoint="ep-2", queue_timeout=60.0)


def of(route: Route, name: str, asked: float = NOW - 60, **given: Any) -> Runner:
    return a_runner(name, labels=tuple(runner_labels(route, "runpod", asked)), online=False, **given)


@pytest.mark.parametrize(
    "other",
    [
        CPU,
        a_route(name="gpu", endpoint="ep-2"),  # the same labels on an endpoint of its own
        a_route(labels=("runpod", "gpu", "large")),
    ],
)
def test_another_deployments_runner_is_no_supply_and_is_never_deleted(other: Route) -> None:
    theirs = of(other, "runpod-1-1", asked=NOW - 10**6)
    decided = plan(a_snapshot(jobs=(a_job(1),), runners={ORG: (theirs,)}), NOW)
    assert names(decided) == ["runpod-1-2"], "under a name that is free"
    assert not decided.garbage
    (warning,) = decided.warnings
    assert warning.endswith("; the bridge ignores them: give each deployment its own BRIDGE_PREFIX")
    assert warning.startswith(
        "orgs/acme: runners called runpod-... belong to another deployment, or to a route that was changed"
    )
    assert "BRIDGE_PREFIX" in warning


def test_it_is_not_deleted_even_if_it_has_the_name_of_a_runner_of_ours_that_has_ended() -> None:
    ended = a_submission(1, State.NO_JOB, credentials=Credentials.REGISTRATION, runner_id=None)
    decided = plan(a_snapshot(submissions=(ended,), runners={ORG: (of(CPU, ended.name),)}), NOW)
    assert not decided.garbage
    assert decided.warnings


def test_a_runner_of_ours_stays_ours_when_other_routes_and_its_limits_change() -> None:
    ours = of(a_route(max_workers=1, queue_timeout=5.0), "runpod-1-1")
    changed = a_snapshot(routes=(CPU, a_route()), jobs=(a_job(1),), runners={ORG: (ours,)})
    decided = plan(changed, NOW)
    assert not decided.claims
    assert not decided.warnings
    assert [s.runner for s in plan(changed, NOW + 10**6).garbage] == [ours]


def test_a_runner_that_a_row_explains_stays_ours_when_its_route_changes() -> None:
    asked = a_submission(1, State.NO_JOB)
    snapshot = a_snapshot(submissions=(asked,), runners={ORG: (of(CPU, asked.name, id=asked.runner_id),)})
    decided = plan(snapshot, NOW)
    assert [s.runner.name for s in decided.garbage] == [asked.name]
    assert not decided.warnings


def test_a_runner_that_an_older_version_requested_is_ours_if_it_has_a_routes_labels() -> None:
    labels = ("self-hosted", "Linux", "X64", "runpod", "gpu", f"runpod-at-{int(NOW - 60)}")
    old = a_runner("runpod-1-1", labels=labels, online=False)
    assert not plan(a_snapshot(jobs=(a_job(1),), runners={ORG: (old,)}), NOW).claims
    other = a_snapshot(routes=(CPU,), jobs=(), runners={ORG: (old,)})
    assert not plan(other, NOW + 10**6).garbage
    assert plan(other, NOW).warnings


@pytest.mark.parametrize("labels", [("runpod",), ("runpod", "gpu", "large")])
def test_a_runner_that_an_older_version_requested_is_not_ours_if_its_labels_differ(labels: tuple[str, ...]) -> None:
    stamped = ("self-hosted", "linux", "x64", *labels, f"runpod-at-{int(NOW - 60)}")
    old = a_runner("runpod-1-1", labels=stamped, online=False)
    decided = plan(a_snapshot(jobs=(a_job(1),), runners={ORG: (old,)}), NOW)
    assert names(decided) == ["runpod-1-2"]
    assert decided.warnings


def test_a_runner_of_an_older_version_that_a_row_explains_stays_ours_without_its_route() -> None:
    ended = a_submission(1, State.NO_JOB, credentials=Credentials.REGISTRATION, runner_id=None)
    listed = a_runner(ended.name, online=False)
    decided = plan(a_snapshot(routes=(CPU,), submissions=(ended,), runners={ORG: (listed,)}), NOW)
    assert [item.runner for item in decided.garbage] == [listed]
    assert not decided.warnings


# --- without a ledger ---


def old(name: str, **given: Any) -> Runner:
    """A registration of ours whose worker should have started long ago."""
    return of(a_route(), name, asked=NOW - TIMING.boot_allowance - 1, **given)


def requests(in_queue: int = 0, in_progress: int = 0) -> dict[str, EndpointHealth]:
    return {"ep-1": EndpointHealth(in_queue=in_queue, in_progress=in_progress)}


def test_a_registration_without_a_request_is_no_supply_and_no_worker() -> None:
    """Its job was cancelled, or its worker crashed when it started. The endpoint has no request for it."""
    routes = (a_route(max_workers=1),)
    dead = a_snapshot(routes=routes, jobs=(a_job(2),), runners={ORG: (old("runpod-1-1"),)}, health=requests())
    assert names(plan(dead, NOW)) == ["runpod-2-1"]
    waiting = replace(dead, health=requests(in_queue=1))
    assert not plan(waiting, NOW).claims
    unread = replace(dead, health={})
    assert not plan(unread, NOW).claims


def test_as_many_old_registrations_count_as_there_are_requests() -> None:
    runners = tuple(old(f"runpod-{n}-1", id=n) for n in (1, 2, 3))
    jobs = tuple(a_job(n) for n in range(11, 16))
    assert len(plan(a_snapshot(jobs=jobs, runners={ORG: runners}, health=requests(in_queue=2)), NOW).claims) == 3


def test_a_request_belongs_to_the_newest_registration() -> None:
    routes = (a_route(), a_route(name="cpu", labels=("runpod", "cpu")))
    cpu = of(routes[1], "runpod-9-1", asked=NOW - 2000)
    jobs = (a_job(1), a_job(2, labels=("runpod", "cpu")))
    snapshot = a_snapshot(
        routes=routes, jobs=jobs, runners={ORG: (cpu, old("runpod-8-1"))}, health=requests(in_queue=1)
    )
    assert names(plan(snapshot, NOW)) == ["runpod-2-1"]


@pytest.mark.parametrize(
    ("asked", "online", "is_supply"),
    [
        (NOW - TIMING.boot_allowance + 1, False, True),  # its worker may be starting
        (NOW - TIMING.boot_allowance, False, False),
        (NOW - 1000, True, True),
        (NOW - a_route().lease, True, False),
    ],
)
def test_without_a_request_only_a_runner_that_starts_or_listens_counts(
    asked: float, online: bool, is_supply: bool
) -> None:
    runner = replace(of(a_route(), "runpod-9-1", asked=asked), online=online)
    snapshot = a_snapshot(jobs=(a_job(1),), runners={ORG: (runner,)}, health=requests())
    decided = plan(snapshot, NOW)
    assert len(decided.claims) == 1 - is_supply
    assert bool(decided.garbage) == (runner.online and not is_supply), "its lease has ended"


def test_a_busy_runner_counts_after_its_lease_and_beside_a_newer_idle_one() -> None:
    idle = of(a_route(), "runpod-9-1", asked=NOW - 10**5, id=1)
    busy = of(a_route(), "runpod-8-1", asked=NOW - 2 * 10**5, id=2, busy=True)
    full = a_snapshot(routes=(a_route(max_workers=1),), jobs=(a_job(1),), runners={ORG: (idle, busy)})
    assert why(plan(full, NOW)) == "route gpu has reached its max_workers of 1"


def test_a_request_that_was_sent_when_the_runners_were_listed_is_explained_by_its_row() -> None:
    asked = a_submission(3, created_at=NOW)
    runners = (old("runpod-1-1"), a_runner("runpod-3-1", online=False))
    snapshot = a_snapshot(
        jobs=(a_job(1), a_job(3)), submissions=(asked,), runners={ORG: runners}, health=requests(in_queue=1)
    )
    assert names(plan(snapshot, NOW)) == ["runpod-1-2"]


@pytest.mark.parametrize("given", [{"asked": NOW - 60}, {"busy": True}])
def test_the_only_request_belongs_to_the_registration_whose_worker_starts_or_works(given: dict[str, Any]) -> None:
    living = replace(of(a_route(), "runpod-2-1", **{"asked": NOW - 1000, **given}), id=9)
    snapshot = a_snapshot(
        jobs=(a_job(1), a_job(2)), runners={ORG: (old("runpod-1-1"), living)}, health=requests(in_progress=1)
    )
    supply = int(not living.busy)
    assert len(plan(snapshot, NOW).claims) == 2 - supply


def test_a_request_that_a_row_explains_belongs_to_no_other_runner() -> None:
    snapshot = a_snapshot(
        jobs=(a_job(1), a_job(3)),
        submissions=(a_submission(3),),
        runners={ORG: (old("runpod-1-1"), a_runner("runpod-3-1", online=False))},
        health=requests(in_queue=1),
    )
    assert names(plan(snapshot, NOW)) == ["runpod-1-2"]


def test_unexplained_requests_belong_to_a_lost_ledger_only_for_the_time_that_workers_take_to_register() -> None:
    """In a token mode, on an endpoint that another system also uses."""
    snapshot = a_snapshot(routes=(TOKENS,), jobs=(a_job(1),), health=requests(in_progress=5), ledger_born=NOW)
    assert not plan(snapshot, NOW + TIMING.boot_allowance).claims
    assert len(plan(snapshot, NOW + TIMING.boot_allowance + 1).claims) == 1


@pytest.mark.timed
def test_thousands_of_runners_in_thousands_of_repositories_are_planned_in_time() -> None:
    """While a pass plans, nothing else can be written."""
    repositories = [f"acme/r{n}" for n in range(3000)]
    jobs = tuple(a_job(n, run_id=n, repository=repositories[n % 3000]) for n in range(1, 5001))
    submissions = tuple(a_submission(job.id, pool=Pool("gpu", f"repos/{job.repository}")) for job in jobs)
    runners = {f"repos/{name}": () for name in repositories}
    snapshot = a_snapshot(organisation=None, jobs=jobs, submissions=submissions, runners=runners)
    began = time.process_time()
    plan(snapshot, NOW)
    assert time.process_time() - began < 2.0

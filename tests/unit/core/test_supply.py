"""Which runners count as supply and against max_workers, beyond the open submissions."""

from dataclasses import replace

import pytest

from bridge.core.model import EndpointHealth
from bridge.core.naming import runner_labels
from bridge.core.plan import plan
from bridge.core.submissions import State
from bridge.core.worker import Credentials, Reason
from tests.support.values import NOW, ORG, a_job, a_route, a_runner, a_snapshot, a_submission

FULL = "route gpu has reached its max_workers of 2"


def test_runners_that_github_lists_as_busy_after_their_submission_ended_count_against_max_workers() -> None:
    """RunPod reported their end too early."""
    ended = tuple(a_submission(n, State.FAILED, since=NOW - 30) for n in (8, 9))
    busy = tuple(a_runner(s.name, busy=True) for s in ended)
    snapshot = a_snapshot(routes=(a_route(max_workers=2),), jobs=(a_job(1),), submissions=ended, runners={ORG: busy})
    assert plan(snapshot, NOW).skips[0].why == FULL
    idle = {ORG: (busy[0], replace(busy[1], busy=False))}
    assert len(plan(replace(snapshot, runners=idle), NOW).claims) == 1
    assert len(plan(replace(snapshot, runners_at={ORG: NOW - 30}), NOW).claims) == 1, "listed before they ended"


def test_each_unexplained_runner_counts() -> None:
    idle = tuple(a_runner(f"runpod-{n}-1", id=n) for n in (8, 9))
    snapshot = a_snapshot(routes=(a_route(max_workers=2),), jobs=(a_job(1), a_job(2)), runners={ORG: idle})
    assert not plan(snapshot, NOW).claims
    assert (
        len(plan(replace(snapshot, routes=(a_route(max_workers=4),), jobs=(*snapshot.jobs, a_job(3))), NOW).claims) == 1
    )
    busy = tuple(replace(runner, busy=True) for runner in idle)
    full = plan(replace(snapshot, runners={ORG: busy}), NOW)
    assert [skip.why for skip in full.skips] == [FULL, FULL]
    assert not full.claims


@pytest.mark.parametrize("first", [(), (a_route(name="cpu", labels=("runpod", "cpu"), endpoint="ep-2"),)])
def test_unregistered_requests_of_a_token_mode_count_against_max_workers(first: tuple[object, ...]) -> None:
    route = a_route(credentials=Credentials.REGISTRATION, max_workers=2)
    jobs = tuple(a_job(n) for n in (1, 2, 3))
    snapshot = a_snapshot(
        routes=(*first, route), jobs=jobs, health={"ep-1": EndpointHealth(in_queue=2)}, ledger_born=NOW
    )
    decided = plan(snapshot, NOW)
    assert not decided.claims
    assert FULL in {skip.why for skip in decided.skips}


def test_an_unregistered_request_and_a_running_job_both_count_against_max_workers() -> None:
    running = a_submission(9, State.BUSY, credentials=Credentials.REGISTRATION)
    snapshot = a_snapshot(
        routes=(a_route(credentials=Credentials.REGISTRATION, max_workers=2),),
        jobs=(a_job(1), a_job(2)),
        submissions=(running,),
        health={"ep-1": EndpointHealth(in_queue=1, in_progress=1)},
        ledger_born=NOW,
    )
    decided = plan(snapshot, NOW)
    assert not decided.claims
    assert FULL in {skip.why for skip in decided.skips}


@pytest.mark.parametrize(("registered", "claims"), [(3, 1), (0, 0)])
def test_a_request_that_a_runner_of_another_route_explains_is_not_unregistered(registered: int, claims: int) -> None:
    """After a ledger was lost. Both routes use the endpoint, and each request is counted once."""
    gpu = a_route(credentials=Credentials.REGISTRATION)
    cpu = a_route(name="cpu", labels=("runpod", "cpu"), credentials=Credentials.REGISTRATION)
    labels = ("self-hosted", "linux", "x64", "runpod", "cpu", f"runpod-at-{int(NOW - 60)}")
    theirs = tuple(a_runner(f"runpod-{n}-1", id=n, busy=True, labels=labels) for n in range(7, 7 + registered))
    snapshot = a_snapshot(
        routes=(gpu, cpu),
        jobs=(a_job(1),),
        runners={ORG: theirs},
        health={"ep-1": EndpointHealth(in_progress=3)},
        ledger_born=NOW,
    )
    assert len(plan(snapshot, NOW).claims) == claims


@pytest.mark.parametrize(("health", "claims"), [({"ep-2": EndpointHealth(in_queue=1)}, 0), ({}, 1)])
def test_unregistered_requests_are_looked_for_at_each_endpoint_of_a_route(
    health: dict[str, EndpointHealth], claims: int
) -> None:
    route = a_route(credentials=Credentials.REGISTRATION, endpoints=("ep-1", "ep-2"))
    snapshot = a_snapshot(routes=(route,), jobs=(a_job(1),), health=health, ledger_born=NOW)
    assert len(plan(snapshot, NOW).claims) == claims


def test_a_runner_without_a_row_may_have_its_request_at_any_endpoint_of_its_route() -> None:
    route = a_route(endpoints=("ep-1", "ep-2"))
    lost = a_runner("runpod-9-1", online=False, labels=tuple(runner_labels(route, "runpod", NOW - 1000)))
    health = {"ep-1": EndpointHealth(), "ep-2": EndpointHealth(in_queue=1)}
    snapshot = a_snapshot(routes=(route,), jobs=(a_job(1),), runners={ORG: (lost,)}, health=health)
    assert not plan(snapshot, NOW).claims
    gone = replace(snapshot, health={**health, "ep-2": EndpointHealth()})
    assert len(plan(gone, NOW).claims) == 1
    unread = replace(snapshot, health={"ep-1": EndpointHealth()})
    assert not plan(unread, NOW).claims


def test_a_runner_whose_request_moved_has_taken_no_job() -> None:
    """Another job was last seen before that: it would count as taken if the runner could have had it."""
    left = a_submission(1, State.CANCELLED, since=NOW - 1, reason=Reason.STARVED)
    snapshot = a_snapshot(jobs=(a_job(1), a_job(2)), submissions=(left,), seen_at=dict.fromkeys((1, 2), NOW - 5))
    assert len(plan(snapshot, NOW).claims) == 2
    cancelled = (replace(left, reason=Reason.STOPPED),)
    assert len(plan(replace(snapshot, submissions=cancelled), NOW).claims) == 1


def test_requests_of_a_route_whose_runners_the_bridge_registers_are_not_unregistered() -> None:
    snapshot = a_snapshot(jobs=(a_job(1),), health={"ep-1": EndpointHealth(in_queue=5)}, ledger_born=NOW)
    assert len(plan(snapshot, NOW).claims) == 1

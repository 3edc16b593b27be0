"""GitHub and RunPod fail in one way after the other while jobs wait and run."""

import asyncio
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from bridge.emulator.faults import Fault, FaultKind
from bridge.emulator.runpod.state import Request
from bridge.ledger import Ledger
from tests.faults.deployment import HASTY, Deployment, deployment
from tests.support.background import throughout, until
from tests.support.instant import Fate

ERROR, ACCEPTED, HANG, DROP = (
    FaultKind.ERROR,
    FaultKind.ACCEPT_THEN_ERROR,
    FaultKind.ACCEPT_THEN_HANG,
    FaultKind.DROP,
)
RUN, REGISTER = ("POST", "/run$"), ("POST", "generate-jitconfig")
JOBS = 6


def a_fault(call: tuple[str, str], kind: FaultKind, **given: Any) -> Fault:
    return Fault(method=call[0], path=call[1], kind=kind, times=JOBS - 1, **given)


RUNPOD = {
    "answers 429": a_fault(RUN, ERROR, status=429, headers={"Retry-After": "1"}),
    "answers 500": a_fault(RUN, ERROR, status=500),
    "answers with HTML": a_fault(RUN, ERROR, status=200, body="<html>"),
    "answers 401": a_fault(RUN, ERROR, status=401),
    "drops the connection": a_fault(RUN, DROP),
    "accepts and answers 500": a_fault(RUN, ACCEPTED, status=500),
    "accepts and then breaks off": a_fault(RUN, HANG, seconds=0.2),
    "does not accept and times out": a_fault(RUN, FaultKind.HANG, seconds=11),
    "accepts and answers late": a_fault(RUN, FaultKind.LATE, seconds=11),
    "accepts and then times out": a_fault(RUN, HANG, seconds=11),  # the SDK waits for 10
    "accepts and answers with HTML": a_fault(RUN, ACCEPTED, status=200, body="<html>"),
    "does not answer status requests": a_fault(("GET", "/status/"), ERROR, status=500),
    "does not cancel": a_fault(("POST", "/cancel/"), ERROR, status=500),
}

GITHUB = {
    "answers 502": Fault(method="GET", path="/api/v3", kind=ERROR, status=502, times=60),
    "registers runners but answers 502": a_fault(REGISTER, ACCEPTED, status=502),
    "registers runners but drops the connection": a_fault(REGISTER, HANG, seconds=0.2),
    "refuses the names of runners": a_fault(REGISTER, ERROR, status=409, body='{"message": "Already exists"}'),
    "rate-limits registrations": a_fault(
        REGISTER, ERROR, status=403, headers={"retry-after": "1"}, body="secondary rate limit"
    ),
    "rate-limits reads": Fault(
        method="GET", path="/actions", kind=ERROR, status=429, headers={"retry-after": "1"}, times=5
    ),
    "refuses a fresh token": Fault(method="POST", path="generate-jitconfig", kind=ERROR, status=401, times=1),
    "refuses to delete": Fault(method="DELETE", path="/actions/runners/", kind=ERROR, status=500, times=8),
    "cannot show its delivery log": Fault(method="GET", path="/app/hook", kind=ERROR, status=500, times=20),
}


@pytest.mark.parametrize("what", RUNPOD)
def test_every_job_runs_once_when_runpod(tmp_path: Path, database_url: str, what: str) -> None:
    with deployment(tmp_path) as made, made.dispatcher(database_url):
        made.emulators.runpod.faults.add(RUNPOD[what])
        made.queue(JOBS)
        made.assert_all_ends_well()


@pytest.mark.parametrize("what", GITHUB)
def test_every_job_runs_once_when_github(tmp_path: Path, database_url: str, what: str) -> None:
    with deployment(tmp_path) as made, made.dispatcher(database_url):
        made.emulators.github.faults.add(GITHUB[what])
        made.queue(JOBS)
        made.assert_all_ends_well()


GONE = {
    "the endpoint is gone": ("runpod", Fault(method="POST", path="/run$", kind=ERROR, status=404, times=10**6)),
    "the key is revoked": ("runpod", Fault(method="POST", path="/run$", kind=ERROR, status=401, times=10**6)),
    "a permission is missing": (
        "github",
        Fault(method="POST", path="generate-jitconfig", kind=ERROR, status=403, times=10**6),
    ),
}


@pytest.mark.parametrize("what", GONE)
def test_while_requests_are_refused_the_bridge_only_probes_and_jobs_run_after_the_fix(
    tmp_path: Path, database_url: str, what: str
) -> None:
    """The first refusal stops all further requests. Then probes follow, with pauses of 0.3 s that double up to 2 s."""
    service, fault = GONE[what]
    with deployment(tmp_path) as made, made.dispatcher(database_url):
        faults = getattr(made.emulators, service).faults
        faults.add(fault)
        made.queue(12)
        began = time.monotonic()
        until(lambda: refused_in_a_row(made, database_url) >= 4, 60)
        probes = 4 + (time.monotonic() - began) / 2
        assert len(made.submissions(database_url)) <= 12 + probes
        registrations = made.emulators.github.calls["POST /orgs/{owner}/actions/runners/generate-jitconfig"]
        assert registrations <= 12 + probes
        faults.clear()
        made.assert_all_ends_well()


def refused_in_a_row(made: Deployment, database_url: str) -> int:
    """The longest row of refusals that the ledger has recorded."""
    ledger = Ledger.open(database_url)
    try:
        readings = asyncio.run(ledger.read(lambda transaction: transaction.readings()))
    finally:
        ledger.close()
    return max((refusal.count for _, refusal in readings.refusals.values() if refusal), default=0)


def test_a_request_that_runpod_loses_is_replaced(tmp_path: Path, database_url: str) -> None:
    with deployment(tmp_path) as made, made.dispatcher(database_url):
        made.emulators.runpod.state.lose_next = 3
        made.queue(JOBS)
        made.assert_all_ends_well()


def test_requests_that_are_delivered_twice_run_their_jobs_once(tmp_path: Path, database_url: str) -> None:
    with deployment(tmp_path, instant={"seconds": 0.3}) as made, made.dispatcher(database_url):
        made.emulators.runpod.state.double_next = JOBS
        made.queue(JOBS)
        made.assert_all_ends_well()
        made.assert_canary_is_served()


class Fated:
    """Gives the first `times` deliveries of requests a fate; all others go well."""

    def __init__(self, fate: Fate, times: int) -> None:
        self.fate = fate
        self.left = times
        self.met: Counter[str] = Counter()

    def __call__(self, request: Request) -> Fate:
        if not self.left:
            return Fate.NORMAL
        self.left -= 1
        self.met[request.id] += 1
        return self.fate


@pytest.mark.parametrize("redeliver", [True, False], ids=["delivered again", "failed"])
@pytest.mark.parametrize(
    "fate", [Fate.DIES_BEFORE, Fate.DIES_ASSIGNED, Fate.DIES_DURING, Fate.DIES_AFTER, Fate.CRASHES]
)
def test_every_job_ends_when_workers_die(tmp_path: Path, database_url: str, fate: Fate, redeliver: bool) -> None:
    """GitHub fails a job whose runner died during it, and requeues a job that its runner did not pick up."""
    instant = {"seconds": 0.2, "fate": Fated(fate, 3)}
    with deployment(tmp_path, instant=instant, limits=HASTY, redeliver=redeliver) as made:
        if fate is Fate.DIES_DURING:
            made.may_fail = 3
        with made.dispatcher(database_url):
            made.queue(JOBS)
            made.assert_all_ends_well()
            made.assert_canary_is_served()


def test_an_endpoint_with_outdated_workers_gets_only_probes(tmp_path: Path, database_url: str) -> None:
    outdated = Fated(Fate.DEPRECATED, 10**6)
    with deployment(tmp_path, instant={"fate": outdated}) as made, made.dispatcher(database_url):
        made.queue(3)
        until(lambda: len(made.emulators.runpod.state.requests) >= 5)
        # Each probe waits longer than the one before.
        throughout(lambda: len(made.emulators.runpod.state.requests) < 15, 3)
        outdated.left = 0
        made.assert_all_ends_well()


def test_jobs_wait_while_the_endpoint_is_full(tmp_path: Path, database_url: str) -> None:
    with deployment(tmp_path, workers_max=0) as made, made.dispatcher(database_url):
        made.queue(3)
        until(lambda: len(made.emulators.runpod.state.requests) == 3)
        throughout(lambda: len(made.emulators.runpod.state.requests) == 3, 1.5)
        made.emulators.runpod.state.endpoints["ep-1"].workers_max = 3
        made.assert_all_ends_well()


def test_a_lost_completed_event_causes_no_further_runner(tmp_path: Path, database_url: str) -> None:
    with deployment(tmp_path) as made, made.dispatcher(database_url):
        made.emulators.github.webhooks.mishap = lambda d: () if d.action == "completed" else (0.0,)
        made.queue(JOBS)
        made.assert_all_ends_well()
        assert len(made.emulators.runpod.state.requests) == JOBS


def test_every_job_runs_once_when_github_is_unavailable_for_long(tmp_path: Path, database_url: str) -> None:
    """6 s stand for 10 min. Meanwhile jobs end and others are queued."""
    with deployment(tmp_path, instant={"seconds": 0.5}) as made, made.dispatcher(database_url) as address:
        running = made.queue(3)
        until(lambda: all(job.status == "in_progress" for job in running))
        made.emulators.github.webhooks.mishap = lambda _: ()
        for method in ("GET", "POST", "DELETE"):
            made.emulators.github.faults.add(Fault(method=method, path="", kind=DROP, times=10**6))
        made.queue(3)
        until(lambda: httpx.get(f"{address}/readyz").status_code == 503)
        throughout(lambda: httpx.get(f"{address}/readyz").status_code == 503, 6)
        assert all(job.status == "completed" for job in running)
        made.emulators.github.faults.clear()
        made.assert_all_ends_well()


@pytest.mark.parametrize("off", [-600, 600])
def test_the_bridge_allows_for_a_clock_that_is_ten_minutes_off(tmp_path: Path, database_url: str, off: int) -> None:
    """GitHub's clock is `off` s ahead of the bridge's: no worker is wasted and no job waits for a scan."""
    with deployment(tmp_path, clock=lambda: time.time() + off) as made, made.dispatcher(database_url):
        jobs = made.queue(4)
        until(lambda: all(job.status == "completed" for job in jobs), 30)
        made.assert_all_ends_well()
        assert len(made.emulators.runpod.state.requests) == len(jobs)


def _await_call(made: Deployment) -> None:
    """Wait until the bridge calls GitHub once more."""
    calls = made.emulators.github.calls.total()
    until(lambda: made.emulators.github.calls.total() > calls)


def test_a_token_that_is_revoked_during_a_pass_is_replaced(tmp_path: Path, database_url: str) -> None:
    with deployment(tmp_path, instant={"seconds": 0.1}) as made, made.dispatcher(database_url):
        for _ in range(5):
            made.queue(2)
            made.emulators.github.access.revoke()
            _await_call(made)
        made.assert_all_ends_well()

"""The emulated RunPod, used by the unmodified SDK: its client, and its worker in real processes."""

import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from starlette.applications import Starlette
from starlette.requests import Request as Call
from starlette.responses import Response
from starlette.routing import Route

from bridge.emulator.faults import Fault, FaultKind
from bridge.emulator.runpod import EndpointConfig, RunPodEmulator, RunPodState, WorkerImage, runpod_emulator
from bridge.emulator.runpod.state import Refused
from bridge.emulator.serving import serving
from tests.support.background import served, until
from tests.support.clock import Clock

WORKER = textwrap.dedent(
    """
    import asyncio, os, runpod

    async def handler(job):
        given = job["input"]
        if "fail" in given:
            return {"error": "crashed: " + given["fail"]}
        try:
            if "sleep" in given:
                print("asleep", flush=True)
            await asyncio.sleep(given.get("sleep", 0))
        except asyncio.CancelledError:
            print("told to stop", flush=True)
            raise SystemExit(0)
        return {"echo": given, "pod": os.environ["RUNPOD_POD_ID"]}

    if __name__ == "__main__":
        runpod.serverless.start({"handler": handler, "refresh_worker": True})
    """
)


@contextmanager
def emulated(images: dict[str, WorkerImage] | None = None, **config: Any) -> Iterator[tuple[RunPodEmulator, Any]]:
    """The emulator in its own thread, and the SDK's client of the endpoint `ep`."""
    state = RunPodState({"ep": EndpointConfig(**config)})
    with served(lambda: runpod_emulator(state, api_key="rp_key", images=images)) as emulator:
        yield emulator, sdk_endpoint(emulator)


def sdk_endpoint(emulator: RunPodEmulator, api_key: str = "rp_key") -> Any:
    import runpod

    endpoint = runpod.Endpoint("ep", api_key=api_key)
    endpoint.rp_client.endpoint_url_base = emulator.base_url
    return endpoint


def status_of(failure: pytest.ExceptionInfo[requests.HTTPError]) -> int | None:
    response = failure.value.response
    return None if response is None else response.status_code


@pytest.fixture
def image(tmp_path: Path) -> WorkerImage:
    program = tmp_path / "worker.py"
    program.write_text(WORKER)
    return WorkerImage(command=[sys.executable, str(program)])


def test_the_sdks_client_submits_looks_up_and_cancels() -> None:
    with emulated() as (_, endpoint):
        job = endpoint.run({"input": {"a": 1}, "policy": {"executionTimeout": 60000, "ttl": 120000}})
        assert job.status() == "IN_QUEUE"
        assert endpoint.health()["jobs"]["inQueue"] == 1
        job.cancel()
        assert job.status() == "CANCELLED"


def test_the_sdks_client_raises_its_errors_for_refused_calls() -> None:
    with emulated() as (emulator, endpoint):
        with pytest.raises(RuntimeError):
            sdk_endpoint(emulator, api_key="wrong").run({"input": {"a": 1}})
        with pytest.raises(requests.HTTPError):
            endpoint.run({"input": {"a": 1}, "policy": {"ttl": 5}})
        with pytest.raises(requests.HTTPError):
            endpoint.rp_client.get("ep/status/unknown")
        with pytest.raises(requests.HTTPError) as refused:
            endpoint.purge_queue()
        assert status_of(refused) == 501
        emulator.faults.add(Fault(method="POST", path="/run$", kind=FaultKind.DROP))
        endpoint.rp_client.rp_session.mount("http://", requests.adapters.HTTPAdapter(max_retries=0))
        with pytest.raises(requests.ConnectionError):
            endpoint.run({"input": {"a": 1}})


def test_the_sdks_worker_answers_fails_and_is_stopped(image: WorkerImage) -> None:
    """One test for all three, because each worker takes two seconds to import the SDK."""
    with emulated({"ep": image}, workers_max=3, idle_timeout=60) as (emulator, endpoint):
        fine = endpoint.run({"input": {"hello": "world"}})
        bad = endpoint.run({"input": {"fail": "on purpose"}})
        slow = endpoint.run({"input": {"sleep": 60}})
        until(lambda: fine.status() == "COMPLETED" and bad.status() == "FAILED" and slow.status() == "IN_PROGRESS")
        # The SDK ignores a stop that arrives before it has called the handler.
        until(lambda: "asleep" in emulator.scaler.logs())
        raw = endpoint.rp_client.get(f"ep/status/{fine.job_id}")
        assert raw["output"] == {"echo": {"hello": "world"}, "pod": raw["workerId"]}
        assert endpoint.rp_client.get(f"ep/status/{bad.job_id}")["error"] == "crashed: on purpose"
        slow.cancel()
        until(lambda: "told to stop" in emulator.scaler.logs())
        until(lambda: not emulator.state.workers)
        assert emulator.state.workers_started == 3, "refresh_worker: one request each"
        assert emulator.pinged
    assert not [p for p in psutil.Process().children(recursive=True) if _is_worker(p)]


def _is_worker(process: psutil.Process) -> bool:
    try:
        return "worker.py" in " ".join(process.cmdline())
    except psutil.NoSuchProcess:  # it has ended, perhaps as a zombie
        return False


def test_a_dead_workers_request_is_delivered_again(image: WorkerImage) -> None:
    with emulated({"ep": image}, workers_max=1) as (emulator, endpoint):
        job = endpoint.run({"input": {"sleep": 3}})
        until(lambda: job.status() == "IN_PROGRESS")
        (worker,) = emulator.state.workers
        emulator.scaler.kill(worker)
        until(lambda: job.status() == "COMPLETED")
        request = emulator.state.requests[job.job_id]
        assert len(request.workers) == 2


@dataclass
class Called:
    """Receives callbacks; `got` has them in order, `answers` has the statuses of its answers."""

    url: str = ""
    answers: list[int] = field(default_factory=list)
    got: list[Any] = field(default_factory=list)

    async def take(self, call: Call) -> Response:
        self.got.append(await call.json())
        return Response(status_code=self.answers.pop(0) if self.answers else 200)


@contextmanager
def called() -> Iterator[Called]:
    made = Called()
    app = Starlette(routes=[Route("/done", made.take, methods=["POST"])])
    with served(lambda: serving(app)) as url:
        made.url = f"{url}/done"
        yield made


def test_a_callback_is_sent_until_it_is_accepted_at_most_three_times() -> None:
    with called() as hook, emulated() as (emulator, endpoint):
        emulator.callbacks.retry_after = 0.01
        hook.answers = [500, 200, 500, 500, 500]
        first = endpoint.run({"input": {"a": 1}, "webhook": hook.url})
        silent = endpoint.run({"input": {"a": 1}})
        worker = emulator.state.add_worker("ep")
        emulator.state.take(worker.id)
        emulator.state.done(worker.id, first.job_id, {"output": {"outcome": "completed"}})
        until(lambda: not emulator.callbacks.pending)
        assert [(g["id"], g["status"], g["output"]) for g in hook.got] == [
            (first.job_id, "COMPLETED", {"outcome": "completed"})
        ] * 2
        assert hook.got[0] == endpoint.rp_client.get(f"ep/status/{first.job_id}")
        silent.cancel()
        second = endpoint.run({"input": {"a": 1}, "webhook": hook.url})
        second.cancel()
        until(lambda: not emulator.callbacks.pending)
        assert [(g["id"], g["status"]) for g in hook.got[2:]] == [(second.job_id, "CANCELLED")] * 3
        emulator.callbacks.lose_next = 1
        endpoint.run({"input": {"a": 1}, "webhook": hook.url}).cancel()
        until(lambda: not emulator.callbacks.pending)
        assert len(hook.got) == 5


def test_an_endpoint_without_capacity_shows_throttled_workers_until_it_has_some() -> None:
    with emulated(workers_max=2) as (emulator, endpoint):
        config = emulator.state.endpoints["ep"]
        config.capacity = 0
        for number in range(3):
            endpoint.run({"input": {"n": number}})
        assert endpoint.health()["workers"]["throttled"] == 2
        assert (emulator.state.wanted("ep"), emulator.state.room("ep")) == (0, 0)
        config.capacity = 1
        assert endpoint.health()["workers"]["throttled"] == 1
        assert (emulator.state.wanted("ep"), emulator.state.room("ep")) == (1, 1)
        config.capacity, config.workers_max = None, 0
        assert endpoint.health()["workers"]["throttled"] == 0
        assert emulator.state.wanted("ep") == 0


def test_health_counts_requests_that_others_sent() -> None:
    with emulated(others=(4, 2)) as (_, endpoint):
        endpoint.run({"input": {"a": 1}})
        jobs = endpoint.health()["jobs"]
        assert (jobs["inQueue"], jobs["inProgress"]) == (5, 2)


def test_status_may_be_late_or_404_while_a_request_runs() -> None:
    with emulated(hides=frozenset({"IN_PROGRESS"})) as (emulator, endpoint):
        state, config = emulator.state, emulator.state.endpoints["ep"]
        job = endpoint.run({"input": {"a": 1}})
        assert job.status() == "IN_QUEUE"
        worker = state.add_worker("ep")
        state.take(worker.id)
        with pytest.raises(requests.HTTPError) as hidden:
            job.status()
        assert status_of(hidden) == 404
        assert endpoint.health()["jobs"]["inProgress"] == 1, "health still counts it"
        config.hides, config.status_lag = frozenset(), 60.0
        assert endpoint.rp_client.get(f"ep/status/{job.job_id}") == {"id": job.job_id, "status": "IN_QUEUE"}
        state.done(worker.id, job.job_id, {"output": {"x": 1}})
        assert "output" not in endpoint.rp_client.get(f"ep/status/{job.job_id}")
        config.status_lag = 0.0
        assert endpoint.rp_client.get(f"ep/status/{job.job_id}")["output"] == {"x": 1}


@pytest.mark.parametrize(
    ("kind", "accepted"), [(FaultKind.LATE, 1), (FaultKind.ACCEPT_THEN_HANG, 1), (FaultKind.HANG, 0)]
)
def test_run_may_be_answered_late_or_never_whether_it_was_accepted_or_not(kind: FaultKind, accepted: int) -> None:
    with emulated() as (emulator, _):
        emulator.faults.add(Fault(method="POST", path="/run$", kind=kind, seconds=0.5))
        headers = {"Authorization": "Bearer rp_key"}
        with pytest.raises((requests.ReadTimeout, requests.ConnectionError)):
            requests.post(f"{emulator.base_url}/ep/run", json={"input": {"a": 1}}, headers=headers, timeout=0.2)
        assert len(emulator.state.requests) == accepted


# --- the model alone ---


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def state(clock: Clock) -> RunPodState:
    return RunPodState({"ep": EndpointConfig(workers_max=2, idle_timeout=5)}, clock=clock)


POLICY = {"executionTimeout": 60_000, "ttl": 600_000}


def test_a_request_past_its_execution_timeout_is_timed_out_and_its_worker_is_told(
    state: RunPodState, clock: Clock
) -> None:
    request, worker = state.submit("ep", {"input": {"x": 1}, "policy": POLICY}), state.add_worker("ep")
    assert state.take(worker.id) is request
    clock.now += 61
    assert state.request("ep", request.id).status == "TIMED_OUT"
    assert state.stops(worker.id) == [request.id]
    assert state.stops(worker.id) == []


def test_a_request_past_its_ttl_is_gone_even_while_it_runs(state: RunPodState, clock: Clock) -> None:
    request = state.submit("ep", {"input": {"x": 1}, "policy": POLICY | {"executionTimeout": 604_800_000}})
    state.take(state.add_worker("ep").id)
    clock.now += 601
    with pytest.raises(Refused) as refused:
        state.request("ep", request.id)
    assert refused.value.status == 404


def test_a_result_is_kept_for_half_an_hour(state: RunPodState, clock: Clock) -> None:
    request, worker = state.submit("ep", {"input": {"x": 1}}), state.add_worker("ep")
    state.take(worker.id)
    state.done(worker.id, request.id, {"output": 1})
    clock.now += 1799
    assert state.request("ep", request.id).output == 1
    clock.now += 2
    with pytest.raises(Refused):
        state.request("ep", request.id)


def test_a_request_can_be_delivered_twice_or_lost(state: RunPodState) -> None:
    state.double_next = 1
    twice = state.submit("ep", {"input": {"x": 1}})
    one, two = state.add_worker("ep"), state.add_worker("ep")
    assert state.take(one.id) is twice
    assert state.take(two.id) is twice
    state.lose_next = 1
    lost = state.submit("ep", {"input": {"x": 2}})
    with pytest.raises(Refused):
        state.request("ep", lost.id)


def test_workers_follow_requests_up_to_the_maximum_and_leave_when_idle(state: RunPodState, clock: Clock) -> None:
    for number in range(3):
        state.submit("ep", {"input": {"n": number}})
    assert state.wanted("ep") == 2
    worker = state.add_worker("ep")
    assert state.take(worker.id) is not None
    clock.now += 100
    assert list(state.idle_workers("ep")) == []
    assert worker.request is not None
    state.done(worker.id, worker.request.id, {"output": 1})
    clock.now += 6
    assert list(state.idle_workers("ep")) == [worker]


def test_ended_requests_are_counted_until_they_are_dropped(state: RunPodState, clock: Clock) -> None:
    done, cancelled, open_one = (state.submit("ep", {"input": {"n": n}}) for n in range(3))
    first, second = state.add_worker("ep"), state.add_worker("ep")
    state.take(first.id)
    state.remove_worker(first)
    assert state.take(second.id) is done
    state.done(second.id, done.id, {"output": 1})
    state.cancel("ep", cancelled.id)
    jobs = state.health("ep")["jobs"]
    assert jobs == {"completed": 1, "failed": 0, "inProgress": 0, "inQueue": 1, "retried": 1}
    clock.now += 1801
    jobs = state.health("ep")["jobs"]
    assert jobs == {"completed": 0, "failed": 0, "inProgress": 0, "inQueue": 1, "retried": 0}
    assert list(state.requests) == [open_one.id]


def test_a_withheld_request_goes_to_no_worker(state: RunPodState) -> None:
    unseen, seen = (state.submit("ep", {"input": {"n": n}}) for n in range(2))
    state.withhold(unseen)
    assert state.take(state.add_worker("ep").id) is seen
    assert state.request("ep", unseen.id).status == "IN_QUEUE"
    assert state.cancel("ep", unseen.id).status == "CANCELLED"


def test_a_request_may_end_although_its_worker_continues(state: RunPodState) -> None:
    request, worker = state.submit("ep", {"input": {"x": 1}}), state.add_worker("ep")
    state.take(worker.id)
    state.end_early(request, "FAILED", "worker exited unexpectedly")
    assert state.shown("ep", request.id) == (request, "FAILED")
    assert (worker.request, state.stops(worker.id)) == (request, [])
    state.done(worker.id, request.id, {"output": 1})
    assert (request.status, request.output) == ("FAILED", None), "the first status stays"


def test_the_quota_counts_workers_of_all_endpoints() -> None:
    state = RunPodState({name: EndpointConfig(workers_max=3) for name in ("a", "b")})
    state.quota = 4
    for name in ("a", "a", "a", "b"):
        assert state.room(name) > 0
        state.add_worker(name)
    assert (state.room("a"), state.room("b")) == (0, 0)

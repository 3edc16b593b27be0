"""The client of RunPod's management API: what each failure of each call is called, and that it never shows the key."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from bridge.core.account import AccountLimits, Rollout, WorkerCounts
from bridge.core.cost import Bill
from bridge.core.endpoints import MARK, Change, Cpu, Endpoint, EndpointSettings
from bridge.emulator.faults import Fault, FaultKind
from bridge.emulator.runpod import Account, RunPodEmulator, RunPodState, runpod_emulator
from bridge.emulator.serving import serving
from bridge.errors import AuthError, BridgeError, OutcomeUnknown, RateLimited, Rejected, Unavailable
from bridge.runpod.management import Management
from bridge.runpod.management_http import LARGEST_ANSWER, LONGEST_PAUSE, ManagementHttp, http_client
from tests.support.background import served
from tests.support.service import free_port

KEY = "rpa_managementkey0123456789"
L4 = EndpointSettings(
    name="l4",
    image="ghcr.io/acme/runner:1",
    gpu=("AMPERE_24", "ADA_24"),
    exclude=("NVIDIA RTX A5000",),
    gpu_count=2,
    min_cuda="12.6",
    workers_max=4,
    workers_min=1,
    regions=("EU-RO-1",),
    disk_gb=40,
    volumes=("vol1",),
    registry="reg1",
    env={"HF_HOME": "/cache", MARK: "acme/runpod/l4"},
    timeout=22_000.0,
)
CPU = EndpointSettings(name="cpu", image="ghcr.io/acme/runner:1", cpu=(Cpu(flavor="cpu5c", vcpus=4),), timeout=60.0)


class Clock:
    """Time that only sleeping moves on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def emulator() -> Iterator[RunPodEmulator]:
    state = RunPodState({})
    account = Account(state, quota=10)
    account.volumes.add("vol1")
    account.registries.add("reg1")
    with served(lambda: runpod_emulator(state, api_key="rpa_runtime", account=account, management_key=KEY)) as made:
        yield made


Drive = Callable[[Management], Awaitable[Any]]


def driven(url: str, drive: Drive, *, key: str = KEY, clock: Clock | None = None, deadline: float = 30.0) -> Any:
    clock = clock or Clock()

    async def main() -> Any:
        async with http_client() as http:
            sender = ManagementHttp(http, api_key=key, base_url=url, clock=clock, sleep=clock.sleep, deadline=deadline)
            return await drive(Management(sender))

    return asyncio.run(main())


def test_an_endpoint_is_created_read_changed_and_deleted(emulator: RunPodEmulator) -> None:
    async def drive(client: Management) -> None:
        made = await client.create(L4)
        assert made.settings == L4
        assert await client.endpoint(made.id) == made
        assert await client.endpoints() == (made,)
        wanted = EndpointSettings(name="l4", image="ghcr.io/acme/runner:2", gpu=("AMPERE_24",), env={MARK: "x"})
        changes = ["image", "gpu", "exclude", "gpu_count", "min_cuda", "env", "regions", "volumes", "registry"]
        changes += ["workers_max", "workers_min"]
        updated = await client.update(made.id, wanted, tuple(change(name) for name in changes))
        assert updated.settings == EndpointSettings(
            name="l4", image="ghcr.io/acme/runner:2", gpu=("AMPERE_24",), env={MARK: "x"}, disk_gb=40, timeout=22_000.0
        )
        assert await client.running_workers(made.id) == 0
        await client.delete(made.id)
        await client.delete(made.id)
        assert await client.endpoint(made.id) is None

    driven(emulator.management_url, drive)


def change(setting: str) -> Change:
    return Change(setting=setting, before="", after="")


def test_cpu_endpoints_the_catalog_and_the_quota_are_read(emulator: RunPodEmulator) -> None:
    async def drive(client: Management) -> None:
        made = await client.create(CPU)
        assert made.settings.cpu == CPU.cpu
        gpus = {offer.id: offer for offer in await client.gpus(1, "12.6")}
        assert (gpus["NVIDIA L4"].pool, gpus["NVIDIA L4"].price, gpus["NVIDIA L4"].stock) == (
            "AMPERE_24",
            0.684,
            "MEDIUM",
        )
        assert gpus["NVIDIA L4"].regions["EU-RO-1"] == "MEDIUM"
        assert gpus["AMD Instinct MI300X OAM"].pool is None
        assert gpus["NVIDIA L4"].memory_gb == 24
        cpus = {offer.id: offer for offer in await client.cpus(4)}
        assert {id_: offer.memory_gb for id_, offer in cpus.items()} == {"cpu3c": 2, "cpu3g": 4, "cpu5c": 2, "cpu5g": 4}
        assert await client.worker_quota() == 10
        assert await client.limits() == AccountLimits(workers=10, spending=80.0)

    driven(emulator.management_url, drive)


def test_throttled_unhealthy_and_outdated_workers_are_counted(emulator: RunPodEmulator) -> None:
    async def drive(client: Management) -> None:
        made, state = await client.create(L4), emulator.state
        state.add_worker(made.id)
        state.endpoints[made.id].unhealthy, state.endpoints[made.id].capacity = 2, 0
        for _ in range(3):
            state.submit(made.id, {"input": {}})
        assert await client.workers(made.id) == WorkerCounts(initializing=1, throttled=3, unhealthy=2)
        assert await client.rollout(made.id) == Rollout(workers=1, on_latest=1)
        await client.update(made.id, replace(L4, image="other:2"), (change("image"),))
        assert await client.rollout(made.id) == Rollout(workers=1, on_latest=0)

    driven(emulator.management_url, drive)


CALLS: dict[str, tuple[str, str, Drive]] = {
    "list": ("GET", "/v2/serverless$", lambda client: client.endpoints()),
    "get": ("GET", "/v2/serverless/ep$", lambda client: client.endpoint("ep")),
    "workers": ("GET", "/workers$", lambda client: client.running_workers("ep")),
    "releases": ("GET", "/releases$", lambda client: client.rollout("ep")),
    "gpus": ("GET", "/catalog/gpus$", lambda client: client.gpus(1, None)),
    "cpus": ("GET", "/catalog/cpus$", lambda client: client.cpus(2)),
    "bills": ("GET", "/billing/serverless$", lambda client: client.billed(3)),
    "create": ("POST", "/v2/serverless$", lambda client: client.create(L4)),
    "update": ("PATCH", "/v2/serverless/ep$", lambda client: client.update("ep", L4, (change("image"),))),
    "delete": ("DELETE", "/v2/serverless/ep$", lambda client: client.delete("ep")),
}
READS = {name for name, (method, _, _) in CALLS.items() if method == "GET"}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(
    ("fault", "read", "written"),
    [
        ({"kind": FaultKind.HANG, "seconds": 1.0}, Unavailable, OutcomeUnknown),
        ({"kind": FaultKind.LATE, "seconds": 1.0}, Unavailable, OutcomeUnknown),
        ({"kind": FaultKind.DROP}, Unavailable, OutcomeUnknown),
        ({"kind": FaultKind.ACCEPT_THEN_HANG}, Unavailable, OutcomeUnknown),
        ({"kind": FaultKind.ACCEPT_THEN_ERROR, "status": 502}, Unavailable, OutcomeUnknown),
        ({"kind": FaultKind.ERROR, "status": 200, "body": "<html>"}, Unavailable, OutcomeUnknown),
        ({"kind": FaultKind.ERROR, "status": 200, "body": "[]"}, Unavailable, OutcomeUnknown),
        ({"kind": FaultKind.ERROR, "status": 200, "body": '{"a":' * 100_000}, Unavailable, OutcomeUnknown),
        ({"kind": FaultKind.ERROR, "status": 400, "body": "<html>"}, Rejected, Rejected),
        ({"kind": FaultKind.ERROR, "status": 302, "headers": {"location": "http://127.0.0.1:1/"}}, Rejected, Rejected),
        ({"kind": FaultKind.ERROR, "status": 401}, AuthError, AuthError),
        ({"kind": FaultKind.ERROR, "status": 403}, AuthError, AuthError),
        ({"kind": FaultKind.ERROR, "status": 429, "headers": {"retry-after": "3600"}}, RateLimited, RateLimited),
    ],
    ids=lambda value: str(value.get("status", value["kind"])) if isinstance(value, dict) else value.__name__,
)
def test_a_call_that_fails_has_a_name(
    emulator: RunPodEmulator,
    name: str,
    fault: dict[str, Any],
    read: type[BridgeError],
    written: type[BridgeError],
) -> None:
    method, path, drive = CALLS[name]
    emulator.faults.add(Fault(method=method, path=path, times=3, **fault))
    expected = read if name in READS else written
    with pytest.raises(expected, match=method) as error:
        driven(emulator.management_url, drive, deadline=0.3 if "seconds" in fault else 30.0)
    assert type(error.value) is expected
    assert "\n" not in str(error.value)
    assert KEY not in str(error.value)


@pytest.mark.parametrize("name", sorted(READS))
def test_a_look_up_is_repeated_when_runpod_was_unavailable(emulator: RunPodEmulator, name: str) -> None:
    method, path, drive = CALLS[name]
    emulator.faults.add(Fault(method=method, path=path, kind=FaultKind.ERROR, status=503, times=2))
    with pytest.raises(Rejected) if name in ("workers", "releases") else _nothing():
        driven(emulator.management_url, drive)


@contextmanager
def _nothing() -> Iterator[None]:
    yield


@pytest.mark.parametrize("name", sorted(CALLS.keys() - READS))
def test_a_change_is_sent_once(emulator: RunPodEmulator, name: str) -> None:
    method, path, drive = CALLS[name]
    emulator.faults.add(Fault(method=method, path=path, kind=FaultKind.ERROR, status=503, times=1))
    with pytest.raises(OutcomeUnknown):
        driven(emulator.management_url, drive)
    assert not emulator.account.records


@contextmanager
def answering(parts: Callable[[], Iterator[bytes]]) -> Iterator[str]:
    """A server whose every answer has these parts, until the client has left."""

    async def body() -> AsyncIterator[bytes]:
        for part in parts():
            yield part
            await asyncio.sleep(0.001)

    async def answer(_request: Request) -> Response:
        return StreamingResponse(body(), media_type="application/json")

    app = Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "POST", "PATCH", "DELETE"])])
    with served(lambda: serving(app)) as url:
        yield url


def large() -> Iterator[bytes]:
    for _ in range(LARGEST_ANSWER // 2**16 + 2):
        yield b" " * 2**16


def endless() -> Iterator[bytes]:
    while True:
        yield b" "


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("parts", [large, endless])
def test_an_endless_answer_ends_the_call(name: str, parts: Callable[[], Iterator[bytes]]) -> None:
    with answering(parts) as url, pytest.raises(Unavailable if name in READS else OutcomeUnknown):
        driven(url, CALLS[name][2], deadline=2.0 if parts is large else 0.2)


@pytest.mark.parametrize("name", CALLS)
def test_an_answer_of_another_form_is_named(emulator: RunPodEmulator, name: str) -> None:
    if name == "delete":
        return  # its answer says nothing that is needed
    method, path, drive = CALLS[name]
    emulator.faults.add(Fault(method=method, path=path, kind=FaultKind.ERROR, status=200, body='{"id": 7}', times=3))
    with pytest.raises(Unavailable if name in READS else OutcomeUnknown, match="unexpected form"):
        driven(emulator.management_url, drive)


def test_nobody_there_means_that_nothing_was_sent() -> None:
    for _, _, drive in CALLS.values():
        with pytest.raises(Unavailable, match="nothing was sent"):
            driven(f"http://127.0.0.1:{free_port()}", drive)


@pytest.mark.parametrize("key", ["two\nlines", "ключ"])
def test_a_key_that_no_header_can_hold_sends_nothing(emulator: RunPodEmulator, key: str) -> None:
    with pytest.raises(BridgeError) as error:
        driven(emulator.management_url, lambda client: client.create(L4), key=key)
    assert not isinstance(error.value, OutcomeUnknown)
    assert key not in str(error.value)


def test_a_problem_is_shown_with_title_detail_and_errors_but_without_the_key(emulator: RunPodEmulator) -> None:
    problem = {
        "title": "Unprocessable Entity",
        "status": 422,
        "detail": f"bad {KEY}",
        "errors": ["disk: too\nlarge", 3],
    }
    fault = Fault(method="POST", path="/v2/serverless$", kind=FaultKind.ERROR, status=422, body=json.dumps(problem))
    emulator.faults.add(fault)
    with pytest.raises(Rejected) as error:
        driven(emulator.management_url, lambda client: client.create(L4))
    line = "RunPod: POST /v2/serverless: 422: Unprocessable Entity; bad ***; disk: too large"
    assert (str(error.value), error.value.status) == (line, 422)


def test_a_wrong_and_a_restricted_key_are_told_apart(emulator: RunPodEmulator) -> None:
    with pytest.raises(AuthError, match="401, RUNPOD_MANAGEMENT_API_KEY was refused"):
        driven(emulator.management_url, lambda client: client.endpoints(), key="rpa_wrong")
    with pytest.raises(AuthError, match="403, RUNPOD_MANAGEMENT_API_KEY may not do this"):
        driven(emulator.management_url, lambda client: client.endpoints(), key="rpa_runtime")


def test_a_short_rate_limit_is_waited_for_and_a_change_is_then_sent_once(emulator: RunPodEmulator) -> None:
    limit = {"retry-after": "12"}
    fault = Fault(method="POST", path="/v2/serverless$", kind=FaultKind.ERROR, status=429, headers=limit)
    emulator.faults.add(fault)
    clock = Clock()
    made: Endpoint = driven(emulator.management_url, lambda client: client.create(L4), clock=clock)
    assert clock.now == 1012.0
    assert [*emulator.account.records] == [made.id]


def test_a_rate_limit_that_does_not_end_is_an_error(emulator: RunPodEmulator) -> None:
    fault = Fault(
        method="POST", path="/serverless$", kind=FaultKind.ERROR, status=429, headers={"retry-after": "0"}, times=99
    )
    emulator.faults.add(fault)
    with pytest.raises(RateLimited, match="3 times"):
        driven(emulator.management_url, lambda client: client.create(L4))


def test_no_call_is_sent_while_a_window_has_no_call_left(emulator: RunPodEmulator) -> None:
    spent = {"ratelimit": '"minute";r=0;t=9, "hour";r=40;t=100'}
    fault = Fault(method="GET", path="/catalog", kind=FaultKind.ERROR, status=200, body='{"gpus": []}', headers=spent)
    clock = Clock()

    async def drive(client: Management) -> None:
        emulator.faults.add(fault)
        await client.gpus(1, None)
        await client.gpus(1, None)
        assert clock.now == 1009.0

    driven(emulator.management_url, drive, clock=clock)


def test_a_long_rate_limit_is_an_error(emulator: RunPodEmulator) -> None:
    spent = {"ratelimit": '"hour";r=0;t=1800'}
    fault = Fault(method="GET", path="/catalog", kind=FaultKind.ERROR, status=200, body='{"gpus": []}', headers=spent)

    async def drive(client: Management) -> None:
        emulator.faults.add(fault)
        await client.gpus(1, None)
        with pytest.raises(RateLimited, match="try again in 1800 s") as error:
            await client.create(L4)
        assert error.value.retry_at == 2800.0
        assert LONGEST_PAUSE < 1800

    driven(emulator.management_url, drive)
    assert not emulator.account.records


@pytest.mark.parametrize(
    "record",
    [
        {"serverlessId": "ep", "startTime": "2026-11-26T00:00:00Z", "totalAmount": "NaN"},
        {"serverlessId": "ep", "startTime": "yesterday", "totalAmount": 1},
        {"serverlessId": "ep", "totalAmount": 1},
        {"startTime": "2026-11-26T00:00:00Z", "totalAmount": 1},
    ],
)
def test_a_bill_that_makes_no_sense_is_no_money(emulator: RunPodEmulator, record: dict[str, Any]) -> None:
    body = json.dumps({"records": [record]})
    emulator.faults.add(Fault(method="GET", path="/billing", kind=FaultKind.ERROR, status=200, body=body, times=3))
    with pytest.raises(Unavailable, match="unexpected form"):
        driven(emulator.management_url, lambda client: client.billed(3))


def test_a_bill_tells_the_time_of_workers_from_disk_and_fees(emulator: RunPodEmulator) -> None:
    record = {"serverlessId": "ep", "startTime": "2026-11-26T00:00:00Z", "totalAmount": 8.9, "gpuAmount": 7.5}
    body = json.dumps({"records": [record]})
    emulator.faults.add(Fault(method="GET", path="/billing", kind=FaultKind.ERROR, status=200, body=body))
    bills = driven(emulator.management_url, lambda client: client.billed(3))
    assert bills == (Bill(endpoint="ep", day="2026-11-26", usd=8.9, usage_usd=7.5),)

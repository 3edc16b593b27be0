"""Client and emulator of RunPod's management API against the description of that API, judged by a validator of others.

RunPod's own description is used where it is at hand; what the bridge uses of it is in `recorded`, too.
"""

import asyncio
import copy
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from bridge.core.endpoints import MARK, Change, Cpu, EndpointSettings
from bridge.emulator.runpod import Account, EndpointConfig, RunPodEmulator, RunPodState, runpod_emulator
from bridge.emulator.runpod.management import PREFIX
from bridge.runpod import management_models
from bridge.runpod.management import Management
from bridge.runpod.management_http import ManagementHttp, http_client
from bridge.runpod.worker_logs import LogLine, Source, WorkerLogs, log_client
from tests.contract.description import RECORDED, Description, Exchange, vendors_file
from tests.support.background import served

KEY = "rpa_management"
MINIMAL = EndpointSettings(
    name="l4", image="runner:1", gpu=("AMPERE_24",), env={MARK: "a/b/l4"}, timeout=60.0, disk_gb=20, workers_max=1
)
WHOLE = EndpointSettings(
    name="l4",
    image="runner:2",
    gpu=("ADA_24", "AMPERE_24"),
    exclude=("NVIDIA L4",),
    gpu_count=2,
    min_cuda="12.6",
    workers_max=4,
    workers_min=1,
    regions=("EU-RO-1",),
    disk_gb=40,
    volumes=("vol1",),
    registry="reg1",
    env={"A": "b", MARK: "a/b/l4"},
    timeout=90.0,
)
CPU = EndpointSettings(name="cpu", image="runner:1", cpu=(Cpu(flavor="cpu5c", vcpus=4),), timeout=60.0, workers_max=1)
SETTINGS = (
    *("name", "image", "gpu", "exclude", "gpu_count", "min_cuda", "cuda_versions", "workers_max", "regions"),
    *("disk_gb", "volumes", "registry", "env", "timeout", "scaling", "flashboot"),
)


@pytest.fixture(params=["recorded", "runpod"])
def description(request: pytest.FixtureRequest) -> Description:
    if request.param == "recorded":
        return Description(RECORDED, PREFIX)
    path = vendors_file()
    if path is None:
        pytest.skip("RunPod's OpenAPI description is not part of this project; RUNPOD_OPENAPI may name a copy")
    return Description(path, PREFIX)


@pytest.fixture
def emulator() -> Iterator[RunPodEmulator]:
    state = RunPodState({"by-hand": EndpointConfig(workers_max=1)})
    account = Account(state, quota=12)
    account.volumes.add("vol1")
    account.registries.add("reg1")
    with served(lambda: runpod_emulator(state, api_key="rpa_runtime", account=account, management_key=KEY)) as made:
        yield made


def exchange(request: httpx.Request, response: httpx.Response) -> Exchange:
    return Exchange(
        method=request.method,
        url=str(request.url),
        sent=json.loads(request.content) if request.content else None,
        status=response.status_code,
        content_type=response.headers.get("content-type", "").split(";")[0],
        answer=json.loads(response.content) if response.content else None,
    )


async def drive(client: Management) -> None:
    """Every call that the client can make, with every setting."""
    made, cpu = await client.create(MINIMAL), await client.create(CPU)
    await client.create(WHOLE)
    for settings in (WHOLE, MINIMAL):
        await client.update(made.id, settings, tuple(Change(setting=s, before="", after="") for s in SETTINGS))
    for setting in SETTINGS:
        await client.update(made.id, WHOLE, (Change(setting=setting, before="", after=""),))
    await client.update(cpu.id, CPU, (Change(setting="cpu", before="", after=""),))
    await client.endpoints()
    await client.endpoint(made.id)
    await client.endpoint("gone")
    await client.running_workers(made.id)
    await client.rollout(made.id)
    await client.gpus(1, None)
    await client.gpus(2, "12.6")
    await client.cpus(4)
    await client.billed(3)
    await client.delete(made.id)
    await client.delete(made.id)


def test_every_call_of_the_client_and_every_answer_is_as_described(
    emulator: RunPodEmulator, description: Description
) -> None:
    seen: list[Exchange] = []

    async def note(response: httpx.Response) -> None:
        await response.aread()
        seen.append(exchange(response.request, response))

    async def main() -> None:
        async with http_client() as http:
            http.event_hooks["response"] = [note]
            await drive(Management(ManagementHttp(http, api_key=KEY, base_url=emulator.management_url)))

    asyncio.run(main())
    assert {each.method for each in seen} == {"GET", "POST", "PATCH", "DELETE"}
    assert [problem for each in seen for problem in description.problems(each)] == []


LOOKS = (
    "/v2/serverless",
    "/v2/serverless/by-hand",
    "/v2/serverless/by-hand/workers",
    "/v2/serverless/by-hand/releases",
    "/v2/serverless/gone",
    "/v2/catalog/gpus",
    "/v2/catalog/gpus?include=AVAILABILITY&product=SERVERLESS",
    "/v2/catalog/cpus",
    "/v2/catalog/cpus?include=AVAILABILITY&product=SERVERLESS",
    "/v2/catalog/datacenters",
    "/v2/catalog/datacenters?include=GPU_AVAILABILITY,CPU_AVAILABILITY",
    "/v2/billing/serverless",
    "/v2/billing/serverless?lastN=3&bucketSize=hour",
    "/v2/billing/serverless?serverlessId=by-hand",
)


def with_some_history(emulator: RunPodEmulator) -> None:
    """A worker, a finished request, and a release."""
    state = emulator.state
    request = state.submit("by-hand", {"input": {}})
    worker = state.add_worker("by-hand")
    state.take(worker.id)
    state.done(worker.id, request.id, {"output": 1})
    emulator.account.update("by-hand", {"image": "runner:3", "env": {"A": "b"}})
    state.endpoints["by-hand"].unhealthy, state.endpoints["by-hand"].capacity = 1, 0
    state.submit("by-hand", {"input": {}})


def called(emulator: RunPodEmulator, method: str, path: str, body: Any = None, key: str = KEY) -> Exchange:
    headers = {"authorization": f"Bearer {key}"}
    with httpx.Client(trust_env=False) as http:
        response = http.request(method, f"{emulator.management_url}{path}", json=body, headers=headers)
        return exchange(response.request, response)


def test_every_answer_of_the_emulator_is_as_described(emulator: RunPodEmulator) -> None:
    path = vendors_file()
    if path is None:
        pytest.skip("RunPod's OpenAPI description is not part of this project; RUNPOD_OPENAPI may name a copy")
    description = Description(path, PREFIX)
    with_some_history(emulator)
    seen = [called(emulator, "GET", path) for path in LOOKS]
    refused = [called(emulator, "GET", "/v2/serverless", key=key) for key in ("wrong", "rpa_runtime")]
    refused += [called(emulator, "POST", "/v2/serverless", body) for body in ({}, {"a": 1})]
    emulator.management.calls_per_minute = 0
    refused.append(called(emulator, "GET", "/v2/serverless"))
    assert [each.status for each in refused] == [401, 403, 422, 422, 429]
    problems = [problem for each in seen for problem in description.problems(each)]
    problems += [problem for each in refused for problem in description.problems(each, sent_on_purpose=True)]
    assert problems == []
    assert all(each.status < 300 or each.url.endswith("gone") for each in seen)


@pytest.mark.parametrize("source", [None, Source.CONTAINER, Source.SYSTEM])
def test_the_log_of_a_worker_is_asked_for_and_streamed_as_described(
    emulator: RunPodEmulator, description: Description, source: Source | None
) -> None:
    worker = emulator.state.add_worker("by-hand")
    for each in Source:
        emulator.state.logs.add(worker.id, each, f"from {each}")
    seen: list[Exchange] = []

    async def note(response: httpx.Response) -> None:
        kind = response.headers["content-type"].split(";")[0]
        url, status = str(response.request.url), response.status_code
        streamed = Exchange(method="GET", url=url, sent=None, status=status, content_type=kind, answer="id: ...")
        seen.append(streamed)

    async def main() -> list[LogLine]:
        async with log_client() as http:
            http.event_hooks["response"] = [note]
            logs = WorkerLogs(http, api_key=KEY, base_url=emulator.management_url, key_setting="KEY")
            lines = logs.past("by-hand", worker.id, source=source, tail=2 if source is None else 1)
            return [line async for line in lines]

    found = asyncio.run(main())
    assert [line.text for line in found] == [f"from {each}" for each in Source if source in (None, each)]
    assert [problem for each in seen for problem in description.problems(each)] == []
    gone = called(emulator, "GET", "/v2/serverless/by-hand/workers/gone/logs")
    assert (gone.status, list(description.problems(gone))) == (404, [])


OTHER_VALUES: tuple[Any, ...] = (
    None,
    "",
    "x",
    "12.6",
    0,
    1,
    -1,
    5000,
    0.2,
    True,
    [],
    ["x"],
    ["x", "x"],
    [3],
    {},
    {"k": 1},
)


def variants(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The body with each value left out, replaced by others, and with a key too many in each object."""
    for path in _paths(body):
        for value in OTHER_VALUES:
            yield _changed(body, path, value)
        yield _changed(body, path, ...)
        if isinstance(_at(body, path), dict):
            yield _changed(body, (*path, "unknown"), 1)
    yield {**body, "unknown": 1}


def _paths(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from _paths(value, (*path, key))


def _at(node: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        node = node[key]
    return node


def _changed(body: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """A copy with another value there; `...` leaves it out."""
    made = copy.deepcopy(body)
    parent = _at(made, path[:-1])
    if value is ...:
        del parent[path[-1]]
    else:
        parent[path[-1]] = value
    return made


EXTRA = {
    "args": "",
    "ports": ["80/http"],
    "workers": {"min": 0, "max": 1, "idleTimeout": 5},
    "scaling": {"type": "QUEUE_DELAY", "queueDelay": 4},
}
CREATIONS = [
    management_models.creation(WHOLE),
    management_models.creation(CPU),
    {**management_models.creation(MINIMAL), **EXTRA},
    {**management_models.creation(MINIMAL), "type": "LOAD_BALANCER"},
    {**management_models.creation(MINIMAL), "gpu": {"pools": ["ADA_24"], "allowedCudaVersions": ["12.6"]}},
]
CHANGES = [
    management_models.update(WHOLE, SETTINGS),
    management_models.update(CPU, ["cpu"]),
    {"gpu": {"excludedTypes": ["NVIDIA L4"]}},
    {"gpu": {"pools": ["ADA_24"], "allowedCudaVersions": ["12.6"]}},
    EXTRA,
]


@pytest.mark.parametrize("body", CREATIONS, ids=range(len(CREATIONS)))
def test_the_emulator_refuses_as_invalid_what_the_description_does_not_allow_to_be_created(
    description: Description, body: dict[str, Any]
) -> None:
    def answered(variant: dict[str, Any]) -> int:
        account = Account(RunPodState({}), quota=10_000)
        return _status(lambda: account.create(variant))

    _agree(description, "CreateEndpointRequest", body, answered)


@pytest.mark.parametrize("body", CHANGES, ids=range(len(CHANGES)))
def test_the_emulator_refuses_as_invalid_what_the_description_does_not_allow_to_be_changed(
    description: Description, body: dict[str, Any]
) -> None:
    def answered(variant: dict[str, Any]) -> int:
        account = Account(RunPodState({"ep": EndpointConfig()}), quota=10_000)
        return _status(lambda: account.update("ep", variant))

    _agree(description, "UpdateEndpointRequest", body, answered)


def _status(act: Any) -> int:
    from bridge.emulator.runpod.bodies import Problem

    try:
        act()
    except Problem as problem:
        return problem.status
    return 200


def _agree(description: Description, schema: str, body: dict[str, Any], answered: Any) -> None:
    judged = [(each, description.errors(schema, each)) for each in (body, *variants(body))]
    differing = [(each, errors[:1]) for each, errors in judged if (answered(each) == 422) is not bool(errors)]
    assert differing == [], f"{len(differing)} of {len(judged)} bodies"

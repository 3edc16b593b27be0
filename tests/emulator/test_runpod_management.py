"""The emulated management API: its rules, and that it shares its endpoints with the API for requests."""

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import httpx
import pytest

from bridge.emulator.runpod import Account, EndpointConfig, RunPodEmulator, RunPodState, WorkerImage, runpod_emulator
from bridge.emulator.runpod.billing import serverless_billing
from tests.support.background import served, until
from tests.support.clock import Clock

RUNTIME, MANAGEMENT = "rpa_runtime", "rpa_management"
BODY: dict[str, Any] = {
    "name": "l4",
    "type": "QUEUE",
    "image": "runner:1",
    "gpu": {"pools": ["AMPERE_24"]},
    "scaling": {"type": "REQUEST_COUNT", "requestCount": 1},
}
CPU = {**{k: v for k, v in BODY.items() if k != "gpu"}, "cpu": [{"id": "cpu3c", "vcpuCount": 2}]}


@pytest.fixture
def emulator() -> Iterator[RunPodEmulator]:
    state = RunPodState({})
    account = Account(state, quota=10)
    serve = lambda: runpod_emulator(state, api_key=RUNTIME, account=account, management_key=MANAGEMENT)  # noqa: E731
    with served(serve) as made:
        yield made


def call(emulator: RunPodEmulator, method: str, path: str, body: Any = None, key: str = MANAGEMENT) -> httpx.Response:
    url, headers = f"{emulator.management_url}/v2{path}", {"authorization": f"Bearer {key}"}
    return httpx.request(method, url, json=body, headers=headers, trust_env=False)


def made(emulator: RunPodEmulator, **changes: Any) -> dict[str, Any]:
    answer = call(emulator, "POST", "/serverless", {**BODY, **changes})
    assert answer.status_code == 201, answer.text
    document: dict[str, Any] = answer.json()
    return document


def test_defaults_are_runpods(emulator: RunPodEmulator) -> None:
    document = made(emulator)
    assert document["workers"] == {"min": 0, "max": 3}, "no idleTimeout for QUEUE with REQUEST_COUNT"
    assert (document["timeout"], document["flashboot"], document["env"]) == (300_000, "OFF", {})
    assert document["gpu"] == {
        "count": 1, "allowedCudaVersions": [], "minCudaVersion": None, "pools": ["AMPERE_24"]
    }  # fmt: skip
    assert document["requestUrls"]["run"] == f"{emulator.base_url}/{document['id']}/run"
    assert call(emulator, "GET", f"/serverless/{document['id']}").json() == document


@pytest.mark.parametrize(
    ("changes", "status", "detail"),
    [
        ({"gpu": ...}, 400, "exactly one of gpu or cpu"),
        ({"cpu": CPU["cpu"]}, 400, "exactly one of gpu or cpu"),
        ({"unknown": 1}, 422, "validation failed"),
        ({"image": ...}, 422, "validation failed"),
        ({"workers": {"idleTimeout": 5}}, 400, "idleTimeout is not applicable"),
        ({"workers": {"min": 2, "max": 1}}, 400, "workers.min must not exceed"),
        ({"workers": {"max": 11}}, 400, "Max workers across all endpoints must not exceed your workers quota (10)"),
        ({"gpu": {"pools": ["L4"]}}, 400, "unknown GPU pool: L4"),
        (
            {"gpu": {"pools": ["ADA_24"], "excludedTypes": ["NVIDIA L4"]}},
            400,
            "is not a GPU type in the selected pools",
        ),
        ({"gpu": {"pools": ["ADA_24"], "excludedTypes": ["NVIDIA GeForce RTX 4090"]}}, 400, "leaves no GPU type"),
        (
            {"gpu": {"pools": ["ADA_24"], "minCudaVersion": "12.6", "allowedCudaVersions": ["12.6"]}},
            400,
            "mutually exclusive",
        ),
        ({"dataCenterIds": ["XX-1"]}, 400, "unknown data center: XX-1"),
        ({"networkVolumes": ["none"]}, 404, "network volume not found"),
        ({"registry": "none"}, 404, "registry not found"),
        ({"gpu": ..., "cpu": [{"id": "cpu3c", "vcpuCount": 6}]}, 400, "power of two"),
        ({"gpu": ..., "cpu": [{"id": "cpu9", "vcpuCount": 2}]}, 400, "unknown CPU flavor"),
        ({"gpu": ..., "cpu": CPU["cpu"], "disk": 21}, 400, "disk must not exceed 20 GB"),
    ],
)
def test_what_runpod_refuses(emulator: RunPodEmulator, changes: dict[str, Any], status: int, detail: str) -> None:
    body = {key: value for key, value in {**BODY, **changes}.items() if value is not ...}
    answer = call(emulator, "POST", "/serverless", body)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert detail in answer.json()["detail"]
    assert not emulator.state.endpoints


def test_names_are_not_unique(emulator: RunPodEmulator) -> None:
    assert made(emulator)["id"] != made(emulator)["id"]
    assert len(call(emulator, "GET", "/serverless").json()["endpoints"]) == 2


def test_a_patch_changes_what_it_has(emulator: RunPodEmulator) -> None:
    before = made(emulator, env={"A": "1", "B": "2"}, gpu={**BODY["gpu"], "excludedTypes": ["NVIDIA L4"], "count": 2})
    path = f"/serverless/{before['id']}"

    def patched(**body: Any) -> dict[str, Any]:
        answer = call(emulator, "PATCH", path, body)
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document

    assert patched(env={"C": "3"})["env"] == {"C": "3"}, "the whole map"
    assert patched(gpu={"minCudaVersion": "12.6"})["gpu"]["excludedTypes"] == ["NVIDIA L4"]
    gpu = patched(gpu={"pools": ["ADA_24"]})["gpu"]
    assert ("excludedTypes" in gpu, gpu["count"], gpu["minCudaVersion"]) == (False, 2, "12.6"), "a new selection"
    assert patched(gpu={"minCudaVersion": ""})["gpu"]["minCudaVersion"] is None
    assert patched(workers={"max": 5})["workers"] == {"min": 0, "max": 5}
    assert emulator.state.endpoints[before["id"]].workers_max == 5, "at once"
    assert patched(name="other")["name"] == "other"
    for body in ({"cpu": CPU["cpu"]}, {"workers": {"max": 11}}, {"workers": {"idleTimeout": 3}}):
        assert call(emulator, "PATCH", path, body).status_code == 400


def test_image_and_variables_make_releases_and_workers_do_not(emulator: RunPodEmulator) -> None:
    path = f"/serverless/{made(emulator)['id']}"
    for body in ({"workers": {"max": 2}}, {"image": "runner:2"}, {"image": "runner:2"}, {"env": {"A": "1"}}):
        assert call(emulator, "PATCH", path, body).status_code == 200
    history = call(emulator, "GET", f"{path}/releases").json()
    assert history["endpointVersion"] == 3
    assert [[entry["field"] for entry in release["diff"]] for release in history["releases"]] == [
        ["env"],
        ["image"],
        [],
    ]


def test_keys_are_told_apart(emulator: RunPodEmulator) -> None:
    statuses = [
        call(emulator, "GET", "/serverless", key=key).status_code for key in ("none", "wrong", RUNTIME, MANAGEMENT)
    ]
    assert statuses == [401, 401, 403, 200]


def test_calls_are_limited_and_the_headers_say_so(emulator: RunPodEmulator) -> None:
    emulator.management.calls_per_minute = 2
    first, second, third = (call(emulator, "GET", "/serverless") for _ in range(3))
    assert first.headers["ratelimit"].startswith('"minute";r=1;t=')
    assert second.headers["ratelimit"].startswith('"minute";r=0;t=')
    assert second.headers["ratelimit-policy"].startswith('"minute";q=2;w=60')
    assert third.status_code == 429
    assert 1 <= int(third.headers["retry-after"]) <= 60


def test_stock_needs_a_product_and_can_be_set(emulator: RunPodEmulator) -> None:
    emulator.account.catalog.stock["ADA_24"] = {"EU-RO-1": "LOW"}
    emulator.account.catalog.stock["NVIDIA B200"] = {}
    assert call(emulator, "GET", "/catalog/gpus?include=AVAILABILITY").status_code == 400
    assert call(emulator, "GET", "/catalog/gpus?count=2").status_code == 400
    gpus = call(emulator, "GET", "/catalog/gpus?include=AVAILABILITY&product=SERVERLESS&count=2").json()["gpus"]
    by_id = {gpu["id"]: gpu for gpu in gpus}
    assert by_id["NVIDIA GeForce RTX 4090"]["availability"] == "LOW"
    assert [each["id"] for each in by_id["NVIDIA GeForce RTX 4090"]["dataCenters"]] == ["EU-RO-1"]
    assert (by_id["NVIDIA B200"]["availability"], "dataCenters" in by_id["NVIDIA B200"]) == ("NONE", False)
    assert "availability" not in call(emulator, "GET", "/catalog/gpus").json()["gpus"][0]


def test_the_quota_counts_all_endpoints(emulator: RunPodEmulator) -> None:
    made(emulator, workers={"max": 6})
    assert call(emulator, "GET", "/account/limits").json()["serverlessWorkers"] == {"limit": 10, "current": 6}
    assert call(emulator, "POST", "/serverless", {**BODY, "workers": {"max": 5}}).status_code == 400
    made(emulator, workers={"max": 4})


def test_an_endpoint_that_was_there_before_is_listed(emulator: RunPodEmulator) -> None:
    account = Account(RunPodState({"by-hand": EndpointConfig(workers_max=2)}))
    (record,) = account.all()
    assert (record["id"], record["workers"]["max"]) == ("by-hand", 2)
    account.state.endpoints["by-hand"].workers_max = 0
    assert account.known("by-hand")["workers"]["max"] == 0, "as RunPod reduces it"


WORKER = """
    import os, runpod
    runpod.serverless.start({"handler": lambda job: {"got": job["input"], "variable": os.environ["MINE"]}})
"""


def test_the_sdk_uses_a_created_endpoint_until_it_is_deleted(tmp_path: Path) -> None:
    import runpod

    program = tmp_path / "worker.py"
    program.write_text(textwrap.dedent(WORKER))
    state = RunPodState({})
    image = WorkerImage(command=[sys.executable, str(program)])
    with served(lambda: runpod_emulator(state, api_key=RUNTIME, new_image=image)) as emulator:
        emulator.account.secrets["mine"] = "x"
        created = call(
            emulator, "POST", "/serverless", {**BODY, "env": {"MINE": "{{ RUNPOD_SECRET_mine }}"}}, key=RUNTIME
        ).json()
        endpoint = runpod.Endpoint(created["id"], api_key=RUNTIME)
        endpoint.rp_client.endpoint_url_base = emulator.base_url
        job = endpoint.run({"input": {"a": 1}})
        until(lambda: job.status() == "COMPLETED")
        assert job.output() == {"got": {"a": 1}, "variable": "x"}
        path = f"/serverless/{created['id']}"
        workers = call(emulator, "GET", f"{path}/workers", key=RUNTIME).json()
        assert workers["summary"]["idle"] == workers["summary"]["total"] == 1
        (placed,) = workers["workers"]
        assert (placed["gpuTypeId"], placed["dataCenterId"]) == ("NVIDIA GeForce RTX 3090", "EU-RO-1")
        assert placed["uptimeSeconds"] >= 0
        billed = call(emulator, "GET", "/billing/serverless?lastN=2&bucketSize=hour", key=RUNTIME).json()
        assert [record["serverlessId"] for record in billed["records"]] == [created["id"]]
        assert billed["metadata"]["totals"]["gpuAmount"] == billed["records"][0]["totalAmount"] >= 0
        state.endpoints[created["id"]].workers_max = 0
        waiting = state.submit(created["id"], {"input": {}})
        assert call(emulator, "DELETE", path, key=RUNTIME).status_code == 204
        assert waiting.status == "CANCELLED"
        assert call(emulator, "GET", path, key=RUNTIME).status_code == 404
        until(lambda: not state.workers)


def test_a_worker_is_billed_from_its_start_until_it_has_stopped() -> None:
    """Also while it has no request; but not while it initialises. Each hour is a record of its own."""
    clock = Clock()
    clock.now = 1_800_000_000.0 // 3600 * 3600 + 3000
    state = RunPodState({"ep": EndpointConfig()}, clock=clock)
    account = Account(state)
    worker, other = state.add_worker("ep"), state.add_worker("ep")
    clock.now += 200
    state.started(worker)
    clock.now += 100
    request = state.submit("ep", {"input": {}})
    assert state.take(worker.id) is request
    clock.now += 1000
    state.done(worker.id, request.id, {"output": 1, "stopPod": True})
    clock.now += 50
    hour = 1.116  # USD, of ADA_24
    assert amounts(account) == pytest.approx([400 / 3600 * hour, 750 / 3600 * hour], abs=1e-6), "it still runs"
    state.remove_worker(worker)
    clock.now += 500
    state.remove_worker(other)
    state.tick()
    clock.now += 86_400
    assert amounts(account, "lastN=48") == pytest.approx([400 / 3600 * hour, 750 / 3600 * hour], abs=1e-6)


def amounts(account: Account, more: str = "lastN=2") -> list[float]:
    params = dict(parse_qsl(f"bucketSize=hour&{more}"))
    return [record["totalAmount"] for record in serverless_billing(account, params)["records"]]

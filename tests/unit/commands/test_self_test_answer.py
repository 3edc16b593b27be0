"""What `bridge doctor --self-test` says about each answer of a worker, and about none."""

from typing import Any

import pytest

from bridge import __version__
from bridge.commands.doctor.check import Check
from bridge.commands.doctor.self_test_answer import answered, unanswered
from bridge.core.model import EndpointHealth, Request, RequestStatus

BUILD = f"build the image of version {__version__}, and set it on the endpoint"
LOGS = "read the workers' logs in RunPod's console"
STOCK = "add GPU pools or regions to the endpoint, or try again later"

GOOD: dict[str, Any] = {
    "flavour": "gpu",
    "worker_version": __version__,
    "runner_version": "2.338.0",
    "sdk_version": "1.12.0",
    "gpus": [{"name": "NVIDIA L4", "memory_mb": 24000, "driver": "550.1"}],
    "cuda_version": "12.6",
    "disk_free_mb": 18000,
    "github_seconds": {"total": 0.2},
    "worker": "w1",
    "data_center": "EU-RO-1",
    "checks": {
        name: {"ok": True}
        for name in (
            *("runner", "gpu", "cuda", "disk", "volume", "memory", "github", "account", "sudo"),
            *("user_namespaces", "chroot"),
        )
    },
}


def checks(**changes: Any) -> dict[str, Check]:
    report = {**GOOD, **changes, "checks": {**GOOD["checks"], **changes.get("checks", {})}}
    output = {"outcome": "self_test", "self_test": report}
    request = Request(id="r", status=RequestStatus.COMPLETED, output=output)
    found = list(answered("l4", request, 12.4))
    assert all(check.subject == "l4" for check in found)
    return {check.id: check for check in found}


def shown(check: Check) -> tuple[str, str, str | None]:
    return check.status, check.evidence, check.fix


def test_a_good_worker_is_shown_in_full() -> None:
    assert {id_: shown(check) for id_, check in checks().items()} == {
        "self_test": ("ok", "worker w1 in EU-RO-1 answered after 12 s", None),
        "self_test.image": ("ok", f"version {__version__}, flavour gpu, SDK 1.12.0", None),
        "image.runner": ("ok", "2.338.0", None),
        "self_test.gpu": ("ok", "NVIDIA L4 (24000 MB), driver 550.1", None),
        "self_test.cuda": ("ok", "CUDA 12.6", None),
        "self_test.github": ("ok", "reached in 0.20 s", None),
        "self_test.disk": ("ok", "18000 MB free", None),
        **{
            f"self_test.{name}": ("ok", "available", None)
            for name in ("account", "volume", "memory", "sudo", "user_namespaces", "chroot")
        },
    }


BAD = {"ok": False, "detail": "broken"}

FAULTS: dict[str, tuple[dict[str, Any], str, tuple[str, str, str | None]]] = {
    "an old image": (
        {"worker_version": "0.1"},
        "self_test.image",
        ("warning", f"version 0.1, flavour gpu, SDK 1.12.0; the bridge is {__version__}", BUILD),
    ),
    "an old runner": (
        {"runner_version": "2.328.0"},
        "image.runner",
        ("failed", "2.328.0, which GitHub does not accept any more", "build the image with the newest runner"),
    ),
    "a broken runner": (
        {"checks": {"runner": BAD}},
        "image.runner",
        ("failed", "the runner does not work: broken", "build the image again"),
    ),
    "no runner": (
        {"runner_version": None},
        "image.runner",
        ("failed", "the runner does not work: the worker does not say why", "build the image again"),
    ),
    "no GPU": (
        {"gpus": [], "checks": {"gpu": BAD}},
        "self_test.gpu",
        ("failed", "no GPU: broken", "use the CPU image, or an endpoint with GPUs"),
    ),
    "a CPU image": ({"gpus": [], "flavour": "cpu"}, "self_test.gpu", ("skipped", "an image without GPU support", None)),
    "no CUDA without a GPU": ({"gpus": [], "flavour": "cpu"}, "self_test.cuda", ("skipped", "no GPU", None)),
    "CUDA": (
        {"checks": {"cuda": BAD}},
        "self_test.cuda",
        (
            "failed",
            "CUDA does not start: broken",
            "set min_cuda of the endpoint to the version that your jobs need",
        ),
    ),
    "GitHub": (
        {"checks": {"github": BAD}},
        "self_test.github",
        (
            "failed",
            "broken",
            "let the endpoint's workers reach GitHub; check GITHUB_API_URL of the endpoint",
        ),
    ),
    "disk": ({"checks": {"disk": BAD}}, "self_test.disk", ("failed", "broken", "raise disk_gb of the endpoint")),
    "no volume": ({"checks": {"volume": BAD}}, "self_test.volume", ("skipped", "broken", None)),
    "unknown numbers": ({"disk_free_mb": None}, "self_test.disk", ("ok", "unknown MB free", None)),
    "unknown time": ({"github_seconds": {}}, "self_test.github", ("ok", "reached", None)),
    "unknown worker": (
        {"worker": None, "data_center": None},
        "self_test",
        ("ok", "worker unknown answered after 12 s", None),
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_of_a_worker_has_its_line(name: str) -> None:
    changes, id_, expected = FAULTS[name]
    found = checks(**changes)
    assert shown(found[id_]) == expected
    assert [check.id for check in found.values() if check.status in ("failed", "warning") and check.id != id_] == []


ENDS: dict[str, tuple[Request, str, str]] = {
    "timed out": (
        Request(id="r", status=RequestStatus.TIMED_OUT),
        "a worker took it and did not answer in time",
        LOGS,
    ),
    "cancelled": (
        Request(id="r", status=RequestStatus.CANCELLED),
        "someone else cancelled it",
        "run `bridge doctor --self-test` again",
    ),
    "bad input": (
        Request(id="r", status=RequestStatus.FAILED, error="bad_input: mode: missing"),
        "the worker's image does not know self-tests: bad_input: mode: missing",
        BUILD,
    ),
    "another program": (
        Request(id="r", status=RequestStatus.COMPLETED, output={"hello": 1}),
        "the worker's image does not know self-tests",
        BUILD,
    ),
    "failed": (
        Request(id="r", status=RequestStatus.FAILED, error="line 1\nline 2" + "x" * 300),
        f"the worker failed: {('line 1 line 2' + 'x' * 300)[:200]}",
        LOGS,
    ),
    "failed without an error": (
        Request(id="r", status=RequestStatus.FAILED),
        "the worker failed: no error was told",
        LOGS,
    ),
}


@pytest.mark.parametrize("name", ENDS)
def test_each_end_without_a_report_has_its_line(name: str) -> None:
    request, evidence, fix = ENDS[name]
    (check,) = answered("l4", request, 1.0)
    assert (check.id, *shown(check)) == ("self_test", "failed", evidence, fix)


QUEUED = Request(id="r", status=RequestStatus.IN_QUEUE)
WAITS: dict[str, tuple[Request | None, EndpointHealth | None, str, str]] = {
    "a crash loop": (QUEUED, EndpointHealth(workers={"unhealthy": 1, "throttled": 1}), "workers start and fail", LOGS),
    "still starting": (
        QUEUED,
        EndpointHealth(workers={"initializing": 1, "throttled": 1}),
        "a worker is still starting",
        "wait longer with --wait; a large image takes minutes to load",
    ),
    "no machine": (QUEUED, EndpointHealth(workers={"throttled": 1}), "RunPod has no free machine", STOCK),
    "no worker": (
        QUEUED,
        EndpointHealth(),
        "RunPod started no worker",
        f"check the endpoint's maximum of workers and its stock; {STOCK}",
    ),
    "taken": (
        Request(id="r", status=RequestStatus.IN_PROGRESS),
        EndpointHealth(workers={"unhealthy": 1}),
        "a worker took it and did not answer",
        LOGS,
    ),
    "unknown": (
        Request(id="r", status=RequestStatus.MISSING),
        EndpointHealth(),
        "RunPod does not know the request",
        "run `bridge doctor --self-test` again",
    ),
    "silent": (None, EndpointHealth(), "RunPod could not be asked", "run `bridge doctor --self-test` again later"),
    "no health": (QUEUED, None, "RunPod could not be asked", "run `bridge doctor --self-test` again later"),
}


@pytest.mark.parametrize("name", WAITS)
def test_no_answer_has_its_reason(name: str) -> None:
    request, health, evidence, fix = WAITS[name]
    check = unanswered("l4", request, health, 600)
    expected = ("self_test", "failed", f"no answer within 600 s, the request was cancelled: {evidence}", fix)
    assert (check.id, *shown(check)) == expected

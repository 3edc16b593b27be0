"""The checks that a worker must pass before it takes a request."""

import asyncio
import inspect
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from runner_image.fitness import check_disk, check_runner, checks
from runner_image.limits import LIMITS
from tests.support.nvml import FakeCuda


def a_runner(root: Path, says: str, code: int = 0) -> Path:
    (root / "bin").mkdir()
    listener = root / "bin" / "Runner.Listener"
    listener.write_text(f"#!/bin/sh\necho {says}\nexit {code}\n")
    listener.chmod(0o755)
    return root


def test_a_worker_without_a_runner_is_unfit(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"Runner\.Listener is missing; check RUNNER_DIR"):
        check_runner(tmp_path, None, None)


def test_a_runner_of_the_images_version_is_fit(tmp_path: Path) -> None:
    check_runner(a_runner(tmp_path, "2.400.0"), "2.400.0", None)


@pytest.mark.parametrize(("says", "code"), [("2.399.0", 0), ("2.400.0", 1), ("Segmentation fault", 139)])
def test_a_runner_of_another_version_or_one_that_fails_is_unfit(tmp_path: Path, says: str, code: int) -> None:
    with pytest.raises(RuntimeError, match=f"needs runner version 2.400.0, but `--version` printed: {says}"):
        check_runner(a_runner(tmp_path, says, code), "2.400.0", None)


def test_a_runner_that_cannot_be_started_is_unfit(tmp_path: Path) -> None:
    (a_runner(tmp_path, "") / "bin" / "Runner.Listener").chmod(0o644)
    with pytest.raises(RuntimeError, match="Permission denied"):
        check_runner(tmp_path, "2.400.0", None)


def test_a_full_disk_is_unfit(tmp_path: Path) -> None:
    check_disk(tmp_path, 0.0)
    with pytest.raises(RuntimeError, match="use a larger container disk"):
        check_disk(tmp_path, 1e9)


@pytest.mark.parametrize(
    ("environment", "names"),
    [
        ({}, ["runner", "disk"]),
        ({"RUNNER_BUILD_TYPE": "cpu"}, ["runner", "disk"]),
        ({"RUNNER_BUILD_TYPE": "gpu"}, ["runner", "disk", "gpu", "cuda"]),
        ({"RUNNER_BUILD_TYPE": "gpu", "RUNPOD_SKIP_GPU_CHECK": "true"}, ["runner", "disk"]),
    ],
)
def test_only_the_gpu_image_needs_a_gpu(tmp_path: Path, environment: dict[str, str], names: list[str]) -> None:
    assert [check.__name__ for check in checks(tmp_path, environment, None)] == names


@pytest.fixture
def cuda(tmp_path: Path) -> FakeCuda:
    return FakeCuda(tmp_path)


def unfit(tmp_path: Path, name: str = "cuda", limit: float = 60.0) -> str | None:
    """Why a worker with the libraries and programs of this folder fails a check; None if it passes."""
    environment = {
        "RUNNER_BUILD_TYPE": "gpu",
        "LD_LIBRARY_PATH": str(tmp_path),
        "PATH": f"{tmp_path}:/usr/bin:/bin",
    }
    found = checks(tmp_path, environment, None, replace(LIMITS, fitness=limit))
    (check,) = (each for each in found if each.__name__ == name)
    assert inspect.iscoroutinefunction(check), "RunPod's SDK awaits it"
    try:
        asyncio.run(check())
    except RuntimeError as error:
        return str(error)
    return None


@pytest.mark.parametrize("count", [1, 2, 8])
def test_a_gpu_that_computes_is_fit(tmp_path: Path, cuda: FakeCuda, count: int) -> None:
    cuda.tell(count=count)
    assert unfit(tmp_path) is None


@pytest.mark.parametrize(
    ("call", "code", "said"),
    [
        ("cuInit", 999, "cuInit returned 999"),
        ("cuInit", 100, "cuInit returned 100"),
        ("cuDeviceGetCount", 3, "cuDeviceGetCount returned 3"),
        ("cuDevicePrimaryCtxRetain", 2, "cuDevicePrimaryCtxRetain returned 2 on GPU 0"),
        ("cuCtxSetCurrent", 201, "cuCtxSetCurrent returned 201 on GPU 0"),
        ("cuMemAlloc_v2", 2, "cuMemAlloc_v2 returned 2 on GPU 0"),
        ("cuMemsetD8_v2", 1, "cuMemsetD8_v2 returned 1 on GPU 0"),
        ("cuCtxSynchronize", 214, "cuCtxSynchronize returned 214 on GPU 0"),
    ],
)
def test_a_gpu_that_does_not_compute_is_unfit(tmp_path: Path, cuda: FakeCuda, call: str, code: int, said: str) -> None:
    cuda.tell(call, code)
    assert unfit(tmp_path) == f"the GPU does not work: {said}; on a machine without a GPU, use the cpu image"


def test_each_gpu_is_checked(tmp_path: Path, cuda: FakeCuda) -> None:
    cuda.tell("cuMemAlloc_v2", 2, gpu=3, count=4)
    assert "cuMemAlloc_v2 returned 2 on GPU 3" in (unfit(tmp_path) or "")


def test_a_driver_without_a_gpu_is_unfit(tmp_path: Path, cuda: FakeCuda) -> None:
    cuda.tell(count=0)
    assert "CUDA finds no GPU" in (unfit(tmp_path) or "")


def test_a_driver_that_crashes_is_unfit(tmp_path: Path, cuda: FakeCuda) -> None:
    cuda.tell("cuMemAlloc_v2", -2)
    assert "exited with code -6" in (unfit(tmp_path) or "")


def test_a_driver_that_hangs_is_unfit_and_leaves_no_process(tmp_path: Path, cuda: FakeCuda) -> None:
    cuda.tell("cuInit", -1)
    before, began = psutil.Process().children(), time.monotonic()
    assert unfit(tmp_path, limit=1.0) == "CUDA did not answer within 1 s: the GPU or its driver hangs"
    assert time.monotonic() - began < 10
    assert psutil.Process().children() == before


def test_a_driver_that_is_missing_is_unfit(tmp_path: Path) -> None:
    if Path("/usr/lib/x86_64-linux-gnu/libcuda.so.1").exists():
        pytest.skip("this machine has a driver")
    assert "libcuda.so.1: cannot open shared object file" in (unfit(tmp_path) or "")


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'NVIDIA L4, 23034, 550.54.15'", None),
        ("exit 9", "the GPU does not work: nvidia-smi exited with code 9"),
        ("true", "the GPU does not work: nvidia-smi lists no GPU"),
        ("sleep 600", "nvidia-smi did not answer within 2 s"),
    ],
)
def test_a_gpu_that_nvidia_smi_does_not_list_is_unfit(tmp_path: Path, script: str, said: str | None) -> None:
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    found = unfit(tmp_path, "gpu", limit=2.0 if "sleep" in script else 60.0)
    assert (found or "").startswith(said) if said else found is None

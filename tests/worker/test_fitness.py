"""The checks that a worker must pass before it takes a request."""

from pathlib import Path

import pytest

from runner_image.fitness import check_disk, check_runner, checks


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
        ({"RUNNER_BUILD_TYPE": "gpu"}, ["runner", "disk", "check_gpu", "check_cuda"]),
        ({"RUNNER_BUILD_TYPE": "gpu", "RUNPOD_SKIP_GPU_CHECK": "true"}, ["runner", "disk"]),
    ],
)
def test_only_the_gpu_image_needs_a_gpu(tmp_path: Path, environment: dict[str, str], names: list[str]) -> None:
    assert [check.__name__ for check in checks(tmp_path, environment, None)] == names

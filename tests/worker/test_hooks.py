"""The job hooks of the image, started as the runner starts them: with `bash -e`, where a failure fails the job."""

import os
import subprocess
from pathlib import Path

import pytest

HOOKS = Path(__file__).parents[2] / "runner_image" / "hooks"


def run(hook: str, cwd: Path, **variables: str) -> str:
    environment = {"PATH": f"{cwd}:/usr/bin:/bin", **variables}
    command = ["bash", "-e", str(HOOKS / hook)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=True).stdout


def nvidia_smi(folder: Path, script: str) -> None:
    (folder / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "nvidia-smi").chmod(0o755)


def test_a_jobs_log_shows_where_the_job_runs(tmp_path: Path) -> None:
    nvidia_smi(tmp_path, "echo NVIDIA L4, 23034 MiB, 550.54")
    said = run("job_started.sh", tmp_path, RUNPOD_ENDPOINT_ID="ep-1", RUNPOD_POD_ID="pod-1", RUNPOD_DC_ID="EU-1")
    assert "RunPod endpoint ep-1, worker pod-1, data centre EU-1" in said
    assert "GPU: NVIDIA L4, 23034 MiB, 550.54" in said


def test_a_broken_gpu_does_not_fail_the_hook(tmp_path: Path) -> None:
    nvidia_smi(tmp_path, "exit 9")
    assert "GPU: none" in run("job_started.sh", tmp_path)


def test_a_jobs_workspace_is_emptied_after_the_job(tmp_path: Path) -> None:
    workspace = tmp_path / "web"
    (workspace / ".git" / "objects").mkdir(parents=True)
    (workspace / ".git" / "objects" / "x").touch()
    (tmp_path / "beside").touch()
    run("job_completed.sh", tmp_path, GITHUB_WORKSPACE=str(workspace))
    assert list(workspace.iterdir()) == []
    assert (tmp_path / "beside").exists()


def test_a_jobs_log_ends_with_how_it_used_the_gpu(tmp_path: Path) -> None:
    told = tmp_path / "line"
    told.write_text("GPU: NVIDIA L4, peak memory 7.1 of 24.0 GB\n")
    assert run("job_completed.sh", tmp_path, RUNNER_GPU_USAGE=str(told)) == told.read_text()


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe", "endless"])
def test_a_file_that_is_not_the_workers_does_not_harm_the_hook(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "line"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "endless":
        path.write_text("x" * 10_000)
    assert len(run("job_completed.sh", tmp_path, RUNNER_GPU_USAGE=str(path))) == (500 if kind == "endless" else 0)


def test_without_a_workspace_nothing_is_removed(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    run("job_completed.sh", tmp_path)
    assert (tmp_path / "file").exists()

"""Checks that a worker can run jobs, before it takes a request.

A check that fails raises RuntimeError with one line. The SDK logs it, reports it to RunPod and ends the worker, and
RunPod starts another one.
"""

import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from runner_image.account import Account

MIN_DISK_GB = 2.0
LIMIT = 60.0
"""s that a program may take; a broken driver can hang."""

_CUDA = "import ctypes, sys; sys.exit(ctypes.CDLL('libcuda.so.1').cuInit(0))"


def checks(root: Path, environment: Mapping[str, str], account: Account | None) -> list[Callable[[], None]]:
    """The checks of this worker.

    Args:
        root: the runner's directory.
        environment: the worker's; RUNNER_VERSION and RUNNER_BUILD_TYPE describe the image.
        account: the user that the runner runs as.
    """

    def runner() -> None:
        check_runner(root, environment.get("RUNNER_VERSION"), account)

    def disk() -> None:
        check_disk(root, float(environment.get("RUNNER_MIN_DISK_GB") or MIN_DISK_GB))

    gpu = environment.get("RUNNER_BUILD_TYPE") == "gpu" and environment.get("RUNPOD_SKIP_GPU_CHECK") != "true"
    return [runner, disk, *([check_gpu, check_cuda] if gpu else [])]


def check_runner(root: Path, version: str | None, account: Account | None) -> None:
    """The runner is installed and, if the version is known, has that version."""
    listener = root / "bin" / "Runner.Listener"
    if not listener.is_file():
        raise RuntimeError(f"{listener} is missing; check RUNNER_DIR")
    if not version:
        return
    # As the user that will run it, because even `--version` writes a log.
    code, output = _run([str(listener), "--version"], account)
    if code or output != version:
        found = output or f"nothing, and exited with code {code}"
        raise RuntimeError(f"the image needs runner version {version}, but `--version` printed: {found}")


def check_disk(directory: Path, least: float) -> None:
    """The disk has room for a job.

    Args:
        directory: on the disk to check.
        least: GB.
    """
    free = shutil.disk_usage(directory).free / 1e9
    if free < least:
        fix = "use a larger container disk (containerDiskInGb)"
        raise RuntimeError(f"{free:.1f} GB of disk space are free, but a job needs {least:.1f} GB; {fix}")


def check_gpu() -> None:
    """The driver works and finds a GPU."""
    code, output = _run(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"])
    if code or not output:
        found = f"{output[:200] or 'no GPU'}; on a machine without a GPU, use the cpu image"
        raise RuntimeError(f"nvidia-smi exited with code {code}: {found}")


def check_cuda() -> None:
    """CUDA initialises. It runs in its own process, because it can hang and holds memory."""
    code, output = _run([sys.executable, "-I", "-c", _CUDA])
    if code:
        raise RuntimeError(f"cuInit failed with code {code}: {output[-200:]}")


def _run(argv: list[str], account: Account | None = None) -> tuple[int, str]:
    """Exit code and output of a program; -1 if it could not be started or took too long."""
    user = {"user": account.uid, "group": account.gid, "extra_groups": []} if account else {}
    try:
        done = subprocess.run(
            argv,
            **user,  # type: ignore[call-overload]  # no overload takes keywords from a dictionary
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LIMIT,
            check=False,
            env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return -1, str(error)
    return done.returncode, done.stdout.strip()

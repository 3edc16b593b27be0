"""What a worker must have before it takes a request; one that lacks it says so and is replaced by RunPod.

Checks raise RuntimeError with one line; the SDK logs it, reports it and ends the worker.
"""

import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from runner_image.account import Account

MIN_DISK_GB = 2.0
LIMIT = 60.0
"""s for a program to answer; a broken driver can hang."""

_CUDA = "import ctypes, sys; sys.exit(ctypes.CDLL('libcuda.so.1').cuInit(0))"


def checks(root: Path, environment: Mapping[str, str], account: Account | None) -> list[Callable[[], None]]:
    """The checks of this worker.

    Args:
        root: the runner's directory.
        environment: the worker's: RUNNER_VERSION and RUNNER_BUILD_TYPE say what the image holds.
        account: whom the runner runs as.
    """

    def runner() -> None:
        check_runner(root, environment.get("RUNNER_VERSION"), account)

    def disk() -> None:
        check_disk(root, float(environment.get("RUNNER_MIN_DISK_GB") or MIN_DISK_GB))

    gpu = environment.get("RUNNER_BUILD_TYPE") == "gpu" and environment.get("RUNPOD_SKIP_GPU_CHECK") != "true"
    return [runner, disk, *([check_gpu, check_cuda] if gpu else [])]


def check_runner(root: Path, version: str | None, account: Account | None) -> None:
    """The runner is there and, where the version is known, answers with it."""
    listener = root / "bin" / "Runner.Listener"
    if not listener.is_file():
        raise RuntimeError(f"{listener} is missing; is RUNNER_DIR right?")
    if not version:
        return
    # As the account that will run it: the runner writes a log wherever it is asked.
    code, said = _run([str(listener), "--version"], account)
    if code or said != version:
        raise RuntimeError(f"the runner should be version {version} and says: {said or f'nothing, code {code}'}")


def check_disk(directory: Path, least: float) -> None:
    """There is room for a job.

    Args:
        directory: on the disk in question.
        least: GB.
    """
    free = shutil.disk_usage(directory).free / 1e9
    if free < least:
        raise RuntimeError(f"{free:.1f} GB of disk are free, less than {least:.1f} GB; raise containerDiskInGb")


def check_gpu() -> None:
    """The driver answers and knows a GPU."""
    code, said = _run(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"])
    if code or not said:
        raise RuntimeError(
            f"nvidia-smi answers {code}: {said[:200] or 'no GPU'}; on a machine without one use the cpu image"
        )


def check_cuda() -> None:
    """CUDA initialises; in a process of its own, because it can hang and must not outlive the check."""
    code, said = _run([sys.executable, "-I", "-c", _CUDA])
    if code:
        raise RuntimeError(f"cuInit answers {code}: {said[-200:]}")


def _run(argv: list[str], account: Account | None = None) -> tuple[int, str]:
    """Exit code and output of a program; a code of -1 when it could not be started or did not end."""
    whose = {"user": account.uid, "group": account.gid, "extra_groups": []} if account else {}
    try:
        done = subprocess.run(
            argv,
            **whose,  # type: ignore[call-overload]  # no overload takes keywords from a dictionary
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

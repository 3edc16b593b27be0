"""Checks that a worker can run jobs, before it takes a request.

A check that fails raises RuntimeError with one line. The SDK logs it, reports it to RunPod and ends the worker, and
RunPod starts another one.
"""

import asyncio
import shutil
import subprocess
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from bridge.core.worker import SelfTest
from runner_image import probes
from runner_image.account import Account
from runner_image.limits import LIMITS, Limits
from runner_image.programs import Programs, Unmet

MIN_DISK_GB = 2.0
LIMIT = 60.0
"""s that the runner may take to print its version."""

LONGEST_DETAIL = 200
"""Characters of what a program printed that are reported."""

Check = Callable[[], Awaitable[None] | None]


def checks(root: Path, environment: Mapping[str, str], account: Account | None, limits: Limits = LIMITS) -> list[Check]:
    """The checks of this worker.

    Args:
        root: the runner's directory.
        environment: the worker's; RUNNER_VERSION and RUNNER_BUILD_TYPE describe the image.
        account: the user that the runner runs as.
        limits: how long the checks of the GPU may take.
    """
    programs = Programs(environment, limits)

    def runner() -> None:
        check_runner(root, environment.get("RUNNER_VERSION"), account)

    def disk() -> None:
        check_disk(root, float(environment.get("RUNNER_MIN_DISK_GB") or MIN_DISK_GB))

    async def gpu() -> None:
        await check_gpu("nvidia-smi", probes.gpu(programs), limits.fitness)

    async def cuda() -> None:
        await check_gpu("CUDA", probes.cuda(programs), limits.fitness)

    needed = environment.get("RUNNER_BUILD_TYPE") == "gpu" and environment.get("RUNPOD_SKIP_GPU_CHECK") != "true"
    return [runner, disk, *([gpu, cuda] if needed else [])]


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


async def check_gpu(what: str, probe: Awaitable[SelfTest], limit: float) -> None:
    """A part of the GPU works.

    Args:
        what: is probed.
        probe: of the self-test.
        limit: s.
    """
    try:
        async with asyncio.timeout(limit):
            await probe
    except TimeoutError:
        raise RuntimeError(f"{what} did not answer within {limit:g} s: the GPU or its driver hangs") from None
    except Unmet as unmet:
        said = str(unmet)[:LONGEST_DETAIL]
        raise RuntimeError(f"the GPU does not work: {said}; on a machine without a GPU, use the cpu image") from None


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

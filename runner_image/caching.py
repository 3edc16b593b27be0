"""Prepares the cache of a job, before the runner starts. The hooks do the rest: see runner_image.caches."""

import asyncio
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from runner_image.installation import Installation
from runner_image.programs import Programs, Unmet
from runner_image.request import RunnerRequest

ROOT = "/runpod-volume/cache"
"""The folder of all caches. RunPod mounts a network volume at its parent: https://docs.runpod.io/storage/network-volumes"""

PROGRAM = Path(__file__).parent / "caches" / "program.py"

LEASE_MARGIN = 900.0
"""s by which a lease exceeds the job's time. The job's clean-up takes some of it."""


async def prepared(
    request: RunnerRequest, runner: Installation, environment: Mapping[str, str], emit: Callable[..., None]
) -> dict[str, str]:
    """Create the folder of all caches for the user of the jobs, if it does not exist.

    If that fails, the hook finds it out, too, and says so in the job's log.

    Args:
        request: with a `cache_gb`.
        runner: the installed runner.
        environment: the worker's; RUNNER_CACHE_DIR names another folder.
        emit: writes one event to the log, as name and fields.

    Returns:
        Variables for the hooks.
    """
    root, account = environment.get("RUNNER_CACHE_DIR") or ROOT, runner.account
    user = (str(account.uid), str(account.gid)) if account else ("-1", "-1")
    try:
        async with asyncio.timeout(runner.limits.cache):
            program = [sys.executable, "-I", str(PROGRAM), "prepare", root, *user]
            await Programs(environment, runner.limits).output(program)
    except Unmet as unmet:
        emit("cache not prepared", detail=str(unmet))
    except TimeoutError:
        emit("cache not prepared", detail=f"the network volume did not answer within {runner.limits.cache:g} s")
    return {
        "RUNNER_CACHE_DIR": root,
        "RUNNER_CACHE_GB": f"{request.cache_gb:g}",
        "RUNNER_CACHE_LEASE": f"{request.job_timeout + LEASE_MARGIN:.0f}",
    }

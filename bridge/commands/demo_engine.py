"""Runs a demo: queues jobs in the emulated GitHub, and runs the unchanged bridge until they have ended."""

import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from bridge.commands.demo_kill import Killing
from bridge.commands.demo_result import Demo
from bridge.commands.demo_routes import checked
from bridge.commands.emulation import Queue, settings
from bridge.config.file import RouteTable
from bridge.emulator.cloud import cloud, github_state
from bridge.emulator.runpod import EndpointConfig

PASS_EVERY = 1.0
"""s between the bridge's passes."""

CHECK_EVERY = 0.1
"""s between two checks of whether the demo is over."""

RESTARTS, RESTART_AFTER = 20, 0.5
"""How often a bridge that died is started again, and s before each start."""

UNSUITABLE = 2
"""The demo's exit status if the repository has jobs, but none that can run here."""

WRONG_CONFIGURATION = 2
"""The bridge's exit status for this; another start would not help."""

BRIDGE = (sys.executable, "-m", "bridge.dispatch", "--watch", str(PASS_EVERY), "--json")
"""The command that a demo runs, unchanged."""


async def run_demo(  # noqa: PLR0913 - each is an option of the command
    queue: Queue,
    routes: list[RouteTable],
    *,
    workers: int,
    limit: float,
    as_json: bool,
    runner_dir: Path | None = None,
    killing: Killing | None = None,
    command: Sequence[str] = BRIDGE,
) -> int:
    """Queue jobs in the emulated GitHub, and run the bridge until they have ended.

    Args:
        queue: queues the jobs.
        routes: of the bridge.
        workers: the most that run at the same time.
        limit: s after which the demo stops waiting.
        as_json: print one document instead of a table.
        runner_dir: the folder of an official runner; None for the stand-in.
        killing: kills a worker; None to kill none.
        command: starts the bridge.

    Returns:
        The exit status: 0 if every matched job has ended, 1 if one has not, 2 if no job could be queued.

    Raises:
        ConfigError: a route cannot work.
    """
    configured = checked(routes)
    killing = killing or Killing()
    state = github_state(killing.limits())
    config = EndpointConfig(workers_max=workers, idle_timeout=2.0)
    async with cloud(state, config, runner_dir=runner_dir) as served:
        killing.prepare(served)
        await queue(state)
        variables = settings(served, routes)
        demo = Demo(cloud=served, configured=configured, variables=variables, workers=workers, killing=killing)
        with tempfile.TemporaryFile("w+") as log:
            why = await _run_bridge(demo, command, log, limit, show=not as_json and sys.stderr.isatty())
            _report_problems(demo, log, why)
        demo.show(as_json=as_json)
    return 1 if why else UNSUITABLE if demo.unsuitable() else 0


async def _run_bridge(demo: Demo, command: Sequence[str], log: IO[str], limit: float, *, show: bool) -> str | None:
    """Run the bridge until the demo is over; otherwise the reason why it is not."""
    deadline = time.monotonic() + limit
    bridge = asyncio.create_task(_keep_bridge_running(demo, command, log.fileno()))
    try:
        await _watch(demo, bridge, deadline, show=show)
    finally:
        bridge.cancel()
        await bridge
    if demo.over():
        return None
    return "the bridge did not keep running" if time.monotonic() < deadline else f"{limit:g} s were not enough"


async def _watch(demo: Demo, bridge: "asyncio.Task[None]", deadline: float, *, show: bool) -> None:
    """Wait until the demo is over, or cannot go on; a terminal shows the table as it changes."""
    from rich.console import Console
    from rich.live import Live

    live = Live(console=Console(stderr=True), auto_refresh=False, transient=True)
    try:
        if show:
            live.start()
        while not demo.over() and time.monotonic() < deadline and not bridge.done():
            await asyncio.sleep(CHECK_EVERY)
            demo.killing.strike(demo.cloud)
            demo.killing.end_others(demo.cloud, demo.ignored)
            if show:
                live.update(demo.table(), refresh=True)
    finally:
        live.stop()


def _report_problems(demo: Demo, log: IO[str], why: str | None) -> None:
    """Print the problems that the passes reported; if the demo is not over, all logs and the reason, too."""
    for problem in demo.problems:
        print(f"bridge: {problem}", file=sys.stderr)
    if why:
        log.seek(0)
        print(log.read(), demo.cloud.runpod.scaler.logs(), sep="\n", file=sys.stderr)
        print(f"bridge: not all jobs have ended: {why}", file=sys.stderr)


async def _keep_bridge_running(demo: Demo, command: Sequence[str], log: int) -> None:
    """Run the bridge until cancelled. Start it again if it dies, as a service manager does."""
    for _ in range(RESTARTS + 1):
        starting = asyncio.create_task(_start_bridge(demo, command, log))
        try:
            bridge = await asyncio.shield(starting)
            await _read_passes(demo, bridge)
            if await bridge.wait() == WRONG_CONFIGURATION:
                return
            await asyncio.sleep(RESTART_AFTER)
        except asyncio.CancelledError:
            await _stop(demo, await starting)
            return


async def _stop(demo: Demo, bridge: asyncio.subprocess.Process) -> None:
    if bridge.returncode is None:
        bridge.send_signal(signal.SIGTERM)
    await _read_passes(demo, bridge)
    await bridge.wait()


async def _start_bridge(demo: Demo, command: Sequence[str], log: int) -> asyncio.subprocess.Process:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(demo.cloud.folder),
        "BRIDGE_MAX_WORKERS": str(demo.workers),
        **demo.variables,
    }
    return await asyncio.create_subprocess_exec(
        *command,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=log,
        limit=2**26,  # a pass over many jobs is one long line
    )


async def _read_passes(demo: Demo, bridge: asyncio.subprocess.Process) -> None:
    if bridge.stdout is None:
        return
    async for line in bridge.stdout:
        if not line.endswith(b"\n"):
            return  # the bridge was killed while it wrote this line
        document = json.loads(line)
        for job in document["jobs"]:
            demo.note(job["id"], job["route"], job["why"])
        demo.killing.heard(document)
        demo.problems |= dict.fromkeys(document["problems"])
        demo.passes += 1

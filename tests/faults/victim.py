"""A dispatcher in a process of its own that kills itself at one of its writes.

Every write to the ledger, to GitHub and to RunPod has two fault points: just before it is sent, and after its answer
has arrived but before the answer is used.
"""

import asyncio
import os
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import bridge.github.transport
import bridge.ledger.writer
import bridge.runpod.requests
from bridge.commands.composition import composed
from bridge.commands.serve import serve
from bridge.service.run import listening
from tests.faults.deployment import GITHUB_TIMING, TIMING, configured


class Points:
    """Counts fault points and kills the process at one of them.

    Args:
        fatal: the number of the fault point to die at, from 1; 0 for none.
    """

    def __init__(self, fatal: int) -> None:
        self.fatal = fatal
        self.passed = 0

    def reach(self) -> None:
        self.passed += 1
        if self.passed == self.fatal:
            os.kill(os.getpid(), signal.SIGKILL)


def run(variables: dict[str, str], fatal: int, pipe: Connection, port: int | None) -> None:
    """Run a dispatcher until a message arrives, then send back how many fault points it passed.

    Args:
        variables: its environment.
        fatal: the number of the fault point to die at, from 1; 0 for none.
        pipe: to the test.
        port: where the service listens; None for passes without a service.
    """
    os.environ.clear()
    os.environ.update(variables)
    points = Points(fatal)
    _plant_fault_points(points)
    asyncio.run(_passes(pipe) if port is None else _service(pipe, port))
    pipe.send(points.passed)


async def _passes(pipe: Connection) -> None:
    async with composed(configured(TIMING), dry_run=False, github_timing=GITHUB_TIMING) as bridge:
        while not pipe.poll():
            await bridge.reconciler.resync()
            await asyncio.sleep(0.02)


async def _service(pipe: Connection, port: int) -> None:
    stop = asyncio.Event()
    with listening("127.0.0.1", port) as listener:
        settings = configured(TIMING)
        serving = asyncio.create_task(serve(settings, listener, stop, github_timing=GITHUB_TIMING))
        while not (pipe.poll() or serving.done()):  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.02)
        stop.set()
        await serving


def _plant_fault_points(points: Points) -> None:
    writer, transport, runpod = (
        bridge.ledger.writer.Writer,
        bridge.github.transport.Transport,
        bridge.runpod.requests.RunPod,
    )
    for owner, method, planted in (
        (writer, "_commit", _around(writer._commit, points, lambda *_: True)),
        (transport, "_send", _around_async(transport._send, points, lambda _self, method, *_: method != "GET")),
        (runpod, "_call", _around_async(runpod._call, points, lambda _self, call, *_: call.method == "POST")),
    ):
        setattr(owner, method, planted)


def _around(real: Callable[..., Any], points: Points, writes: Callable[..., bool]) -> Any:
    def planted(*given: Any) -> Any:
        if writes(*given):
            points.reach()
        result = real(*given)
        if writes(*given):
            points.reach()
        return result

    return planted


def _around_async(real: Callable[..., Any], points: Points, writes: Callable[..., bool]) -> Any:
    async def planted(*given: Any, **named: Any) -> Any:
        if writes(*given):
            points.reach()
        result = await real(*given, **named)
        if writes(*given):
            points.reach()
        return result

    return planted

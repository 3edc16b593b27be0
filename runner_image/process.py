"""Runs the runner's programs: output line by line, and an end that leaves no process behind."""

import asyncio
import contextlib
import ctypes
import os
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

import psutil

from runner_image.account import Account

GROUP_GRACE = 5.0
"""s between the interrupt and the kill of a program and all that it started."""

DRAIN = 2.0
"""s to wait for the end of output when a step has left a process that holds it open."""

REAP_EVERY = 1.0
"""s between two looks for orphans that have ended: each keeps its process id until then."""

LONGEST_LINE = 64 * 1024
"""Bytes."""

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_ENDED = os.WEXITED | os.WNOHANG | os.WNOWAIT

T = TypeVar("T")


def adopt_orphans() -> None:
    """Make the kernel give orphaned descendants to this process, so that it can find and end them."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


async def unbroken(work: Awaitable[T]) -> T:
    """Wait for `work` to its end, however often this task is cancelled meanwhile."""
    task = asyncio.ensure_future(work)
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(task)
    return task.result()


class Process:
    """A program in a process group of its own. Made by `start`."""

    def __init__(self, process: asyncio.subprocess.Process, reading: "asyncio.Task[None]", before: set[int]) -> None:
        self._process = process
        self._before = before
        self._reading = reading
        self._reaping = asyncio.ensure_future(_reap({*before, process.pid}))

    @classmethod
    async def start(
        cls,
        argv: Sequence[str],
        *,
        cwd: Path,
        environment: Mapping[str, str],
        on_line: Callable[[str], None],
        account: Account | None = None,
    ) -> Self:
        """Start a program.

        Args:
            argv: program and arguments; nothing secret, since any process can read them.
            cwd: its working directory.
            environment: all of its environment.
            on_line: called with each line of its output, stderr included.
            account: whom it runs as; None for this process's user.
        """
        whose: dict[str, Any] = {}
        if account:
            whose = {"user": account.uid, "group": account.gid, "extra_groups": []}
        before = {child.pid for child in psutil.Process().children()}
        # A pipe of our own: with asyncio's, before Python 3.12.5, an exit is only heard of when a step that the
        # program left behind has closed it too. https://github.com/python/cpython/issues/119710
        reader, writer = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *argv,
                cwd=cwd,
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=writer,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
                **whose,
            )
        except BaseException:
            os.close(reader)
            raise
        finally:
            os.close(writer)
        return cls(process, asyncio.ensure_future(_read(reader, on_line)), before)

    @property
    def pid(self) -> int:
        """Its process id, and its group's."""
        return self._process.pid

    async def wait(self) -> int:
        """Wait for its end and its output.

        Returns:
            The exit code, negative for a signal.
        """
        code = await self._process.wait()
        await asyncio.wait([self._reading], timeout=DRAIN)
        return code

    async def stop(self, *, alone: float = 0.0) -> None:
        """End it and everything that it started: an interrupt, a grace, a kill.

        Args:
            alone: s for which the program alone is interrupted, before its whole group is.
        """
        if alone:
            await self._interrupt(os.kill, alone)
        await self._interrupt(os.killpg, GROUP_GRACE)
        self._signal(os.killpg, signal.SIGKILL)
        self._reaping.cancel()
        await self._process.wait()  # before the rest: what it leaves becomes this process's own only by its end
        await asyncio.to_thread(_kill_descendants, self._before)
        await asyncio.wait([self._reading], timeout=DRAIN)  # its last words may be of a job that it was just given
        self._reading.cancel()
        await asyncio.wait([self._reading, self._reaping])

    async def _interrupt(self, kill: Callable[[int, int], None], grace: float) -> None:
        if self._process.returncode is None:
            self._signal(kill, signal.SIGINT)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(self._process.wait()), grace)

    def _signal(self, kill: Callable[[int, int], None], number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(self._process.pid, number)


async def _reap(spared: set[int]) -> None:
    while True:
        await asyncio.sleep(REAP_EVERY)
        _reap_once(spared)


def _reap_once(spared: set[int]) -> None:
    """Reap orphans that have ended. asyncio and the SDK wait for the spared children, whose codes must not be taken."""
    with contextlib.suppress(ChildProcessError):
        if os.waitid(os.P_ALL, 0, _ENDED):  # asking costs less than the search
            for child in psutil.Process().children():
                if child.pid not in spared:
                    os.waitpid(child.pid, os.WNOHANG)


async def _read(pipe: int, on_line: Callable[[str], None]) -> None:
    """Call `on_line` with each line."""
    stream, pending = asyncio.StreamReader(), b""
    protocol = asyncio.StreamReaderProtocol(stream)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, os.fdopen(pipe, "rb"))
    with contextlib.closing(transport):
        while chunk := await stream.read(LONGEST_LINE):
            *lines, pending = (pending + chunk).split(b"\n")
            pending = pending[: LONGEST_LINE + 1]
            for line in lines:
                on_line(_text(line))
    if pending:
        on_line(_text(pending))


def _text(line: bytes) -> str:
    """A line as text; an over-long one up to a blank, for no mask would know half a secret."""
    if len(line) > LONGEST_LINE:
        line = line[: line.rfind(b" ", 0, LONGEST_LINE) + 1]
    return line.decode(errors="replace").rstrip("\r")


def _kill_descendants(spared: set[int]) -> None:
    """Kill what steps left behind, wherever it has hidden: orphans are children of this process by now."""
    for _ in range(10):
        children = [child for child in psutil.Process().children() if child.pid not in spared]
        doomed = [each for child in children for each in (child, *_below(child))]
        if not doomed:
            return
        for process in doomed:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(children, timeout=1)


def _below(process: psutil.Process) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return list(process.children(recursive=True))
    return []

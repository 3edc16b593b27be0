"""Runs the runner's programs: reads their output line by line, and leaves no process behind."""

import asyncio
import contextlib
import ctypes
import os
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Self, TypeVar

import psutil

from runner_image.installation import Installation
from runner_image.limits import Limits

LONGEST_LINE = 64 * 1024
"""Bytes of a line of output that are kept."""

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_ENDED = os.WEXITED | os.WNOHANG | os.WNOWAIT

T = TypeVar("T")


def adopt_orphans() -> None:
    """Make this process the parent of its orphaned descendants, so that it can find and kill them."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


async def unbroken(work: Awaitable[T]) -> T:
    """Wait until `work` is done, even if this task is cancelled meanwhile."""
    task = asyncio.ensure_future(work)
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(task)
    return task.result()


class Process:
    """A program in its own process group. Created by `start`."""

    def __init__(
        self, process: asyncio.subprocess.Process, reading: "asyncio.Task[None]", before: set[int], limits: Limits
    ) -> None:
        self._process = process
        self._before = before
        self._limits = limits
        self._reading = reading
        self._reaping = asyncio.ensure_future(_reap({*before, process.pid}, limits.reap_every))

    @classmethod
    async def start(
        cls,
        argv: Sequence[str],
        runner: Installation,
        *,
        environment: Mapping[str, str],
        on_line: Callable[[str], None],
    ) -> Self:
        """Start a program in the runner's directory, as the runner's user.

        Args:
            argv: program and arguments, without secrets: every process can read them.
            runner: the installed runner.
            environment: its complete environment.
            on_line: called with each line of stdout and stderr.
        """
        user: dict[str, Any] = {}
        if account := runner.account:
            user = {"user": account.uid, "group": account.gid, "extra_groups": []}
        before = {child.pid for child in psutil.Process().children()}
        # Not asyncio's pipe: up to Python 3.12, and before 3.13.15 and 3.14.7, asyncio reports the exit only when every
        # process that the program left behind has closed the pipe, too.
        # https://github.com/python/cpython/issues/119710
        reader, writer = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *argv,
                cwd=runner.root,
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=writer,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
                **user,
            )
        except BaseException:
            os.close(reader)
            raise
        finally:
            os.close(writer)
        return cls(process, asyncio.ensure_future(_read(reader, on_line)), before, runner.limits)

    @property
    def pid(self) -> int:
        """The id of the process and of its group."""
        return self._process.pid

    async def wait(self) -> int:
        """Wait for its exit and the end of its output.

        Returns:
            The exit code, negative for a signal.
        """
        code = await self._process.wait()
        await asyncio.wait([self._reading], timeout=self._limits.drain)
        return code

    async def stop(self, *, alone: float = 0.0) -> None:
        """Interrupt it and everything that it started; kill what is left.

        Args:
            alone: s to wait after interrupting only the program, before its whole group is interrupted.
        """
        if alone:
            await self._interrupt(os.kill, alone)
        await self._interrupt(os.killpg, self._limits.group_interrupt)
        self._signal(os.killpg, signal.SIGKILL)
        self._reaping.cancel()
        with contextlib.suppress(TimeoutError):  # a network volume may keep it in the kernel
            # First: only then do its children become children of this process.
            await asyncio.wait_for(asyncio.shield(self._process.wait()), self._limits.killed)
        await asyncio.to_thread(_kill_descendants, self._before)
        await asyncio.wait([self._reading], timeout=self._limits.drain)  # its last lines may name a job
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


async def _reap(spared: set[int], every: float) -> None:
    while True:
        await asyncio.sleep(every)
        _reap_once(spared)


def _reap_once(spared: set[int]) -> None:
    """Reap orphans that have exited, but not the spared children: asyncio and the SDK wait for their exit codes."""
    with contextlib.suppress(ChildProcessError):
        if os.waitid(os.P_ALL, 0, _ENDED):  # cheaper than the search
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
    """A line as text. One that is too long is cut at a space: half of a secret would not be masked."""
    if len(line) > LONGEST_LINE:
        line = line[: line.rfind(b" ", 0, LONGEST_LINE) + 1]
    return line.decode(errors="replace").rstrip("\r")


def _kill_descendants(spared: set[int]) -> None:
    """Kill everything that steps left behind. Orphans are children of this process by now."""
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

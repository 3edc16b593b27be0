"""Runs programs that may hang, print without end or be missing."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bridge.core.worker import SelfTest
from runner_image.account import Account
from runner_image.limits import Limits

LONGEST_OUTPUT = 64 * 1024
"""Bytes of a program's output that are read."""

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def program_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What a program gets of the worker's environment, which contains secrets: what it needs to start."""
    libraries = environment.get("LD_LIBRARY_PATH", "")  # images with CUDA set it
    return {"PATH": environment.get("PATH") or _PATH, "LANG": "C.UTF-8", "LD_LIBRARY_PATH": libraries}


class Unmet(Exception):
    """A probe failed.

    Args:
        detail: why, for people.
        facts: what it found nevertheless.
    """

    def __init__(self, detail: str, facts: SelfTest | None = None) -> None:
        super().__init__(detail)
        self.facts = facts or SelfTest()


class Programs:
    """Runs programs that may hang, print without end or be missing. None survives its probe.

    Args:
        environment: the worker's, of which programs get only what they need to start.
        limits: how long a probe may take.
    """

    def __init__(self, environment: Mapping[str, str], limits: Limits) -> None:
        self._environment = program_environment(environment)
        self._limits = limits

    async def output(self, argv: Sequence[str], account: Account | None = None) -> str:
        """What a program prints.

        Args:
            argv: program and arguments.
            account: the user that it runs as; None for this process's user.

        Raises:
            Unmet: it is missing, failed, or printed too much.
        """
        name = Path(argv[0]).name
        process, pipe = await self._start(argv, account)
        try:
            text = await _read_to_end(pipe, name)
            code = await process.wait()
        finally:
            await self._end(process)
        if code:
            raise Unmet(f"{name} exited with code {code}: {last_line(text) or 'it printed nothing'}")
        return text

    async def _start(self, argv: Sequence[str], account: Account | None) -> tuple[asyncio.subprocess.Process, int]:
        """Start a program; returns it with a pipe of its output."""
        user: dict[str, Any] = {"user": account.uid, "group": account.gid, "extra_groups": []} if account else {}
        reader, writer = os.pipe()  # not asyncio's pipe, for the reason in runner_image.process
        try:
            process = await asyncio.create_subprocess_exec(
                *argv,
                **user,
                cwd="/",
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=writer,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            os.close(reader)
            raise Unmet(f"{Path(argv[0]).name} cannot be started: {error.strerror}") from None
        except BaseException:
            os.close(reader)
            raise
        finally:
            os.close(writer)
        return process, reader

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(TimeoutError):  # a program that a broken driver keeps in the kernel does not end
            await asyncio.wait_for(process.wait(), self._limits.killed)


async def _read_to_end(pipe: int, name: str) -> str:
    stream, output = asyncio.StreamReader(), b""
    protocol = asyncio.StreamReaderProtocol(stream)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, os.fdopen(pipe, "rb"))
    with contextlib.closing(transport):
        while chunk := await stream.read(LONGEST_OUTPUT):
            output += chunk
            if len(output) > LONGEST_OUTPUT:
                raise Unmet(f"{name} printed more than {LONGEST_OUTPUT} bytes")
    return output.decode(errors="replace").strip()


def last_line(text: str) -> str:
    return text.splitlines()[-1] if text else ""

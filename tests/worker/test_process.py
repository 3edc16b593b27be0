"""How the runner's programs are stopped, whatever they and their children do."""

import asyncio
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from runner_image.installation import Installation
from runner_image.limits import LIMITS, Limits
from runner_image.process import Process, adopt_orphans
from tests.support.background import until, until_async

MARK = f"86399.{os.getpid()}"  # s; a long time, and easy to find among all processes


def sleepers() -> list[psutil.Process]:
    return [p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", MARK]]


@pytest.fixture(autouse=True)
def _no_sleepers() -> Iterator[None]:
    adopt_orphans()
    yield
    left = sleepers()
    for each in left:
        each.kill()
    assert left == []


def ran(
    script: str,
    folder: Path,
    *,
    stop_at: str | None = None,
    meanwhile: Callable[[], None] = lambda: None,
    limits: Limits = LIMITS,
) -> tuple[int | None, list[str], float]:
    """Run a shell script to its end, or stop it at a line of its output.

    Returns:
        Its exit code, its lines, and the seconds that stopping took; `meanwhile` was called at each line.
    """
    runner = Installation(root=folder, limits=limits)
    lines: list[str] = []

    def on_line(line: str) -> None:
        lines.append(line)
        meanwhile()

    async def run() -> tuple[int | None, float]:
        started = await Process.start(
            ["bash", "-c", script], runner, environment={"PATH": "/usr/bin:/bin"}, on_line=on_line
        )
        code = None
        if stop_at is None:
            code = await started.wait()
        else:
            await until_async(lambda: stop_at in lines)
        began = time.monotonic()
        await started.stop()
        return code, time.monotonic() - began

    code, seconds = asyncio.run(asyncio.wait_for(run(), 30))
    return code, lines, seconds


def test_a_program_ends_with_its_code_and_all_its_lines(tmp_path: Path) -> None:
    code, lines, _ = ran("echo one; echo two >&2; printf three; exit 7", tmp_path)
    assert (code, lines) == (7, ["one", "two", "three"])


def test_a_line_that_is_too_long_is_cut_at_a_space(tmp_path: Path) -> None:
    """Half of a secret would not be masked."""
    script = "x=$(printf '%01000d' 0); printf 'one two '; for i in {1..200}; do printf $x; done; echo; echo three; "
    _, lines, _ = ran(f"{script} for i in {{1..66}}; do printf $x; done; echo ' four'; printf five", tmp_path)
    assert lines == ["one two ", "three", "", "five"]


def test_a_process_that_keeps_the_output_open_does_not_delay_the_exit(tmp_path: Path) -> None:
    """With asyncio's own pipe, Python 3.12 would delay it until the last writer is gone."""
    code, lines, _ = ran(f"echo line; setsid sleep {MARK} & sleep 0.3; exit 3", tmp_path)
    assert (code, lines) == (3, ["line"])


def zombies() -> list[psutil.Process]:
    return [p for p in psutil.Process().children() if p.status() == psutil.STATUS_ZOMBIE]


def test_orphans_do_not_pile_up_while_a_program_runs(tmp_path: Path) -> None:
    earlier = subprocess.Popen(["sh", "-c", "exit 5"])
    until(lambda: zombies() != [])
    seen: list[int] = []
    script = "for i in {1..20}; do (setsid true &); done; for i in {1..15}; do sleep 0.1; echo; done; exit 7"
    limits = Limits(reap_every=0.01)
    code, _, _ = ran(script, tmp_path, meanwhile=lambda: seen.append(len(zombies())), limits=limits)
    assert code == 7
    assert min(seen) == 1, "only the earlier one, once all others have exited"
    assert earlier.wait() == 5, "other children of this process keep their exit codes"


def test_reaping_orphans_loses_no_exit_code(tmp_path: Path) -> None:
    assert [ran("exit 7", tmp_path, limits=Limits(reap_every=0.0))[0] for _ in range(20)] == [7] * 20


def test_a_program_is_interrupted_before_its_group_is(tmp_path: Path) -> None:
    """GitHub's runner needs this: a signal to its group would reach the step, too."""
    step = "trap 'echo step; exit' INT; echo ready; while :; do sleep 0.05; done"
    script = f"trap 'echo told; sleep 0.5; exit 3' INT; (trap - INT; exec bash -c \"{step}\") & wait"

    async def run() -> tuple[int, list[str]]:
        lines: list[str] = []
        runner = Installation(root=tmp_path)
        environment = {"PATH": "/usr/bin:/bin"}
        started = await Process.start(["bash", "-c", script], runner, environment=environment, on_line=lines.append)
        await until_async(lambda: "ready" in lines)
        await started.stop(alone=20)
        return await started.wait(), lines

    assert asyncio.run(asyncio.wait_for(run(), 30)) == (3, ["ready", "told"])


@pytest.mark.parametrize("attempt", range(5))
def test_a_stuck_program_and_all_its_descendants_are_killed(tmp_path: Path, attempt: int) -> None:
    """A kill takes time: the descendants become children of this process only when the program is gone."""
    script = f"trap '' INT; setsid bash -c 'sleep {MARK} & echo ready; sleep {MARK}; :' & kill -STOP $$"
    _, _, seconds = ran(script, tmp_path, stop_at="ready", limits=Limits(group_interrupt=0.1))
    assert seconds < 5


def test_a_killed_program_that_the_kernel_keeps_does_not_keep_the_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        runner = Installation(root=tmp_path, limits=Limits(group_interrupt=0.1, killed=0.2))
        started = await Process.start(["true"], runner, environment={}, on_line=lambda _: None)
        with monkeypatch.context() as patched:
            patched.setattr(asyncio.subprocess.Process, "wait", lambda _: asyncio.Event().wait())
            await started.stop()
        await started.wait()

    asyncio.run(asyncio.wait_for(run(), 10))

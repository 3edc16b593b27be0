"""The end of the runner's programs, however they and what they started behave."""

import asyncio
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from runner_image import process
from runner_image.process import Process, adopt_orphans
from tests.support.background import until

MARK = f"86399.{os.getpid()}"  # s; long, and easy to find among the machine's processes


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
    script: str, folder: Path, *, stop_after: float | None = None, meanwhile: Callable[[], None] = lambda: None
) -> tuple[int | None, list[str], float]:
    """A program's exit code, its lines, and the seconds that it took to be rid of it; `meanwhile` at each line."""
    lines: list[str] = []

    def on_line(line: str) -> None:
        lines.append(line)
        meanwhile()

    async def run() -> tuple[int | None, float]:
        started = await Process.start(
            ["bash", "-c", script], cwd=folder, environment={"PATH": "/usr/bin:/bin"}, on_line=on_line
        )
        code = None
        if stop_after is None:
            code = await started.wait()
        else:
            await asyncio.sleep(stop_after)
        began = time.monotonic()
        await started.stop()
        return code, time.monotonic() - began

    code, seconds = asyncio.run(asyncio.wait_for(run(), 30))
    return code, lines, seconds


def test_a_program_ends_with_its_code_and_all_its_lines(tmp_path: Path) -> None:
    code, lines, _ = ran("echo one; echo two >&2; printf three; exit 7", tmp_path)
    assert (code, lines) == (7, ["one", "two", "three"])


def test_of_an_over_long_line_the_beginning_is_told_up_to_a_blank(tmp_path: Path) -> None:
    """A secret that was cut in two would be masked in neither half."""
    script = "x=$(printf '%01000d' 0); printf 'one two '; for i in {1..200}; do printf $x; done; echo; echo three; "
    _, lines, _ = ran(f"{script} for i in {{1..66}}; do printf $x; done; echo ' four'; printf five", tmp_path)
    assert lines == ["one two ", "three", "", "five"]


def test_a_process_that_holds_the_output_does_not_hold_the_end(tmp_path: Path) -> None:
    """In Python before 3.12.5 asyncio's own pipe makes the exit wait for its last writer."""
    code, lines, _ = ran(f"echo line; setsid sleep {MARK} & sleep 0.3; exit 3", tmp_path)
    assert (code, lines) == (3, ["line"])


def zombies() -> list[psutil.Process]:
    return [p for p in psutil.Process().children() if p.status() == psutil.STATUS_ZOMBIE]


def test_orphans_do_not_pile_up_while_a_program_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "REAP_EVERY", 0.01)
    earlier = subprocess.Popen(["sh", "-c", "exit 5"])
    until(lambda: zombies() != [])
    seen: list[int] = []
    script = "for i in {1..20}; do (setsid true &); done; for i in {1..15}; do sleep 0.1; echo; done; exit 7"
    code, _, _ = ran(script, tmp_path, meanwhile=lambda: seen.append(len(zombies())))
    assert code == 7
    assert min(seen) == 1, "the earlier one alone, once all others have ended"
    assert earlier.wait() == 5, "what this process started otherwise keeps its code"


def test_no_exit_code_is_lost_to_the_reaping_of_orphans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "REAP_EVERY", 0.0)
    assert [ran("exit 7", tmp_path)[0] for _ in range(20)] == [7] * 20


def test_a_program_is_interrupted_alone_before_its_group_is(tmp_path: Path) -> None:
    """As GitHub's runner must be: what its group is sent reaches the step, too."""
    step = "trap 'echo step; exit' INT; while :; do sleep 0.05; done"
    script = f"trap 'echo told; sleep 0.5; exit 3' INT; (trap - INT; exec bash -c \"{step}\") & wait"

    async def run() -> tuple[int, list[str]]:
        lines: list[str] = []
        environment = {"PATH": "/usr/bin:/bin"}
        started = await Process.start(
            ["bash", "-c", script], cwd=tmp_path, environment=environment, on_line=lines.append
        )
        await asyncio.sleep(0.5)
        await started.stop(alone=20)
        return await started.wait(), lines

    assert asyncio.run(asyncio.wait_for(run(), 30)) == (3, ["told"])


@pytest.mark.parametrize("attempt", range(5))
def test_a_stuck_program_and_all_below_it_are_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attempt: int
) -> None:
    """Killing is not instantaneous: what the program leaves becomes ours to end only when it is gone."""
    monkeypatch.setattr(process, "GROUP_GRACE", 0.1)
    script = f"trap '' INT; setsid bash -c 'sleep {MARK} & sleep {MARK}; :' & kill -STOP $$"
    _, _, seconds = ran(script, tmp_path, stop_after=0.5)
    assert seconds < 5

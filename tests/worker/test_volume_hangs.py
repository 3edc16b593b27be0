"""A network volume that hangs: a job that has ended is answered as such, and the worker exits in time."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from runner_image import bounded, diagnostics, leftovers, session
from runner_image.account import Account
from tests.worker.workers import Worker

LIMIT = 2.0
"""s, of this test's worker for each part of its clean-up."""


@pytest.fixture
def hung(tmp_path: Path) -> Iterator[Callable[..., int]]:
    """A function that does not return before the test's end: nobody writes to its FIFO, so open() waits."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    def hang(*_: object) -> int:
        return len(fifo.read_bytes())

    yield hang
    os.close(os.open(fifo, os.O_RDWR | os.O_NONBLOCK))
    fifo.unlink()


def events(output: str) -> dict[str, str]:
    lines = [json.loads(line) for line in output.splitlines() if line.startswith('{"at": ')]
    return {line["event"]: line.get("detail", "") for line in lines}


def hang_after_the_job(worker: Worker, hung: Callable[..., int]) -> None:
    """Let the clean-up hang, but not the one before the job."""
    before = threading.Event()

    def forget(root: Path, account: Account | None) -> int:
        if before.is_set():
            return hung()
        before.set()
        return leftovers.forget_job(root, account)

    worker.patch.setattr(session, "forget_job", forget)


def test_a_finished_job_is_answered_although_the_clean_up_hangs(
    worker: Worker, hung: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    hang_after_the_job(worker, hung)
    worker.limit(clean_up=LIMIT)
    worker.standin.queue("true")
    answer = worker.handle(**worker.jit())
    assert (answer["outcome"], answer["result"]) == ("completed", "Succeeded")
    assert "error" not in answer
    assert LIMIT <= answer["seconds"]["cleanup"] < LIMIT + 20
    assert events(capsys.readouterr().out)["not cleaned up"] == "it took longer than 2 s"


def test_a_finished_job_is_answered_although_the_clean_up_fails(
    worker: Worker, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise OSError("No space left on device")

    worker.patch.setattr(session, "restore", fail)
    worker.standin.queue("true")
    assert worker.handle(**worker.jit())["outcome"] == "completed"
    assert events(capsys.readouterr().out)["not cleaned up"] == "OSError: No space left on device"


def test_a_worker_that_cannot_clean_up_before_a_job_takes_none(worker: Worker, hung: Callable[..., int]) -> None:
    worker.patch.setattr(session, "forget_job", hung)
    worker.limit(clean_up=LIMIT)
    job = worker.standin.queue("true")
    error = worker.handle(**worker.jit())["error"]
    assert error == "crashed: the clean-up before the job failed: it took longer than 2 s"
    assert job.status == "queued"


def test_a_failure_is_answered_although_the_folder_of_its_logs_hangs(
    worker: Worker, hung: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    worker.patch.setenv("RUNNER_DIAG_DIR", str(tmp_path / "diag"))
    worker.patch.setattr(diagnostics, "save", hung)
    worker.limit(diagnostics=LIMIT)
    worker.replace_listener("echo 'no idea'; exit 9")
    assert worker.handle(**worker.jit())["outcome"] == "crashed"
    found = events(capsys.readouterr().out)
    assert found["diagnostics not saved"] == "it took longer than 2 s"
    assert "not cleaned up" not in found


def test_work_that_hangs_does_not_keep_the_program_from_exiting(tmp_path: Path) -> None:
    """Python waits for asyncio's own threads before it exits, and RunPod bills that time."""
    os.mkfifo(tmp_path / "fifo")
    script = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from runner_image.bounded import Late, in_time\n"
        "async def main():\n"
        "    try: await in_time(Path(sys.argv[1]).read_bytes, 0.2)\n"
        "    except Late as late: print(late)\n"
        "asyncio.run(main())\n"
    )
    program = [sys.executable, "-c", script, str(tmp_path / "fifo")]
    began = time.monotonic()
    folder = Path(bounded.__file__).parents[1]
    done = subprocess.run(program, check=False, cwd=folder, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (0, "it took longer than 0.2 s\n", "")
    assert time.monotonic() - began < 20


class Unkillable:
    """A process that the kernel keeps: it was killed, and does not end."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.kills = 0

    def uids(self) -> tuple[int, ...]:
        return (4242,)

    def status(self) -> str:
        return psutil.STATUS_DISK_SLEEP

    def kill(self) -> None:
        self.kills += 1


@pytest.fixture
def account(tmp_path: Path) -> Account:
    (tmp_path / "home").mkdir()
    return Account(name="runner", uid=4242, gid=4242, home=tmp_path / "home")


def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "wait_procs", lambda *_, **__: None)
    monkeypatch.setattr(os, "chown", lambda *_, **__: None)


def test_a_killed_process_that_the_volume_keeps_does_not_fail_the_clean_up(
    tmp_path: Path, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It never runs a job's code again."""
    at_once(monkeypatch)
    stuck = [Unkillable(7), Unkillable(8)]
    monkeypatch.setattr(psutil, "process_iter", lambda: iter(stuck))
    (tmp_path / "_work").mkdir()
    assert leftovers.forget_job(tmp_path, account, []) == 2
    assert not (tmp_path / "_work").exists()
    assert all(each.kills for each in stuck)


def test_processes_that_start_others_all_the_time_fail_the_clean_up(
    tmp_path: Path, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once(monkeypatch)
    pids = iter(range(1, 1000))
    monkeypatch.setattr(psutil, "process_iter", lambda: iter([Unkillable(next(pids))]))
    with pytest.raises(RuntimeError, match="processes of the user runner cannot be killed"):
        leftovers.forget_job(tmp_path, account, [])


def test_a_finished_job_is_answered_with_a_warning_about_processes_that_do_not_end(
    worker: Worker, capsys: pytest.CaptureFixture[str]
) -> None:
    forget_job = leftovers.forget_job
    worker.patch.setattr(session, "forget_job", lambda root, account: forget_job(root, account) + 2)
    worker.standin.queue("true")
    assert worker.handle(**worker.jit())["outcome"] == "completed"
    detail = events(capsys.readouterr().out)["processes not ended"]
    assert detail == "2 processes were killed and have not ended; the network volume may not answer"

"""Stops the job when the Listener asks for it, and finds the processes that the job left.

https://docs.github.com/actions/reference/workflows-and-actions/workflow-cancellation
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

TRACKING = "RUNNER_TRACKING_ID"
"""The variable that marks the processes of a job, as with the real runner."""

CANCEL, SHUTDOWN = "cancel", "shutdown"
"""Messages of the Listener: GitHub cancelled the job; the runner itself must stop."""

ABANDONED = "abandoned"
"""The Listener died without a message: the job is stopped like a cancelled one, but nobody reports its end."""

GRACE = 10.0
"""s between the cancellation and the kill of processes that still run."""

GROUP_SIGNAL_DELAY = 0.5
"""s in which this process notices a signal to its group that the Listener has received at the same time."""

CHECK_INTERVAL = 0.02
"""s between two checks whether the steps' processes have exited."""


class Cancellation(threading.Thread):
    """Stops the job when the Listener closes this process's standard input, or dies.

    It behaves as the official runner does:
    - a cancellation interrupts the step, and steps with `if: always()` or `cancelled()` run;
    - a shutdown interrupts the step, and no other step starts;
    - a signal to the whole process group reaches the step directly: it fails, and steps with `if: failure()` run.

    Args:
        tracking: the tracking id of the job's processes.

    Attributes:
        requested: CANCEL, SHUTDOWN or ABANDONED; empty if the job was not stopped.
    """

    def __init__(self, tracking: str) -> None:
        super().__init__(daemon=True)
        self.requested = ""
        self._tracking = tracking
        self._process: subprocess.Popen[str] | None = None
        self._group_signal = threading.Event()
        self._lock = (
            threading.Lock()
        )  # each process is interrupted only once: at a second interrupt act skips its clean-up

    @property
    def shut_down(self) -> bool:
        """Whether no step and no hook may start any more."""
        return self.requested == SHUTDOWN and not self._group_signal.is_set()

    def forward_group_signals(self) -> None:
        """Forward signals to the process group to the steps, which have their own group because of act."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_group_signal)

    def run(self) -> None:
        """Wait for the end of standard input, then interrupt the job, then kill it."""
        word = sys.stdin.read()
        if word == SHUTDOWN:
            self._group_signal.wait(GROUP_SIGNAL_DELAY)
        with self._lock:
            self.requested = word or ABANDONED
            if self.shut_down:
                self._freeze()
            elif word != SHUTDOWN:
                self._interrupt()
        deadline = time.monotonic() + GRACE
        while time.monotonic() < deadline and not (self.shut_down and not self._steps()):
            time.sleep(CHECK_INTERVAL)
        kill_orphans(self._tracking)

    def watch(self, process: "subprocess.Popen[str]") -> None:
        """Set the process to interrupt."""
        with self._lock:
            self._process = process
            if self.requested in (CANCEL, ABANDONED):
                self._interrupt()
            elif self.shut_down:
                process.kill()

    def _interrupt(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)

    def _freeze(self) -> None:
        """Interrupt only the step. act is stopped until it is killed, because it would start the next step."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)
            self._signal_steps(signal.SIGINT)

    def _on_group_signal(self, number: int, _frame: object) -> None:
        self._group_signal.set()
        self._signal_steps(number)

    def _steps(self) -> list[int]:
        """The processes of the job, without act or the hook itself."""
        process = self._process
        return [pid for pid in _tracked(self._tracking) if process is None or pid != process.pid]

    def _signal_steps(self, number: int) -> None:
        for pid in self._steps():
            _kill(pid, number)


def kill_orphans(tracking: str) -> list[int]:
    """Kill all other processes with this tracking id; returns their process ids."""
    found = list(_tracked(tracking))
    for pid in found:
        _kill(pid, signal.SIGKILL)
    return found


def _kill(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _tracked(tracking: str) -> Iterator[int]:
    variable = f"{TRACKING}={tracking}".encode()
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            variables = path.read_bytes().split(b"\0")
        except OSError:  # exited meanwhile, or of another user
            continue
        if variable in variables:
            yield int(path.parent.name)

"""Ends the job when the Listener says so, and finds what the job left behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

TRACKING = "RUNNER_TRACKING_ID"
"""The variable by which the real runner, too, finds the processes of a job."""

CANCEL, SHUTDOWN = "cancel", "shutdown"
"""The Listener's words: GitHub cancelled the job; the runner itself is to end."""

GRACE = 10.0
"""s from the cancellation until what still runs is killed."""

LOOK_EVERY = 0.02
"""s between two looks whether the steps' processes have ended."""


class Cancellation(threading.Thread):
    """Ends the job once the Listener closes this process's standard input, or dies.

    As the official runner does it:
    - a cancellation interrupts the step, and steps with `if: always()` or `cancelled()` run;
    - a shutdown interrupts the step, and no other step starts;
    - a signal to the whole process group reaches the step by itself: it fails, and steps with `if: failure()` run.

    Args:
        tracking: the tracking id that the job's processes carry.
    """

    def __init__(self, tracking: str) -> None:
        super().__init__(daemon=True)
        self._requested = ""
        self._tracking = tracking
        self._process: subprocess.Popen[str] | None = None
        self._signalled = False
        self._lock = threading.Lock()  # each process is interrupted once: act takes a second one for haste

    @property
    def shut_down(self) -> bool:
        """No step and no hook is to be started any more."""
        return self._requested == SHUTDOWN and not self._signalled

    def forward_group_signals(self) -> None:
        """Pass on what the process group is sent to the step, which act has put into a group of its own."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_group_signal)

    def run(self) -> None:
        """Wait for the end of standard input; interrupt; after a grace, kill."""
        word = sys.stdin.read()
        with self._lock:
            self._requested = word or CANCEL
            if self.shut_down:
                self._freeze()
            elif word != SHUTDOWN:
                self._interrupt()
        deadline = time.monotonic() + GRACE
        while time.monotonic() < deadline and not (self.shut_down and not self._steps()):
            time.sleep(LOOK_EVERY)
        kill_orphans(self._tracking)

    def watch(self, process: "subprocess.Popen[str]") -> None:
        """From now on, it is this process that is interrupted."""
        with self._lock:
            self._process = process
            if self._requested == CANCEL:
                self._interrupt()
            elif self.shut_down:
                process.kill()

    def _interrupt(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)

    def _freeze(self) -> None:
        """Interrupt the step alone: act, which would start the next, does nothing more until it is killed."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)
            self._signal_steps(signal.SIGINT)

    def _on_group_signal(self, number: int, _frame: object) -> None:
        self._signalled = True
        self._signal_steps(number)

    def _steps(self) -> list[int]:
        """The processes of the job but act, or a hook, itself."""
        process = self._process
        return [pid for pid in _tracked(self._tracking) if process is None or pid != process.pid]

    def _signal_steps(self, number: int) -> None:
        for pid in self._steps():
            _kill(pid, number)


def kill_orphans(tracking: str) -> list[int]:
    """Kill every other process that carries this tracking id; their process ids."""
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
        except OSError:  # ended meanwhile, or another user's
            continue
        if variable in variables:
            yield int(path.parent.name)

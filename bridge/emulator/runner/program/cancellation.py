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

GRACE = 10.0
"""s from the cancellation until what still runs is killed."""


class Cancellation(threading.Thread):
    """Interrupts the running process once the Listener closes this one's standard input, or dies.

    Args:
        tracking: the tracking id that the job's processes carry.
    """

    def __init__(self, tracking: str) -> None:
        super().__init__(daemon=True)
        self._requested = False
        self._tracking = tracking
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()  # each process is interrupted once: act takes a second one for haste

    def run(self) -> None:
        """Wait for the end of standard input; interrupt; after a grace, kill."""
        sys.stdin.read()
        with self._lock:
            self._requested = True
            self._interrupt()
        time.sleep(GRACE)
        kill_orphans(self._tracking)

    def watch(self, process: "subprocess.Popen[str]") -> None:
        """From now on, it is this process that is interrupted."""
        with self._lock:
            self._process = process
            if self._requested:
                self._interrupt()

    def _interrupt(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)


def kill_orphans(tracking: str) -> list[int]:
    """Kill every other process that carries this tracking id; their process ids."""
    found = list(_tracked(f"{TRACKING}={tracking}".encode()))
    for pid in found:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    return found


def _tracked(variable: bytes) -> Iterator[int]:
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            variables = path.read_bytes().split(b"\0")
        except OSError:  # ended meanwhile, or another user's
            continue
        if variable in variables:
            yield int(path.parent.name)

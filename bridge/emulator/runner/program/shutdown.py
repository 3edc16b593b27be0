"""SIGINT and SIGTERM end the Listener, once, and only where it waits: between two waits nothing is cut short."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from . import console

UNLOAD_LIMIT = 30.0
"""s that SIGTERM leaves to end the job and the session."""

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Shutdown(Exception):
    """SIGINT or SIGTERM came."""


class Signals:
    """From its making on, both signals are noted; they raise Shutdown within `heard`.

    They are neither blocked nor ignored: programs that are started meanwhile would inherit that.
    """

    def __init__(self) -> None:
        self._heard = False
        self._came = 0
        for number in SIGNALS:
            signal.signal(number, self._on_signal)

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Let a signal that came, or that comes, end the block.

        Raises:
            Shutdown: one did.
        """
        self._heard = True
        try:
            if self._came:
                self._shut_down()
            yield
        finally:
            self._heard = False

    def _on_signal(self, number: int, _frame: object) -> None:
        if self._came:
            return  # what ends the Listener is not to be interrupted
        self._came = number
        if number == signal.SIGTERM:
            signal.signal(signal.SIGALRM, lambda *_: os._exit(128 + signal.SIGTERM))
            signal.setitimer(signal.ITIMER_REAL, UNLOAD_LIMIT)
        if self._heard:
            self._shut_down()

    def _shut_down(self) -> NoReturn:
        if self._came == signal.SIGINT:
            console.say("Exiting...")
        raise Shutdown

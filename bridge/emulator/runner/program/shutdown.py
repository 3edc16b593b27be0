"""SIGINT and SIGTERM stop the Listener, but only where it waits, so that nothing else is interrupted."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from . import console

UNLOAD_LIMIT = 30.0
"""s after SIGTERM for the end of the job and the session."""

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Shutdown(Exception):
    """SIGINT or SIGTERM was received."""


class Signals:
    """Records both signals. They raise Shutdown inside `heard`.

    They are not blocked or ignored, because child processes would inherit that.
    """

    def __init__(self) -> None:
        self._heard = False
        self._came = 0
        for number in SIGNALS:
            signal.signal(number, self._on_signal)

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Let a signal, received before or now, end the block.

        Raises:
            Shutdown: a signal was received.
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
            return  # the shutdown itself must not be interrupted
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

"""SIGINT and SIGTERM end the Listener, once, wherever it waits."""

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


def catch_signals() -> None:
    """From now on the signals raise Shutdown."""
    signal.signal(signal.SIGINT, _on_interrupt)
    signal.signal(signal.SIGTERM, _on_terminate)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold the signals back until the block ends."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _on_interrupt(_number: int, _frame: object) -> NoReturn:
    console.say("Exiting...")
    _shut_down()


def _on_terminate(_number: int, _frame: object) -> NoReturn:
    signal.signal(signal.SIGALRM, lambda *_: os._exit(128 + signal.SIGTERM))
    signal.setitimer(signal.ITIMER_REAL, UNLOAD_LIMIT)
    _shut_down()


def _shut_down() -> NoReturn:
    """Leave whatever is under way, once: what ends it is not to be interrupted."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise Shutdown

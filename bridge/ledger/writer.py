"""One thread that writes: all that waits while a commit is under way shares the next one."""

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple, TypeVar

from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import InterfaceError, InternalError, OperationalError

T = TypeVar("T")

MOST_TOGETHER = 256
"""Pieces of work in one transaction."""

OUT_OF_ORDER = (OperationalError, InternalError, InterfaceError)
"""Errors that are the database's, whatever it was asked. PostgreSQL's InternalError: it lets nobody write."""


class _Waiting(NamedTuple):
    work: Callable[[Connection], Any]
    done: "Future[Any]"


class Writer:
    """Runs work in write transactions, each piece whole or not at all.

    Args:
        engine: made by `bridge.ledger.database.connect`.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waiting: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[Connection], T]) -> "Future[T]":
        """Run `work` in a transaction; done once it is durable."""
        done: Future[T] = Future()
        self._waiting.put(_Waiting(work, done))
        return done

    def close(self) -> None:
        """Finish what waits, and end the thread."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (first := self._waiting.get()) is not None:
            together = [first]
            while len(together) < MOST_TOGETHER and not self._waiting.empty():
                further = self._waiting.get()
                if further is None:
                    self._waiting.put(None)
                    break
                together.append(further)
            self._commit([each for each in together if each.done.set_running_or_notify_cancel()])

    def _commit(self, together: Sequence[_Waiting]) -> None:
        try:
            with self._engine.begin() as connection:
                results = [each.work(connection) for each in together]
        except Exception as error:
            # What is wrong with one piece must not fail the others; a database that is out of order fails all.
            if len(together) > 1 and not isinstance(error, OUT_OF_ORDER):
                for each in together:
                    self._commit([each])
                return
            for each in together:
                each.done.set_exception(error)
        else:
            for each, result in zip(together, results, strict=True):
                each.done.set_result(result)
